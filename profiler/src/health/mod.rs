//! Every count and every loss, from every room: one [`table`] of names, units and words, and the counts.

mod figure;
mod loss;
mod metric;
mod table;
#[cfg(test)]
mod tests;

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use profiler_common::counter::Counter;

pub use self::{
    figure::{FIGURES, Figure, Gauge, Kind, Phase, What},
    loss::Loss,
    metric::{COUNTS, Metric, Row, Source},
};

use crate::time::{SECOND, monotonic_now};

/// The counts, shared by all rooms.
#[derive(Clone, Debug, Default)]
pub struct Health {
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Counts {
    losses: Vec<AtomicU64>,
    kernel: Vec<AtomicU64>,
    gauges: [AtomicU64; figure::GAUGES],
    /// What turns are timed from.
    start: Instant,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            losses: Loss::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            kernel: Counter::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            gauges: figure::zeros(),
            start: monotonic_now(),
        }
    }
}

impl Health {
    /// Counts one loss.
    pub fn count(&self, loss: Loss) {
        self.add(loss, 1);
    }

    /// Counts `number` losses of one kind.
    pub fn add(&self, loss: Loss, number: u64) {
        if let Some(count) = self.counts.losses.get(loss as usize) {
            count.fetch_add(number, Ordering::Relaxed);
        }
    }

    /// How often a loss has happened.
    pub fn get(&self, loss: Loss) -> u64 {
        self.counts
            .losses
            .get(loss as usize)
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Profiles that were never stored, whatever has kept them from it.
    pub fn profiles_lost(&self) -> u64 {
        let names = [
            "profiles_not_encoded",
            "profiles_refused",
            "profiles_dropped",
        ];
        names.into_iter().filter_map(|name| self.total(name)).sum()
    }

    /// Takes over what the kernel programs have counted, summed over all CPUs.
    pub fn set_kernel(&self, counter: Counter, value: u64) {
        if let Some(count) = self.counts.kernel.get(counter as usize) {
            count.store(value, Ordering::Relaxed);
        }
    }

    /// What the kernel programs have counted, as of the last [`Self::set_kernel`].
    pub fn kernel(&self, counter: Counter) -> u64 {
        self.counts
            .kernel
            .get(counter as usize)
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }

    fn at(&self, gauge: Gauge) -> Option<&AtomicU64> {
        self.counts.gauges.get(gauge as usize)
    }

    /// Leaves a number for those that read it.
    pub fn set(&self, gauge: Gauge, value: u64) {
        if let Some(number) = self.at(gauge) {
            number.store(value, Ordering::Relaxed);
        }
    }

    /// So many more.
    pub fn raise(&self, gauge: Gauge, more: usize) {
        if let Some(number) = self.at(gauge) {
            number.fetch_add(u64::try_from(more).unwrap_or(0), Ordering::Relaxed);
        }
    }

    /// So many less.
    pub fn lower(&self, gauge: Gauge, less: usize) {
        if let Some(number) = self.at(gauge) {
            number.fetch_sub(u64::try_from(less).unwrap_or(0), Ordering::Relaxed);
        }
    }

    /// What was left last.
    pub fn gauge(&self, gauge: Gauge) -> u64 {
        self.at(gauge)
            .map_or(0, |number| number.load(Ordering::Relaxed))
    }

    /// A thread begins a turn: [`Gauge::DataTurned`] or [`Gauge::ControlTurned`].
    pub fn turns(&self, thread: Gauge) {
        let since = self.counts.start.elapsed().as_nanos();
        // Not 0: that is before the first.
        self.set(thread, u64::try_from(since).unwrap_or(u64::MAX).max(1));
    }

    /// How long ago a thread has last begun a turn; `None` before its first.
    pub fn idle(&self, thread: Gauge) -> Option<Duration> {
        let turned = Some(self.gauge(thread)).filter(|&it| it > 0)?;
        let turned = Duration::from_nanos(turned);
        Some(self.counts.start.elapsed().saturating_sub(turned))
    }

    /// The agent is at something else from now on.
    pub fn enter(&self, phase: Phase) {
        self.set(Gauge::Phase, phase as u64);
    }

    /// What the agent is at.
    pub fn phase(&self) -> Phase {
        Phase::of(self.gauge(Gauge::Phase))
    }

    /// A row of the table, in its unit: what is timed is in nanoseconds.
    pub fn row(&self, row: &Row) -> u64 {
        match row.source {
            Source::Agent(loss) => self.get(loss),
            Source::Kernel(counter) => self.kernel(counter),
        }
    }

    /// All rows of a metric together, by its name; `None` if there is none of that name.
    pub fn total(&self, name: &str) -> Option<u64> {
        let metric = COUNTS.iter().find(|metric| metric.name == name)?;
        Some(metric.rows.iter().map(|row| self.row(row)).sum())
    }

    /// The table of all counts that are not zero, a line each: count, name, words.
    pub fn table(&self) -> String {
        let rows = COUNTS
            .iter()
            .flat_map(|metric| metric.rows.iter().map(move |row| (metric, row)));
        let mut table = String::new();
        for (metric, row) in rows {
            let count = self.row(row);
            if count == 0 {
                continue;
            }
            let count = if metric.unit == Metric::SECONDS {
                format!("{}.{:09}", count / SECOND, count % SECOND)
            } else {
                count.to_string()
            };
            let (name, words) = (metric.row_name(row), metric.row_words(row));
            // Writing to a string cannot fail.
            let _ = writeln!(table, "{count:>12}  {name:<52}  {words}");
        }
        table
    }
}
