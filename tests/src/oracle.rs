//! Judges every sample by what the workload itself recorded (`tests/programs/oracle.py`).

#![expect(
    clippy::missing_panics_doc,
    clippy::expect_used,
    reason = "a test cannot go on without its records"
)]

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use profiler::{
    events::{Event, decode, records},
    health::Health,
    id::{Pid, SpanId, Tid, TraceId},
    join::{Attribution, Join, SpanContext, SpanSample},
};
use tempfile::TempDir;

use crate::{
    sampling::{at_least, at_most},
    spanprof::{Recorded, Recording},
};

/// Spans remembered by the join, as in the agent.
const MAX_SPANS: usize = 65_536;
/// Samples a second and CPU.
const FREQUENCY: u32 = 999;
/// Wrong samples kept for the message of a failure.
const MAX_SHOWN: usize = 10;

/// A workload's own record, and a recording of the profiler at the same time.
#[derive(Debug)]
pub struct Oracle {
    folder: TempDir,
}

/// What is being recorded.
#[derive(Debug)]
pub struct Watching {
    recording: Recording,
    oracle: Oracle,
}

impl Oracle {
    /// Makes the files for both records.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { folder }
    }

    /// Gives a workload the files to write to.
    pub fn tell(&self, command: &mut Command) {
        command.env("ORACLE_FILE", self.stamps());
    }

    /// A path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn stamps(&self) -> PathBuf {
        self.path("stamps")
    }

    fn kept(&self) -> PathBuf {
        self.path("records")
    }

    /// Starts to record, with further arguments.
    pub fn watch(self, arguments: &[String]) -> Watching {
        let kept = self.kept();
        let kept = kept.to_str().expect("a path of text");
        let frequency = FREQUENCY.to_string();
        let mut all = vec!["--frequency", &frequency, "--keep-records", kept];
        all.extend(arguments.iter().map(String::as_str));
        Watching {
            recording: Recording::start(&all),
            oracle: self,
        }
    }
}

impl Default for Oracle {
    fn default() -> Self {
        Self::new()
    }
}

impl Watching {
    /// Ends both records, and compares them: a verdict for each process that has recorded anything.
    pub fn judge_each(self) -> (BTreeMap<u32, Verdict>, Recorded) {
        let recorded = self.recording.stop();
        let truth = Truth::read(&self.oracle.stamps());
        let mut verdicts = judge(&truth, &self.oracle.kept());
        for verdict in verdicts.values_mut() {
            verdict.stolen = recorded.stolen;
        }
        (verdicts, recorded)
    }
}

/// How samples compare with the truth.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Samples with the label that they must have, or rightly with none.
    pub right: u64,
    /// Of those, samples with a label.
    pub labelled: u64,
    /// Samples without a label in a span, by reason.
    pub missed: BTreeMap<String, u64>,
    /// Samples with a label that they must not have.
    pub wrong: u64,
    /// Samples outside of the stretches, whose label can be checked against the life of its span alone.
    pub between: u64,
    /// Seconds that the host has taken during the recording.
    pub stolen: f64,
    /// The first of the wrong samples.
    pub shown: Vec<String>,
}

/// The most samples that so many seconds of CPU time have.
pub fn most_samples(seconds: f64) -> f64 {
    at_most(seconds, f64::from(FREQUENCY))
}

#[expect(clippy::cast_precision_loss, reason = "some thousand samples")]
impl Verdict {
    /// All samples in stretches.
    pub fn judged(&self) -> u64 {
        self.right + self.wrong + self.missed_in_all()
    }

    /// Samples without a label in a span.
    pub fn missed_in_all(&self) -> u64 {
        self.missed.values().sum()
    }

    /// Whether there are as many samples in stretches as this much CPU time has.
    pub fn has(&self, seconds: f64) -> bool {
        self.judged() as f64 > self.least(seconds)
    }

    /// Whether so many of them have a label.
    pub fn has_labelled(&self, seconds: f64) -> bool {
        self.labelled as f64 > self.least(seconds)
    }

    fn least(&self, seconds: f64) -> f64 {
        at_least(seconds, f64::from(FREQUENCY), self.stolen)
    }

    /// No sample is wrong, less than 2 % of those in spans have no label, and there are enough for so many seconds of
    /// CPU time.
    pub fn assert_right(&self, seconds: f64) {
        assert!(self.wrong == 0, "{self}");
        assert!(self.has(seconds), "too few for {seconds} s: {self}");
        let in_spans = self.labelled + self.missed_in_all();
        assert!(self.missed_in_all() * 50 < in_spans, "{self}");
    }

    /// Adds the record of another process.
    pub fn add(&mut self, other: Self) {
        let Self {
            right,
            labelled,
            missed,
            wrong,
            between,
            stolen,
            shown,
        } = other;
        self.right += right;
        self.labelled += labelled;
        for (reason, count) in missed {
            *self.missed.entry(reason).or_default() += count;
        }
        self.wrong += wrong;
        self.between += between;
        self.stolen = self.stolen.max(stolen);
        self.shown.extend(shown);
    }

    fn wrong(&mut self, sample: &SpanSample, instead_of: &str) {
        self.wrong += 1;
        if self.shown.len() < MAX_SHOWN {
            self.shown.push(format!(
                "{:?} of thread {} at {}, {:?} instead of {instead_of}",
                sample.attribution, sample.sample.tid, sample.sample.time.0, sample.sample.span
            ));
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} judged: {} right ({} of them labelled), {} wrong, {} missed {:?}; {} between",
            self.judged(),
            self.right,
            self.labelled,
            self.wrong,
            self.missed_in_all(),
            self.missed,
            self.between
        )?;
        for wrong in &self.shown {
            write!(formatter, "\n  {wrong}")?;
        }
        Ok(())
    }
}

/// The workload's own record.
#[derive(Debug, Default)]
struct Truth {
    /// By thread, in order of time.
    stretches: HashMap<(Pid, Tid), Vec<Stretch>>,
    /// When spans were alive, by id, in boot nanoseconds.
    lives: HashMap<SpanId, (u64, u64)>,
    /// Spans that were current in any stretch.
    current: HashSet<SpanId>,
}

#[derive(Clone, Copy, Debug)]
struct Stretch {
    begin: u64,
    end: u64,
    /// The span that was current; `None`: none, or one that had ended.
    span: Option<SpanId>,
    trace: Option<TraceId>,
}

impl Truth {
    /// Reads what `oracle.py` wrote.
    fn read(path: &Path) -> Self {
        const SIZE: usize = 56;
        let bytes = fs::read(path).expect("the workload has recorded");
        let mut truth = Self::default();
        for record in bytes.as_chunks::<SIZE>().0 {
            let words: Vec<u64> = record
                .as_chunks::<8>()
                .0
                .iter()
                .map(|word| u64::from_le_bytes(*word))
                .collect();
            let [kind_and_pid, tid, begin, end, span, high, low] =
                words.try_into().expect("seven words");
            let (kind, pid) = (kind_and_pid & 0xffff_ffff, kind_and_pid >> 32);
            let id = SpanId::new(span);
            let narrow = |word: u64| u32::try_from(word).expect("an id");
            match (kind, id) {
                (0..=2, _) => {
                    let is_active = kind == 1;
                    let key = (Pid(narrow(pid)), Tid(narrow(tid)));
                    truth.stretches.entry(key).or_default().push(Stretch {
                        begin,
                        end,
                        span: id.filter(|_| is_active),
                        trace: TraceId::from_halves(high, low),
                    });
                    truth.current.extend(id);
                }
                (3, Some(id)) => {
                    truth.lives.entry(id).or_insert((begin, u64::MAX)).0 = begin;
                }
                (4, Some(id)) => truth.lives.entry(id).or_insert((0, begin)).1 = begin,
                _ => assert!(kind < 5, "no record of oracle.py: {record:?}"),
            }
        }
        for stretches in truth.stretches.values_mut() {
            stretches.sort_by_key(|stretch| stretch.begin);
        }
        truth
    }

    fn stretch(&self, sample: &SpanSample) -> Option<&Stretch> {
        let key = (sample.sample.process.pid, sample.sample.tid);
        let stretches = self.stretches.get(&key)?;
        let time = sample.sample.time.0;
        let after = stretches.partition_point(|stretch| stretch.begin <= time);
        let stretch = stretches.get(after.checked_sub(1)?)?;
        (time <= stretch.end).then_some(stretch)
    }

    /// Whether a span can have been current at a time.
    fn may_be(&self, span: SpanId, time: u64) -> bool {
        self.lives
            .get(&span)
            .map_or(self.current.contains(&span), |(start, end)| {
                (*start..=*end).contains(&time)
            })
    }
}

/// Joins the kept records as the agent does, and compares sample by sample.
fn judge(truth: &Truth, kept: &Path) -> BTreeMap<u32, Verdict> {
    let bytes = fs::read(kept).expect("the recording has kept its records");
    let mut join = Join::new(MAX_SPANS, Health::default());
    let mut verdicts: BTreeMap<u32, Verdict> = BTreeMap::new();
    let pids: HashSet<Pid> = truth.stretches.keys().map(|(pid, _)| *pid).collect();
    for record in records(&bytes) {
        match decode(record).expect("a record of ours") {
            Event::Sample(sample) if pids.contains(&sample.process.pid) => {
                let verdict = verdicts.entry(sample.process.pid.0).or_default();
                compare(truth, &join.sample(sample, None), verdict);
            }
            Event::SpanStart(start) => drop(join.span_start(&start)),
            Event::SpanSeen(seen) => drop(join.span_seen(&seen)),
            Event::SpanEnd(end) => join.span_end(&end),
            Event::Code(code) => join.code(&code),
            Event::Process(notice) => join.process(&notice),
            Event::Sample(_) | Event::LineTable(_) | Event::Resource(_) => {}
        }
    }
    verdicts
}

fn compare(truth: &Truth, sample: &SpanSample, verdict: &mut Verdict) {
    let said = match &sample.attribution {
        Attribution::Span(SpanContext { trace, active, .. }) => Some((active.id, *trace)),
        Attribution::NoSpan
        | Attribution::NotRecorded(_)
        | Attribution::NativeThread
        | Attribution::Unattributed(_) => None,
    };
    let Some(stretch) = truth.stretch(sample) else {
        verdict.between += 1;
        if let Some((id, _)) = said
            && !truth.may_be(id, sample.sample.time.0)
        {
            verdict.wrong(sample, "a span that lives");
        }
        return;
    };
    match (stretch.span, said) {
        (Some(span), Some((id, trace))) if span == id && trace == stretch.trace => {
            verdict.right += 1;
            verdict.labelled += 1;
        }
        (None, None) => verdict.right += 1,
        (Some(_), None) => {
            let reason = format!("{:?}", sample.attribution);
            *verdict.missed.entry(reason).or_default() += 1;
        }
        (expected, Some(_)) => {
            let expected = format!("{expected:?} of trace {:?}", stretch.trace);
            verdict.wrong(sample, &expected);
        }
    }
}
