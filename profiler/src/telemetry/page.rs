//! The page of all metrics, `docs/metrics.md`, and their names as Prometheus has them.

use std::fmt::Write as _;

use super::instruments;
use crate::health::{COUNTS, FIGURES, Figure, Kind, Metric};

/// The name that Prometheus sees.
fn prometheus_name(name: &str, unit: &str, kind: Kind) -> String {
    let mut name = instruments::name(name).replace('.', "_");
    name.push_str(match unit {
        "s" => "_seconds",
        "By" => "_bytes",
        _ => "",
    });
    if kind == Kind::Counter {
        name.push_str("_total");
    }
    name
}

/// All names that Prometheus may see.
pub fn names() -> Vec<String> {
    let counts = COUNTS
        .iter()
        .map(|it| prometheus_name(it.name, it.unit, Kind::Counter));
    let figures = FIGURES
        .iter()
        .map(|it| prometheus_name(it.name, it.unit, it.kind));
    counts.chain(figures).collect()
}

/// What the page has before its tables ends with this line's beginning.
const MARK: &str = "<!-- From here on by";

/// The page with its tables made anew, and what is before them as it is.
pub fn page(before: &str) -> String {
    let mut page = String::new();
    for line in before.lines() {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "{line}");
        if line.starts_with(MARK) {
            break;
        }
    }
    page.push('\n');
    page.push_str(tables().trim_end());
    page.push('\n');
    page
}

/// The tables of the page, as Markdown.
fn tables() -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "## Counts\n");
    for metric in COUNTS {
        count(&mut text, metric);
    }
    let _ = writeln!(text, "## Figures\n");
    let _ = writeln!(text, "| metric | kind | what it says |\n|---|---|---|");
    for figure in FIGURES {
        row(&mut text, figure);
    }
    text
}

fn count(text: &mut String, metric: &Metric) {
    let name = prometheus_name(metric.name, metric.unit, Kind::Counter);
    let _ = writeln!(text, "### `{name}`\n\n{}\n", metric.words);
    if metric.rows.iter().all(|row| row.value.is_empty()) {
        return;
    }
    let _ = writeln!(text, "| {} | |\n|---|---|", metric.attribute);
    for row in metric.rows {
        let _ = writeln!(text, "| `{}` | {} |", row.value, row.words);
    }
    text.push('\n');
}

fn row(text: &mut String, figure: &Figure) {
    let name = prometheus_name(figure.name, figure.unit, figure.kind);
    let kind = match figure.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
    };
    let values: Vec<_> = figure.values.iter().map(|it| format!("`{it}`")).collect();
    let by = if values.is_empty() {
        String::new()
    } else {
        format!(" By `{}`: {}.", figure.attribute, values.join(", "))
    };
    let _ = writeln!(text, "| `{name}` | {kind} | {}{by} |", figure.words);
}
