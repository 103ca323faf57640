//! What a sample is worth: the kind of time that it measures, and how many nanoseconds of it. Whatever
//! follows from the kind is in one table, [`Kind::terms`].

use std::time::Duration;

/// A kind of time, and how much of it: what a sample stands for, or the samples of a row together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Measure {
    /// Which kind of time.
    pub kind: Kind,
    /// How much, in nanoseconds.
    pub nanos: u64,
}

impl Measure {
    /// CPU time, in nanoseconds.
    pub const fn cpu(nanos: u64) -> Self {
        Self {
            kind: Kind::Cpu,
            nanos,
        }
    }

    /// What one tick of the sampling clock stands for, which ticks `frequency` times in each second of CPU
    /// time: the time from one tick to the next.
    pub fn tick(frequency: u32) -> Self {
        let tick = Duration::from_secs(1) / frequency.max(1);
        Self::cpu(u64::try_from(tick.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Samples of one kind, summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many there are.
    pub samples: u64,
    /// What they are worth together, in nanoseconds.
    pub nanos: u64,
}

impl Sum {
    /// Adds a sample.
    pub fn add(&mut self, measure: Measure) {
        self.merge(Self {
            samples: 1,
            nanos: measure.nanos,
        });
    }

    /// Adds what is summed already.
    pub fn merge(&mut self, other: Self) {
        self.samples = self.samples.saturating_add(other.samples);
        self.nanos = self.nanos.saturating_add(other.nanos);
    }
}

impl std::iter::Sum for Sum {
    fn sum<I: Iterator<Item = Self>>(sums: I) -> Self {
        let mut all = Self::default();
        sums.for_each(|sum| all.merge(sum));
        all
    }
}

/// A kind of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The thread ran on a CPU.
    Cpu,
    /// The thread was blocked. Nothing produces it yet: it shows in tests that a kind is a row of the table.
    #[cfg(test)]
    Blocked,
}

/// What a kind is called in formats, and how it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Its sample type in pprof.
    pub sample_type: &'static str,
    /// The unit of that type: of all values.
    pub unit: &'static str,
    /// The metric of its series (`__name__`), by which dashboards ask for it.
    pub metric: &'static str,
    /// What people call it, at the head of a title.
    pub title: &'static str,
    /// Whether its samples are ticks of a clock, the same time apart: pprof's period.
    pub is_periodic: bool,
    /// What flame graphs and folded stacks count.
    pub counted: Counted,
    /// Whether the tables of spans and processes sum it, which show what share of the CPU is in spans.
    pub in_tables: bool,
}

/// What stands behind a stack in a format with one number for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// The number of samples: all are worth the same.
    Samples,
    /// Microseconds: each sample is worth what it has measured.
    #[cfg(test)]
    Microseconds,
}

impl Counted {
    /// The number for these samples.
    pub fn of(self, sum: Sum) -> u64 {
        match self {
            Self::Samples => sum.samples,
            #[cfg(test)]
            Self::Microseconds => sum.nanos / 1_000,
        }
    }

    /// What the numbers are called.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Samples => "samples",
            #[cfg(test)]
            Self::Microseconds => "µs",
        }
    }
}

impl Kind {
    /// What it is called, and how it is shown.
    pub const fn terms(self) -> Terms {
        match self {
            Self::Cpu => Terms {
                sample_type: "cpu",
                unit: "nanoseconds",
                metric: "process_cpu",
                title: "CPU",
                is_periodic: true,
                counted: Counted::Samples,
                in_tables: true,
            },
            #[cfg(test)]
            Self::Blocked => Terms {
                sample_type: "off_cpu",
                unit: "nanoseconds",
                metric: "off_cpu",
                title: "Blocked time",
                is_periodic: false,
                counted: Counted::Microseconds,
                in_tables: false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Measure, Sum};

    /// A tick is worth the time to the next; what several are worth adds up, also if one of them stands
    /// for several.
    #[test]
    fn ticks_add_up() {
        assert_eq!(Measure::tick(99), Measure::cpu(10_101_010));
        assert_eq!(Measure::tick(0), Measure::tick(1));
        let mut sum = Sum::default();
        sum.add(Measure::cpu(10));
        sum.add(Measure::cpu(30));
        let both = Sum {
            samples: 2,
            nanos: 40,
        };
        assert_eq!(sum, both);
        assert_eq!([sum, both].into_iter().sum::<Sum>().nanos, 80);
    }
}
