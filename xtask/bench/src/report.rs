//! A benchmark's result: printed on stdout, as JSON, and in the documentation.

use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::statistics::{median, quantile};

/// One measured quantity.
pub(crate) struct Figure {
    /// What it is.
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    /// One value per round.
    pub(crate) values: Vec<f64>,
    /// The bar for the median, if there is one.
    pub(crate) bar: Option<Bar>,
}

/// The bar for a median.
#[derive(Clone, Copy)]
pub(crate) enum Bar {
    /// It must stay below.
    Below(f64),
    /// It must stay above.
    Above(f64),
    /// It must be zero in every round.
    Zero,
}

impl Bar {
    fn is_met(self, values: &[f64]) -> bool {
        let middle = median(values);
        match self {
            Self::Below(bar) => middle < bar,
            Self::Above(bar) => middle > bar,
            Self::Zero => values.iter().all(|&value| value == 0.0),
        }
    }

    fn sign_and_value(self) -> (char, f64) {
        match self {
            Self::Below(bar) => ('<', bar),
            Self::Above(bar) => ('>', bar),
            Self::Zero => ('=', 0.0),
        }
    }
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, values: Vec<f64>) -> Self {
        Self {
            name: name.into(),
            unit,
            values,
            bar: None,
        }
    }

    pub(crate) fn below(mut self, bar: f64) -> Self {
        self.bar = Some(Bar::Below(bar));
        self
    }

    pub(crate) fn above(mut self, bar: f64) -> Self {
        self.bar = Some(Bar::Above(bar));
        self
    }

    pub(crate) fn zero(mut self) -> Self {
        self.bar = Some(Bar::Zero);
        self
    }

    fn cells(&self) -> [String; 5] {
        let low = quantile(&self.values, 0.25).unwrap_or(0.0);
        let high = quantile(&self.values, 0.75).unwrap_or(0.0);
        let middle = median(&self.values);
        let bar = self.bar.map_or_else(String::new, |bar| {
            let is_met = bar.is_met(&self.values);
            let verdict = if is_met { "met" } else { "missed" };
            let (sign, value) = bar.sign_and_value();
            format!("{sign} {} {}: {verdict}", short(value), self.unit)
        });
        [
            self.name.clone(),
            format!("{} {}", show(middle), self.unit),
            format!("{} – {}", show(low), show(high)),
            self.values.len().to_string(),
            bar,
        ]
    }
}

/// A bar as it was set, or, if it was measured, with three digits behind the point.
fn short(value: f64) -> f64 {
    (1000.0 * value).round() / 1000.0
}

/// At least three digits; more are not worth reading.
pub(crate) fn show(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

const COLUMNS: [&str; 5] = ["figure", "median", "quartiles", "rounds", "bar"];

/// The result of a benchmark.
pub(crate) struct Report {
    /// As `--only` takes it.
    pub(crate) name: &'static str,
    pub(crate) figures: Vec<Figure>,
    /// Notes for the reader.
    pub(crate) notes: Vec<String>,
}

impl Report {
    /// The command that measures it again.
    fn command(&self) -> String {
        format!("cargo xtask bench --only {}", self.name)
    }

    pub(crate) fn write_json(&self, folder: &Path, machine: &str) -> Result<()> {
        let figures: Vec<_> = self
            .figures
            .iter()
            .map(|figure| {
                json!({
                    "name": figure.name,
                    "unit": figure.unit,
                    "median": median(&figure.values),
                    "quartiles": [
                        quantile(&figure.values, 0.25),
                        quantile(&figure.values, 0.75),
                    ],
                    "bar": figure.bar.map(|bar| {
                        let (sign, value) = bar.sign_and_value();
                        format!("{sign} {value}")
                    }),
                    "values": figure.values,
                })
            })
            .collect();
        let report = json!({
            "name": self.name,
            "command": self.command(),
            "machine": machine,
            "figures": figures,
            "notes": self.notes,
        });
        fs::create_dir_all(folder)
            .with_context(|| format!("failed to create {}", folder.display()))?;
        let path = folder.join(format!("{}.json", self.name));
        fs::write(&path, format!("{report:#}\n"))
            .with_context(|| format!("failed to write {}", path.display()))
    }

    /// Puts the table between the two marks with its name, which must be on the page.
    pub(crate) fn write_docs(&self, path: &Path, machine: &str) -> Result<()> {
        let page = crate::host::read(path)?;
        let page =
            replace_between(&page, self.name, &self.markdown(machine)).with_context(|| {
                format!(
                    "{} has no marks for the table {}",
                    path.display(),
                    self.name
                )
            })?;
        fs::write(path, page).with_context(|| format!("failed to write {}", path.display()))
    }

    fn markdown(&self, machine: &str) -> String {
        let mut text = format!("`{}` on {machine}:\n\n", self.command());
        for row in [COLUMNS.map(str::to_owned), ["---"; 5].map(str::to_owned)]
            .into_iter()
            .chain(self.figures.iter().map(Figure::cells))
        {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        for note in &self.notes {
            let _ = write!(text, "\n- {note}");
        }
        text.push('\n');
        text
    }
}

/// The page with new text between the marks `<!-- NAME -->` and `<!-- /NAME -->`.
fn replace_between(page: &str, name: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(&format!("<!-- {name} -->"))?;
    let end = format!("<!-- /{name} -->");
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}<!-- {name} -->\n{text}{end}{after}"))
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<[String; 5]> = std::iter::once(COLUMNS.map(str::to_owned))
            .chain(self.figures.iter().map(Figure::cells))
            .collect();
        let widths: Vec<usize> = (0..COLUMNS.len())
            .map(|column| {
                let cells = rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        writeln!(formatter, "{}", self.command())?;
        for row in rows {
            for (cell, width) in row.iter().zip(&widths) {
                write!(formatter, "  {cell:width$}")?;
            }
            writeln!(formatter)?;
        }
        for note in &self.notes {
            writeln!(formatter, "  - {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::replace_between;

    /// Only what lies between the marks changes.
    #[test]
    fn marks_are_kept() {
        let page = "a\n<!-- x -->\nold\n<!-- /x -->\nb";
        assert_eq!(
            replace_between(page, "x", "new\n").as_deref(),
            Some("a\n<!-- x -->\nnew\n<!-- /x -->\nb")
        );
        assert_eq!(replace_between(page, "y", "new"), None);
    }
}
