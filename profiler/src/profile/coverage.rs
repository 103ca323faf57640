//! How much of each process's CPU carries a span: what `record` and `doctor` show.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::text::{columns, fit, pad, share, words};
use crate::{
    events::printable,
    id::{Pid, Service},
    join::{Attribution, Reason},
    measure::Sum,
    symbolize::NamedSample,
};

/// Processes kept apart; later ones are summed.
const MAX_PROCESSES: usize = 10_000;
/// Processes shown; the rest is summed.
const MAX_SHOWN: usize = 20;

/// Samples by process, and by their state of attribution.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    processes: HashMap<Pid, (Arc<Service>, Tally)>,
    others: Tally,
}

/// Samples by their state of attribution. Shares are of the time that the samples of Python's threads stand for: other
/// threads can be in no span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// In a span.
    pub in_spans: Sum,
    /// In a span that is not recorded.
    pub not_recorded: Sum,
    /// In no span.
    pub in_no_span: Sum,
    /// In threads that run no Python.
    pub in_native_threads: Sum,
    /// Perhaps in a span, but it is not known in which.
    pub unattributed: HashMap<Reason, Sum>,
}

impl Tally {
    /// How many there are of Python's threads.
    pub fn samples(&self) -> u64 {
        self.total().samples
    }

    /// How many there are of all threads.
    fn all(&self) -> u64 {
        self.samples() + self.in_native_threads.samples
    }

    /// All of Python's threads.
    fn total(&self) -> Sum {
        let known = [self.in_spans, self.not_recorded, self.in_no_span];
        let unattributed = self.unattributed.values().copied();
        known.into_iter().chain(unattributed).sum()
    }

    fn add(&mut self, sample: &NamedSample) {
        let sum = match sample.attribution {
            Attribution::Span(_) => &mut self.in_spans,
            Attribution::NotRecorded(_) => &mut self.not_recorded,
            Attribution::NoSpan => &mut self.in_no_span,
            Attribution::NativeThread => &mut self.in_native_threads,
            Attribution::Unattributed(reason) => self.unattributed.entry(reason).or_default(),
        };
        sum.add(sample.measure);
    }

    fn merge(&mut self, other: &Self) {
        self.in_spans.merge(other.in_spans);
        self.not_recorded.merge(other.not_recorded);
        self.in_no_span.merge(other.in_no_span);
        self.in_native_threads.merge(other.in_native_threads);
        for (reason, sum) in &other.unattributed {
            self.unattributed.entry(*reason).or_default().merge(*sum);
        }
    }

    /// The share in spans, in percent, as text.
    pub fn share_in_spans(&self) -> String {
        self.share(self.in_spans)
    }

    /// The share in spans that are not recorded, in percent, as text; `None` if there is none.
    pub fn share_not_recorded(&self) -> Option<String> {
        (self.not_recorded.samples > 0).then(|| self.share(self.not_recorded))
    }

    fn share(&self, part: Sum) -> String {
        share(part.nanos, self.total().nanos)
    }

    /// Whether at least this percentage is in spans. False without samples.
    pub fn reaches(&self, percent: f64) -> bool {
        let total = self.total().nanos;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a share needs no more than 52 bits of either"
        )]
        let reached = self.in_spans.nanos as f64 * 100.0 >= percent * total as f64;
        total > 0 && reached
    }

    /// The unattributed by reason, in words.
    pub fn by_reason(&self) -> BTreeMap<&'static str, Sum> {
        let mut by_reason: BTreeMap<_, Sum> = BTreeMap::new();
        for (reason, sum) in &self.unattributed {
            by_reason.entry(words(*reason)).or_default().merge(*sum);
        }
        by_reason
    }

    /// The unattributed by reason, most first, as shares of all.
    fn reasons(&self) -> String {
        let mut reasons: Vec<_> = self.by_reason().into_iter().collect();
        reasons.sort_by_key(|&(words, sum)| (u64::MAX - sum.nanos, words));
        let reasons: Vec<_> = reasons
            .into_iter()
            .map(|(words, sum)| format!("{words} {}", self.share(sum)))
            .collect();
        reasons.join(", ")
    }

    /// Its line of the table.
    fn line(&self, pid: &str, name: &str, names: usize) -> String {
        let unattributed = self.unattributed.values().copied().sum();
        let mut last = self.share(unattributed);
        if unattributed.samples > 0 {
            last = format!("{last} ({})", self.reasons());
        }
        let samples = self.samples().to_string();
        let [spans, dropped, none] =
            [self.in_spans, self.not_recorded, self.in_no_span].map(|part| self.share(part));
        let native = self.in_native_threads.samples.to_string();
        let figures = [&samples, &spans, &dropped, &none, &native, &last];
        line(pid, name, names, figures.map(String::as_str))
    }
}

impl Coverage {
    /// Counts a sample, if it is of a kind that the table shows.
    pub fn add(&mut self, sample: &NamedSample) {
        if !sample.measure.kind.terms().in_tables {
            return;
        }
        if let Some((_, tally)) = self.processes.get_mut(&sample.pid) {
            tally.add(sample);
        } else if self.processes.len() < MAX_PROCESSES {
            let mut tally = Tally::default();
            tally.add(sample);
            let service = Arc::clone(&sample.service);
            self.processes.insert(sample.pid, (service, tally));
        } else {
            self.others.add(sample);
        }
    }

    /// One process's samples.
    pub fn process(&self, pid: Pid) -> Option<&Tally> {
        self.processes.get(&pid).map(|(_, tally)| tally)
    }

    /// All samples.
    pub fn total(&self) -> Tally {
        let mut total = self.others.clone();
        for (_, tally) in self.processes.values() {
            total.merge(tally);
        }
        total
    }

    /// A line for each process, most samples first, in lines at most `width` columns wide if that leaves room for
    /// names.
    pub fn render(&self, width: usize) -> String {
        const FIGURES: usize = 7 + 2 + 2 + 8 + 2 + 8 + 2 + 12 + 2 + 8 + 2 + 14 + 2 + 12;
        let mut rows: Vec<_> = self.processes.iter().collect();
        rows.sort_by_key(|(pid, (_, tally))| (u64::MAX - tally.all(), **pid));
        let names = rows.iter().map(|(_, (service, _))| columns(&service.name));
        let names = names.max().unwrap_or(0).max(7);
        let names = names.min(width.saturating_sub(FIGURES).max(16));
        let headings = [
            "SAMPLES",
            "IN SPANS",
            "NOT RECORDED",
            "NO SPAN",
            "NATIVE THREADS",
            "UNATTRIBUTED",
        ];
        let mut text = line("PID", "SERVICE", names, headings);
        let mut rest = self.others.clone();
        for (index, (pid, (service, tally))) in rows.into_iter().enumerate() {
            if index < MAX_SHOWN {
                let name = printable(&service.name);
                text.push_str(&tally.line(&pid.to_string(), &name, names));
            } else {
                rest.merge(tally);
            }
        }
        if rest.all() > 0 {
            text.push_str(&rest.line("others", "", names));
        }
        text
    }
}

/// A line of the table; `width`: the columns of the names.
fn line(pid: &str, name: &str, names: usize, figures: [&str; 6]) -> String {
    let [samples, spans, dropped, none, native, unattributed] = figures;
    let name = pad(&fit(name, names), names);
    format!(
        "{pid:>7}  {name}  {samples:>8}  {spans:>8}  {dropped:>12}  {none:>8}  {native:>14}  {unattributed}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::{Coverage, Tally};
    use crate::{
        id::Pid,
        join::{Attribution, Reason},
        measure::{Kind, Measure, Sum},
        profile::samples::{TICK, sample},
    };

    /// Shares are of all samples, and no samples are not enough.
    #[test]
    fn shares() {
        let mut tally = Tally::default();
        assert!(!tally.reaches(0.0));
        for attribution in [
            Attribution::NoSpan,
            Attribution::Unattributed(Reason::Ended),
            Attribution::Unattributed(Reason::Ended),
            Attribution::Unattributed(Reason::EventLoop),
            Attribution::NotRecorded(None),
            // Not of Python's threads.
            Attribution::NativeThread,
        ] {
            tally.add(&sample(&["work"], attribution));
        }
        tally.in_spans = Sum {
            samples: 15,
            nanos: 15 * TICK.nanos,
        };
        assert_eq!(tally.share_in_spans(), "75.0 %");
        assert_eq!(tally.share_not_recorded().as_deref(), Some("5.0 %"));
        assert_eq!((tally.samples(), tally.in_native_threads.samples), (20, 1));
        assert!(tally.reaches(75.0));
        assert!(!tally.reaches(75.1));
        assert_eq!(tally.reasons(), "span has ended 10.0 %, event loop 5.0 %");
    }

    /// A sample that stands for three ticks is one sample, and three quarters of the time beside a sample of one tick.
    /// The table is of CPU: samples that measure other time are not in it.
    #[test]
    fn shares_are_of_what_samples_are_worth() {
        let mut coverage = Coverage::default();
        let mut sample = sample(&["work"], Attribution::NoSpan);
        coverage.add(&sample);
        sample.attribution = crate::profile::samples::in_child();
        sample.measure.nanos *= 3;
        coverage.add(&sample);
        sample.measure = Measure {
            kind: Kind::Blocked,
            nanos: 1_000 * TICK.nanos,
        };
        coverage.add(&sample);
        let tally = coverage.process(Pid(10)).unwrap();
        assert_eq!(
            (tally.samples(), tally.share_in_spans().as_str()),
            (2, "75.0 %")
        );
    }
}
