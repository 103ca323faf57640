//! Two agents measured by the same benchmarks in turn: what a change costs.

use std::fmt;

use anyhow::Result;

use crate::Measure;
use crate::report::{Figure, Report, show};
use crate::statistics::{median, quantile};
use crate::{Bench, Name};

/// One figure of both agents.
struct Row {
    name: String,
    unit: &'static str,
    /// Medians of the earlier agent, one for each round.
    before: Vec<f64>,
    /// Medians of ours.
    now: Vec<f64>,
}

/// The figures of a benchmark, of both agents.
pub(crate) struct Comparison {
    benchmark: &'static str,
    rows: Vec<Row>,
}

/// Measures both in turn, each first in every other round. `None` if the benchmark does not run the agent's binary.
pub(crate) fn compare(
    name: Name,
    measure: Measure,
    before: &Bench,
    now: &Bench,
    rounds: usize,
) -> Result<Option<Comparison>> {
    if name == Name::Pipeline {
        return Ok(None);
    }
    let mut comparison: Option<Comparison> = None;
    for round in 0..rounds {
        let (earlier, ours) = if round % 2 == 0 {
            let earlier = measure(before)?;
            (earlier, measure(now)?)
        } else {
            let ours = measure(now)?;
            (measure(before)?, ours)
        };
        let comparison = comparison.get_or_insert_with(|| Comparison {
            benchmark: ours.name,
            rows: Vec::new(),
        });
        comparison.add(&earlier, ours);
        println!("{comparison}");
    }
    Ok(comparison)
}

impl Comparison {
    fn add(&mut self, before: &Report, now: Report) {
        for figure in now.figures {
            // Names stand in the same order; one that only one of the agents has is left out.
            let same = |it: &&Figure| it.name == figure.name;
            let Some(earlier) = before.figures.iter().find(same) else {
                continue;
            };
            let (earlier, ours) = (median(&earlier.values), median(&figure.values));
            match self.rows.iter_mut().find(|row| row.name == figure.name) {
                Some(row) => {
                    row.before.push(earlier);
                    row.now.push(ours);
                }
                None => self.rows.push(Row {
                    name: figure.name,
                    unit: figure.unit,
                    before: vec![earlier],
                    now: vec![ours],
                }),
            }
        }
    }
}

impl Row {
    /// Now by before, of each round.
    fn ratios(&self) -> Vec<f64> {
        let both = self.before.iter().zip(&self.now);
        both.filter(|(before, _)| **before != 0.0)
            .map(|(before, now)| now / before)
            .collect()
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "| {} | before | now | now / before |",
            self.benchmark
        )?;
        writeln!(formatter, "| --- | --- | --- | --- |")?;
        for row in &self.rows {
            let ratios = row.ratios();
            let low = quantile(&ratios, 0.0).unwrap_or(1.0);
            let high = quantile(&ratios, 1.0).unwrap_or(1.0);
            writeln!(
                formatter,
                "| {} | {} {unit} | {} {unit} | {:.2} ({low:.2} – {high:.2}) |",
                row.name,
                show(median(&row.before)),
                show(median(&row.now)),
                if ratios.is_empty() {
                    1.0
                } else {
                    median(&ratios)
                },
                unit = row.unit,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Comparison;
    use crate::report::{Figure, Report};

    fn report(values: &[(&str, f64)]) -> Report {
        Report {
            name: "startup",
            figures: values
                .iter()
                .map(|&(name, value)| Figure::new(name, "ms", vec![value]))
                .collect(),
            notes: Vec::new(),
        }
    }

    /// Ratios are of one round each, and what only one of the agents has is left out.
    #[test]
    fn rounds_are_compared_one_by_one() {
        let mut comparison = Comparison {
            benchmark: "startup",
            rows: Vec::new(),
        };
        comparison.add(
            &report(&[("first", 100.0)]),
            report(&[("first", 50.0), ("new", 1.0)]),
        );
        comparison.add(&report(&[("first", 200.0)]), report(&[("first", 200.0)]));
        let text = comparison.to_string();
        assert!(
            text.contains("| first | 150 ms | 125 ms | 0.75 (0.50 – 1.00) |"),
            "{text}"
        );
        assert!(!text.contains("new"), "{text}");
    }
}
