//! What a metric is: a name, a unit, words, and the rows that its attribute tells apart.

use profiler_common::counter::Counter;

use super::{loss::Loss, table::table};

/// A number that the agent reports, in one row or in several that an attribute tells apart.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name in tables, without the prefix and the endings that metrics have.
    pub name: &'static str,
    /// Its unit, as UCUM has it: `s`, `By`, or in braces what is counted.
    pub unit: &'static str,
    /// What it counts, for people.
    pub words: &'static str,
    /// The attribute whose values tell its rows apart.
    pub attribute: &'static str,
    /// Its rows: one without a value, or one for each value. Together they are the whole.
    pub rows: &'static [Row],
}

/// A count of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The attribute's value; empty if the metric has only this row.
    pub value: &'static str,
    /// What it counts, for people; empty if the words of the metric say it.
    pub words: &'static str,
    /// What counts it.
    pub source: Source,
}

/// What counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The agent.
    Agent(Loss),
    /// The kernel programs.
    Kernel(Counter),
}

impl Metric {
    /// The unit of what is timed. Its counts are in nanoseconds, and shown in seconds.
    pub const SECONDS: &'static str = "s";

    /// A row by its name: that of the metric, and in braces what tells the row apart.
    pub fn row_name(&self, row: &Row) -> String {
        if row.value.is_empty() {
            return self.name.to_owned();
        }
        format!("{}{{{}=\"{}\"}}", self.name, self.attribute, row.value)
    }

    /// What a row counts.
    pub fn row_words(&self, row: &Row) -> &'static str {
        if row.words.is_empty() {
            self.words
        } else {
            row.words
        }
    }
}

macro_rules! counts {
    ($(
        $name:literal, $unit:literal, by $attribute:literal: $words:literal {
            $(kernel $counter:ident $($kernel_value:literal: $kernel_words:literal)?;)*
            $(agent $loss:ident $($value:literal: $row_words:literal)?;)*
        }
    )*) => {
        /// All that is counted.
        pub static COUNTS: &[Metric] = &[$(
            Metric {
                name: $name,
                unit: $unit,
                words: $words,
                attribute: $attribute,
                rows: &[
                    $(Row {
                        value: concat!($($kernel_value)?),
                        words: concat!($($kernel_words)?),
                        source: Source::Kernel(Counter::$counter),
                    },)*
                    $(Row {
                        value: concat!($($value)?),
                        words: concat!($($row_words)?),
                        source: Source::Agent(Loss::$loss),
                    },)*
                ],
            },
        )*];
    };
}

table!(counts);
