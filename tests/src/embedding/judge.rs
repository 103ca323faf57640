//! Compares each sample with what the program did at that time in that thread.

#![expect(
    clippy::missing_panics_doc,
    clippy::expect_used,
    reason = "a test cannot go on without its records"
)]

use std::{
    collections::{BTreeMap, HashMap},
    fmt, fs,
    path::Path,
};

use profiler::{
    events::{Code, CodeId, Event, decode, records},
    health::Health,
    id::{ProcessKey, SpanId},
    join::{Attribution, Join, SpanSample},
};
use profiler_common::outcome::Outcome;

use super::record::{Kind, Record, Stretch};

/// Spans remembered by the join, as in the agent.
const MAX_SPANS: usize = 65_536;
/// Wrong samples kept for the message of a failure.
const MAX_SHOWN: usize = 6;
/// The names of the functions that burn in one span each.
const BURNER: &str = "burn_";

/// How the samples of one kind of stretch compare with the truth.
#[derive(Debug, Default)]
pub struct Tally {
    /// With the Python functions and the span that they must have.
    pub right: u64,
    /// With functions or a span that they must not have.
    pub wrong: u64,
    /// Without functions or without a span, by the reason.
    pub unattributed: BTreeMap<String, u64>,
}

/// How the samples of a process compare with the truth.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Those taken with a thread state attached.
    pub attached: Tally,
    /// Those taken in C code below Python code.
    pub detached: Tally,
    /// Those taken in an interpreter that has just imported OpenTelemetry.
    pub settling: Tally,
    /// Those taken in stretches that must show no Python.
    pub native: Tally,
    /// Those outside of the stretches: only what is wrong at any time is wrong here.
    pub between: Tally,
    /// CPU time of the stretches, in nanoseconds.
    cpu: u64,
    /// The period of the sampling clock, in nanoseconds.
    period: u64,
    /// The first of the wrong samples.
    pub shown: Vec<String>,
}

impl Tally {
    /// All samples.
    pub fn all(&self) -> u64 {
        self.right + self.wrong + self.lacks()
    }

    /// Those that are not attributed.
    pub fn lacks(&self) -> u64 {
        self.unattributed.values().sum()
    }

    /// How many percent of the samples are attributed, rightly or not; 100 of none.
    #[expect(clippy::cast_precision_loss, reason = "some thousand samples")]
    pub fn attributed(&self) -> f64 {
        match self.all() {
            0 => 100.0,
            all => 100.0 * (self.right + self.wrong) as f64 / all as f64,
        }
    }
}

impl Verdict {
    /// All samples.
    pub fn all(&self) -> u64 {
        self.tallies().map(Tally::all).iter().sum()
    }

    /// Samples in stretches.
    pub fn judged(&self) -> u64 {
        self.all() - self.between.all()
    }

    /// Samples in stretches, as a share of those that their CPU time makes: less than one if some are lost, or if the
    /// virtual machine did not run for a time.
    #[expect(clippy::cast_precision_loss, reason = "some thousand samples")]
    pub fn sampled(&self) -> f64 {
        self.judged() as f64 * self.period as f64 / self.cpu as f64
    }

    /// CPU time of the stretches, in seconds.
    #[expect(clippy::cast_precision_loss, reason = "some seconds")]
    pub fn cpu(&self) -> f64 {
        self.cpu as f64 / 1e9
    }

    /// Those that are wrong.
    pub fn wrong(&self) -> u64 {
        self.tallies().map(|tally| tally.wrong).iter().sum()
    }

    fn tallies(&self) -> [&Tally; 5] {
        [
            &self.attached,
            &self.detached,
            &self.settling,
            &self.native,
            &self.between,
        ]
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} wrong of {}", self.wrong(), self.all())?;
        write!(formatter, " ({:.2} of the CPU time)", self.sampled())?;
        let names = ["attached", "detached", "settling", "native", "between"];
        for (name, tally) in names.into_iter().zip(self.tallies()) {
            write!(formatter, "; {name} {}/{}", tally.wrong, tally.all())?;
            if !tally.unattributed.is_empty() {
                let share = tally.attributed();
                let why = &tally.unattributed;
                write!(formatter, " ({share:.1} % attributed, not: {why:?})")?;
            }
        }
        for wrong in &self.shown {
            write!(formatter, "\n    {wrong}")?;
        }
        Ok(())
    }
}

/// Joins kept records as the agent does, and compares them sample by sample: a verdict for each process with a
/// record. `period`: nanoseconds that a sample stands for.
pub fn judge(truths: &BTreeMap<u32, Record>, kept: &Path, period: i64) -> BTreeMap<u32, Verdict> {
    let bytes = fs::read(kept).expect("the recording has kept its records");
    let mut join = Join::new(MAX_SPANS, Health::default());
    let mut names = Names::default();
    let new = |truth: &Record| Verdict {
        cpu: truth.cpu(),
        period: period.unsigned_abs(),
        ..Verdict::default()
    };
    let mut verdicts: BTreeMap<u32, Verdict> = truths
        .iter()
        .map(|(pid, truth)| (*pid, new(truth)))
        .collect();
    for record in records(&bytes) {
        match decode(record).expect("a record of ours") {
            Event::Sample(sample) => {
                let Some(truth) = truths.get(&sample.process.pid.0) else {
                    continue;
                };
                let verdict = verdicts.entry(sample.process.pid.0).or_default();
                let sample = join.sample(sample, None);
                let said = Said::of(&sample, &names);
                compare(truth, &sample, &said, verdict);
            }
            Event::SpanStart(start) => drop(join.span_start(&start)),
            Event::SpanSeen(seen) => drop(join.span_seen(&seen)),
            Event::SpanEnd(end) => join.span_end(&end),
            Event::Code(code) => {
                join.code(&code);
                names.learn(&code);
            }
            Event::Process(notice) => join.process(&notice),
            Event::LineTable(_) | Event::Resource(_) => {}
        }
    }
    verdicts
}

/// Names of code objects.
#[derive(Debug, Default)]
struct Names(HashMap<(ProcessKey, CodeId), String>);

impl Names {
    fn learn(&mut self, code: &Code) {
        // Names of a kind that the programs do not have are left empty, and match nothing.
        let name = String::from_utf8(code.name.bytes.clone()).unwrap_or_default();
        // From 3.11 on it is qualified.
        let name = name.rsplit('.').next().unwrap_or_default().to_owned();
        self.0.insert((code.process, code.id), name);
    }
}

/// What a sample says.
#[derive(Debug)]
struct Said {
    /// Names of the Python functions, leaf first, `;` between them.
    stack: String,
    /// Whether that is all, or why not.
    outcome: Outcome,
    attribution: Attribution,
}

impl Said {
    fn of(sample: &SpanSample, names: &Names) -> Self {
        let stack = &sample.sample.stack;
        let functions: Vec<&str> = stack
            .python
            .iter()
            .map(|frame| {
                let key = (sample.sample.process, frame.code);
                names.0.get(&key).map_or("?", String::as_str)
            })
            .collect();
        Self {
            stack: functions.join(";"),
            outcome: stack.python_outcome,
            attribution: sample.attribution.clone(),
        }
    }

    fn span(&self) -> Option<SpanId> {
        match &self.attribution {
            Attribution::Span(context) => Some(context.active.id),
            Attribution::NoSpan
            | Attribution::NotRecorded(_)
            | Attribution::NativeThread
            | Attribution::Unattributed(_) => None,
        }
    }

    /// Whether everything in it is right, and what it lacks.
    fn against(&self, stretch: &Stretch) -> Result<Option<String>, ()> {
        if stretch.kind == Kind::Native {
            let is_silent = self.stack.is_empty() && self.span().is_none();
            return if is_silent { Ok(None) } else { Err(()) };
        }
        let is_whole = self.stack == stretch.stack;
        // An empty stack is not wrong, and the frames of an incomplete one must be right.
        let is_cut = self.outcome != Outcome::Complete && stretch.stack.starts_with(&self.stack);
        let is_part = self.stack.is_empty() || is_cut;
        if !is_whole && !is_part {
            return Err(());
        }
        match (stretch.span, self.span()) {
            (Some(expected), Some(said)) if expected != said => Err(()),
            (None, Some(_)) => Err(()),
            _ if !is_whole => Ok(Some(format!("{:?}", self.outcome))),
            (Some(_), None) => Ok(Some(format!("{:?}", self.attribution))),
            _ => Ok(None),
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{}\" ({:?}) in ", self.stack, self.outcome)?;
        match &self.attribution {
            Attribution::Span(context) => {
                let name = context.active.name.as_deref().unwrap_or_default();
                write!(formatter, "span {} {name}", context.active.id)
            }
            other => write!(formatter, "{other:?}"),
        }
    }
}

fn compare(truth: &Record, sample: &SpanSample, said: &Said, verdict: &mut Verdict) {
    let (tid, time) = (sample.sample.tid, sample.sample.time);
    let stretch = truth.stretch(tid, time);
    let is_possible = || {
        let mut burners = said.stack.split(';').filter(|it| it.starts_with(BURNER));
        burners.all(|function| truth.may_run(tid, function))
            && said.span().is_none_or(|span| truth.may_be_in(tid, span))
    };
    let (tally, result) = match stretch {
        None => (
            &mut verdict.between,
            if is_possible() { Ok(None) } else { Err(()) },
        ),
        Some(stretch) => {
            let tally = match stretch.kind {
                Kind::Attached => &mut verdict.attached,
                Kind::Detached => &mut verdict.detached,
                Kind::Settling => &mut verdict.settling,
                Kind::Native => &mut verdict.native,
            };
            (tally, said.against(stretch))
        }
    };
    match result {
        Ok(None) => tally.right += 1,
        Ok(Some(reason)) => *tally.unattributed.entry(reason).or_default() += 1,
        Err(()) => {
            tally.wrong += 1;
            if verdict.shown.len() < MAX_SHOWN {
                let thread = sample.sample.thread_name.to_text();
                let instead = stretch.map_or_else(|| "what it runs".to_owned(), Stretch::to_string);
                verdict
                    .shown
                    .push(format!("{thread}: {said} instead of {instead}"));
            }
        }
    }
}
