//! How much of each process's CPU carries a span: what `record` and `doctor` show.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    sync::Arc,
};

use super::text::{columns, fit, share, words};
use crate::{
    id::{Pid, Service},
    join::{Attribution, Reason},
    symbolize::NamedSample,
};

/// Processes kept apart; later ones are summed.
const MAX_PROCESSES: usize = 10_000;
/// Processes shown; the rest is summed.
const MAX_SHOWN: usize = 20;

/// Samples by process, and by what is known of their spans.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    processes: HashMap<Pid, (Arc<Service>, Tally)>,
    others: Tally,
}

/// Samples by what is known of their spans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// In a span.
    pub in_spans: u64,
    /// In no span.
    pub in_no_span: u64,
    /// Perhaps in a span, nobody can say in which.
    pub unattributed: HashMap<Reason, u64>,
}

impl Tally {
    /// All of them.
    pub fn samples(&self) -> u64 {
        self.in_spans + self.in_no_span + self.unattributed.values().sum::<u64>()
    }

    fn add(&mut self, attribution: &Attribution) {
        match attribution {
            Attribution::Span(_) => self.in_spans += 1,
            Attribution::NoSpan => self.in_no_span += 1,
            Attribution::Unattributed(reason) => {
                *self.unattributed.entry(*reason).or_default() += 1;
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        self.in_spans += other.in_spans;
        self.in_no_span += other.in_no_span;
        for (reason, count) in &other.unattributed {
            *self.unattributed.entry(*reason).or_default() += count;
        }
    }

    /// The share of samples in spans, in percent, as text.
    pub fn share_in_spans(&self) -> String {
        share(self.in_spans, self.samples())
    }

    /// Whether at least so many percent of the samples are in spans. No samples are not enough.
    pub fn reaches(&self, percent: f64) -> bool {
        let samples = self.samples();
        #[expect(
            clippy::cast_precision_loss,
            reason = "a share needs no more than 52 bits of either count"
        )]
        let reached = self.in_spans as f64 * 100.0 >= percent * samples as f64;
        samples > 0 && reached
    }

    /// The unattributed by reason, in words.
    pub fn by_reason(&self) -> BTreeMap<&'static str, u64> {
        let mut by_reason = BTreeMap::new();
        for (reason, count) in &self.unattributed {
            *by_reason.entry(words(*reason)).or_default() += count;
        }
        by_reason
    }

    /// The unattributed by reason, most first, as shares of all samples.
    fn reasons(&self) -> String {
        let mut reasons: Vec<_> = self.by_reason().into_iter().collect();
        reasons.sort_by_key(|&(words, count)| (u64::MAX - count, words));
        let reasons: Vec<_> = reasons
            .into_iter()
            .map(|(words, count)| format!("{words} {}", share(count, self.samples())))
            .collect();
        reasons.join(", ")
    }
}

impl Coverage {
    /// Counts a sample.
    pub fn add(&mut self, sample: &NamedSample) {
        if let Some((_, tally)) = self.processes.get_mut(&sample.pid) {
            tally.add(&sample.attribution);
        } else if self.processes.len() < MAX_PROCESSES {
            let mut tally = Tally::default();
            tally.add(&sample.attribution);
            let service = Arc::clone(&sample.service);
            self.processes.insert(sample.pid, (service, tally));
        } else {
            self.others.add(&sample.attribution);
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

    /// A line for each process, most samples first, in lines at most `width` columns wide where that
    /// leaves room for names.
    pub fn render(&self, width: usize) -> String {
        const FIGURES: usize = 7 + 2 + 2 + 8 + 2 + 8 + 2 + 8 + 2 + 12;
        let mut rows: Vec<_> = self.processes.iter().collect();
        rows.sort_by_key(|(pid, (_, tally))| (u64::MAX - tally.samples(), **pid));
        let names = rows.iter().map(|(_, (service, _))| columns(&service.name));
        let names = names.max().unwrap_or(0).max(7);
        let names = names.min(width.saturating_sub(FIGURES).max(16));
        let mut text = String::new();
        let mut line = |pid: &str, name: &str, [samples, spans, none, unattributed]: [&str; 4]| {
            let name = fit(name, names);
            let padding = " ".repeat(names.saturating_sub(columns(&name)));
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{pid:>7}  {name}{padding}  {samples:>8}  {spans:>8}  {none:>8}  {unattributed}"
            );
        };
        let headings = ["SAMPLES", "IN SPANS", "NO SPAN", "UNATTRIBUTED"];
        line("PID", "SERVICE", headings);
        let mut show = |pid: &str, name: &str, tally: &Tally| {
            let samples = tally.samples();
            let unattributed = samples - tally.in_spans - tally.in_no_span;
            let mut last = share(unattributed, samples);
            if unattributed > 0 {
                last = format!("{last} ({})", tally.reasons());
            }
            let spans = share(tally.in_spans, samples);
            let none = share(tally.in_no_span, samples);
            line(pid, name, [&samples.to_string(), &spans, &none, &last]);
        };
        for (pid, (service, tally)) in rows.iter().take(MAX_SHOWN) {
            // A control character could move the cursor of the terminal.
            let name = service.name.replace(char::is_control, "\u{fffd}");
            show(&pid.to_string(), &name, tally);
        }
        let mut rest = self.others.clone();
        for (_, (_, tally)) in rows.iter().skip(MAX_SHOWN) {
            rest.merge(tally);
        }
        if rest.samples() > 0 {
            show("others", "", &rest);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;
    use crate::join::{Attribution, Reason};

    /// Shares are of all samples, and none of none is not enough.
    #[test]
    fn shares() {
        let mut tally = Tally::default();
        assert!(!tally.reaches(0.0));
        for attribution in [
            Attribution::NoSpan,
            Attribution::Unattributed(Reason::Ended),
            Attribution::Unattributed(Reason::Ended),
            Attribution::Unattributed(Reason::EventLoop),
        ] {
            tally.add(&attribution);
        }
        tally.in_spans = 12;
        assert_eq!(tally.share_in_spans(), "75.0 %");
        assert!(tally.reaches(75.0));
        assert!(!tally.reaches(75.1));
        assert_eq!(
            tally.reasons(),
            "span ended elsewhere 12.5 %, event loop 6.3 %"
        );
    }
}
