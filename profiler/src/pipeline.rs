//! The data plane assembled: bytes of one record in, and at the end of a window its profiles out.
//!
//! No threads, files, sockets or clocks: `run` feeds it from the ring, tests from recorded bytes.

mod view;

use std::collections::HashSet;

use self::view::View;

use crate::{
    events::{
        ContextFailure, Event, ProcessNotice, Resource, Sample, SpanStamp, decode, is_sample,
    },
    health::{Health, Loss},
    id::Pid,
    join::{Join, Unseen},
    kernel::Remembered,
    profile::{self, Aggregator, Coverage, Profile, SpanTable, Window},
    symbolize::{self, NamedSample, Symbolizer},
    targets::{
        Snapshot, SpansSeen, Target,
        symbols::{FileSymbols, Wanted},
    },
    time::BootNanos,
};

/// What the control plane must hear of.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// A process has come, changed or gone.
    Process(ProcessNotice),
    /// A process has told its resource.
    Resource(Resource),
    /// A process runs code in no mapping that is known.
    StaleMappings(Pid),
    /// The way to the current span of a process is not as its recipe says; the class of the span,
    /// where that is what is not known.
    StaleRecipe(Pid, Option<u64>),
    /// A thread of the process runs in an interpreter that nobody has looked at.
    UnknownInterpreter(Pid),
}

/// The rooms of the data plane, in a row.
pub struct Pipeline {
    join: Join,
    symbolizer: Symbolizer,
    aggregator: Aggregator,
    table: SpanTable,
    coverage: Coverage,
    view: View,
    /// Processes that samples were taken of, since somebody asked.
    sampled: HashSet<Pid>,
    health: Health,
}

impl Pipeline {
    /// An empty pipeline.
    ///
    /// It never forgets what the kernel programs still take for known, if `remembered` is by their limits.
    pub fn new(settings: profile::Settings, remembered: Remembered, health: Health) -> Self {
        let codes = symbolize::Settings {
            max_codes: remembered.codes,
        };
        Self {
            join: Join::new(remembered.spans, health.clone()),
            symbolizer: Symbolizer::new(codes, health.clone()),
            aggregator: Aggregator::new(settings, health.clone()),
            table: SpanTable::new(settings.span_label),
            coverage: Coverage::default(),
            view: View::default(),
            sampled: HashSet::new(),
            health,
        }
    }

    /// Decodes one record; `None` (and a count) if it is malformed.
    pub fn decode(&self, record: &[u8]) -> Option<Event> {
        match decode(record) {
            Ok(event) => Some(event),
            Err(error) => {
                let loss = if is_sample(record) {
                    Loss::SampleMalformed
                } else {
                    Loss::RecordMalformed
                };
                self.health.count(loss);
                tracing::debug!("a record on the ring is malformed: {error}");
                None
            }
        }
    }

    /// What of an event the control plane must hear of, before the data plane takes the event.
    pub fn notice(event: &Event) -> Option<Notice> {
        match event {
            Event::Process(notice) => Some(Notice::Process(*notice)),
            Event::Resource(resource) => Some(Notice::Resource(resource.clone())),
            Event::Sample(sample) => match sample.span {
                SpanStamp::Context(ContextFailure::ClassUnknown(class)) => {
                    Some(Notice::StaleRecipe(sample.process.pid, Some(class)))
                }
                SpanStamp::Context(ContextFailure::Unexpected) => {
                    Some(Notice::StaleRecipe(sample.process.pid, None))
                }
                SpanStamp::Context(ContextFailure::InterpreterUnknown) => {
                    Some(Notice::UnknownInterpreter(sample.process.pid))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// Takes one event.
    pub fn take(&mut self, event: Event) {
        match event {
            Event::Sample(sample) => {
                self.sampled.insert(sample.process.pid);
                self.sample(sample);
            }
            Event::Code(code) => {
                self.join.code(&code);
                self.symbolizer.code(code);
            }
            Event::LineTable(part) => self.symbolizer.line_table(&part),
            Event::SpanStart(start) => {
                let seen = self.join.span_start(&start);
                if self.view.has(start.pid) {
                    self.table.span_seen(seen.name.as_ref(), seen.is_local_root);
                }
            }
            Event::SpanSeen(seen) => {
                let (pid, is_again) = (seen.pid, seen.is_again);
                let seen = self.join.span_seen(&seen);
                if !is_again && self.view.has(pid) {
                    self.table.span_seen(seen.name.as_ref(), seen.is_local_root);
                }
            }
            Event::SpanEnd(end) => self.join.span_end(&end),
            Event::Process(notice) => {
                self.join.process(&notice);
                self.symbolizer.process(&notice);
                self.view.take(&notice);
            }
            Event::Resource(_) => {}
        }
    }

    /// Names a sample, if its process is a target.
    fn sample(&mut self, sample: Sample) {
        let Some(target) = self.view.target(sample.process).cloned() else {
            self.health.count(self.view.why_unknown(sample.process));
            return;
        };
        let unseen = unseen(&sample, &target);
        let sample = self.join.sample(sample, unseen);
        if let Some(named) = self.symbolizer.symbolize(sample, &target) {
            self.keep(&named);
        }
    }

    /// Takes over a sample that has its names. Those of nobody's processes are lost, and counted as that.
    fn keep(&mut self, named: &NamedSample) {
        self.health.count(named.attribution.counts_as());
        if named.attribution.lacks_name() {
            self.health.count(Loss::SpanUnnamed);
        }
        self.table.add(named);
        self.coverage.add(named);
        self.aggregator.add(named);
    }

    /// Processes that samples were taken of since this was last called.
    pub fn take_sampled(&mut self) -> impl Iterator<Item = Pid> {
        self.sampled.drain()
    }

    /// Processes that run code in no mapping that is known.
    pub fn stale_mappings(&mut self) -> Vec<Pid> {
        self.symbolizer.take_stale_mappings()
    }

    /// Files whose symbols are wanted, since this was last called: what is read of them is for
    /// [`Self::learn_symbols`].
    pub fn take_wanted(&mut self) -> Vec<Wanted> {
        self.symbolizer.take_wanted()
    }

    /// Takes over what was read of a file.
    pub fn learn_symbols(&mut self, wanted: &Wanted, symbols: FileSymbols) {
        self.symbolizer.learn_symbols(wanted, symbols);
    }

    /// Begins a turn: takes the samples that have waited for the symbols of a file until now.
    pub fn turn(&mut self, now: BootNanos) {
        self.symbolizer.turn(now);
        for named in self.symbolizer.take_waiting() {
            self.keep(&named);
        }
    }

    /// Whether samples wait for the symbols of a file. They are in no window yet; turns end it after some seconds.
    pub fn is_waiting(&self) -> bool {
        self.symbolizer.is_waiting()
    }

    /// Takes over what the control plane knows now.
    pub fn set_snapshot(&mut self, snapshot: &Snapshot, now: BootNanos) {
        self.view.publish(snapshot, now);
    }

    /// Hears of an event as soon as it is off the ring, before those that came earlier are taken.
    pub fn hear(&mut self, event: &Event) {
        if let Event::Process(notice) = event {
            self.view.hear(notice);
        }
    }

    /// Ends the window: its profiles, one for each service.
    pub fn finish(&mut self, window: Window) -> Vec<Profile> {
        self.aggregator.finish(window)
    }

    /// What share of each process's samples is in spans, since the start.
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// Spans by CPU since the start.
    pub fn table(&self) -> &SpanTable {
        &self.table
    }
}

/// Why a sample of a target may be in a span that nobody has seen.
fn unseen(sample: &Sample, target: &Target) -> Option<Unseen> {
    target.interpreter.as_ref()?;
    if let SpanStamp::Context(ContextFailure::ClassUnknown(class)) = sample.span {
        let mut unread = target.unread_spans.iter();
        let is_unread = unread.any(|it| it.address == class);
        return is_unread.then_some(Unseen::Class);
    }
    match target.spans {
        SpansSeen::NotYet => Some(Unseen::Pending),
        SpansSeen::Since(time) => (sample.time < time).then_some(Unseen::Pending),
        SpansSeen::Never => Some(Unseen::Hidden),
    }
}
