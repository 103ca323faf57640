//! The table of spans by CPU that `record` prints.

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    sync::Arc,
};

use super::{
    SpanLabel,
    native_threads::NativeThreads,
    shorten::shorten,
    text::{columns, fit, pad, share, words},
};
use crate::{
    events::printable,
    join::{Attribution, Reason},
    measure::Sum,
    symbolize::{Frame, FrameKind, NamedSample},
};

/// Distinct span names kept; later ones are summed as `(other spans)`.
pub const MAX_NAMES: usize = 10_000;
/// Distinct functions kept for each name, from which the top one is chosen.
const MAX_FUNCTIONS: usize = 4_096;

/// The innermost Python function, with the C and kernel code that it called; in a stack without one the leaf.
fn own_function(sample: &NamedSample) -> Option<&Arc<Frame>> {
    let is_python = |frame: &&Arc<Frame>| frame.kind == FrameKind::Python;
    sample
        .stack
        .iter()
        .find(is_python)
        .or_else(|| sample.stack.first())
}

/// Spans by CPU, summed as samples come.
#[derive(Clone, Debug)]
pub struct SpanTable {
    span_label: SpanLabel,
    rows: HashMap<RowName, Sums>,
    names: usize,
}

/// What a row of the table stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RowName {
    /// Spans of this name.
    Span(Arc<str>),
    /// Spans whose name is not known.
    Unnamed,
    /// Spans of names beyond those kept.
    OtherSpans,
    /// CPU outside any span.
    NoSpan,
    /// CPU of threads that run no Python.
    NativeThreads(NativeThreads),
    /// CPU that may be in a span, but it is not known in which.
    Unattributed(Reason),
}

#[derive(Clone, Debug, Default)]
struct Sums {
    spans: u64,
    samples: Sum,
    /// Nanoseconds by function.
    functions: HashMap<Arc<str>, u64>,
}

/// A row, for tests and other forms of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableRow {
    /// What it stands for.
    pub name: RowName,
    /// Spans seen to start.
    pub spans: u64,
    /// Samples.
    pub samples: u64,
    /// CPU in nanoseconds.
    pub cpu_nanos: u64,
    /// The function that used most of it.
    pub top_function: Option<Arc<str>>,
}

impl SpanTable {
    /// An empty table.
    pub fn new(span_label: SpanLabel) -> Self {
        Self {
            span_label,
            rows: HashMap::new(),
            names: 0,
        }
    }

    /// Counts a span that has started. In the mode of local roots only those count.
    pub fn span_seen(&mut self, name: Option<&Arc<str>>, is_local_root: bool) {
        if is_local_root || self.span_label == SpanLabel::Active {
            self.sums(span_row(name)).spans += 1;
        }
    }

    /// Counts a sample, if it is of a kind that the table shows.
    pub fn add(&mut self, sample: &NamedSample) {
        if !sample.measure.kind.terms().in_tables {
            return;
        }
        let nanos = sample.measure.nanos;
        let name = match &sample.attribution {
            Attribution::Span(context) => span_row(self.span_label.span(context).name.as_ref()),
            Attribution::NoSpan => RowName::NoSpan,
            Attribution::NativeThread => RowName::NativeThreads(NativeThreads::of(sample)),
            Attribution::Unattributed(reason) => RowName::Unattributed(*reason),
        };
        let sums = self.sums(name);
        sums.samples.add(sample.measure);
        let Some(function) = own_function(sample) else {
            return;
        };
        if let Some(sum) = sums.functions.get_mut(&function.name) {
            *sum += nanos;
        } else if sums.functions.len() < MAX_FUNCTIONS {
            sums.functions.insert(Arc::clone(&function.name), nanos);
        }
    }

    /// The rows, most CPU first.
    pub fn rows(&self) -> Vec<TableRow> {
        let mut rows: Vec<TableRow> = self
            .rows
            .iter()
            .map(|(name, sums)| TableRow {
                name: name.clone(),
                spans: sums.spans,
                samples: sums.samples.samples,
                cpu_nanos: sums.samples.nanos,
                top_function: sums
                    .functions
                    .iter()
                    .max_by(|one, other| one.1.cmp(other.1).then_with(|| other.0.cmp(one.0)))
                    .map(|(name, _)| Arc::clone(name)),
            })
            .collect();
        rows.sort_by_cached_key(|row| {
            (
                u64::MAX - row.cpu_nanos,
                u64::MAX - row.spans,
                title(&row.name, &HashSet::new()),
            )
        });
        rows
    }

    /// All samples counted.
    pub fn samples(&self) -> u64 {
        self.total().samples
    }

    fn total(&self) -> Sum {
        self.rows.values().map(|sums| sums.samples).sum()
    }

    /// The table as text, lines at most `width` columns wide if that leaves room for names.
    pub fn render(&self, width: usize) -> String {
        const FIGURES: usize = 2 + 7 + 2 + 9 + 2 + 6 + 2;
        let rows = self.rows();
        let shared = shared_libraries(&rows);
        let title = |row: &TableRow| title(&row.name, &shared);
        let total = self.total().nanos;
        let widest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
        let names = widest(&mut rows.iter().map(|row| columns(&title(row)))).max(5);
        let functions = widest(&mut rows.iter().map(|row| columns(&printable(top(row))))).max(12);
        let room = width.saturating_sub(FIGURES).max(32);
        let functions = functions.min((room / 2).max(room.saturating_sub(names)));
        let names = names.min(room - functions);
        let mut text = String::new();
        let mut line = |name: &str, spans: &str, seconds: &str, share: &str, function: &str| {
            let name = pad(&fit(name, names), names);
            let function = shorten(function, functions);
            let line = format!("{name}  {spans:>7}  {seconds:>9}  {share:>6}  {function}");
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}", line.trim_end());
        };
        line("SPAN", "SPANS", "CPU", "SHARE", "TOP FUNCTION");
        for row in &rows {
            let spans = match row.name {
                RowName::NoSpan | RowName::NativeThreads(_) | RowName::Unattributed(_) => {
                    "-".to_owned()
                }
                _ => row.spans.to_string(),
            };
            let (seconds, share) = (seconds(row.cpu_nanos), share(row.cpu_nanos, total));
            line(&title(row), &spans, &seconds, &share, top(row));
        }
        let spans: u64 = rows.iter().map(|row| row.spans).sum();
        let share = share(total, total);
        line("total", &spans.to_string(), &seconds(total), &share, "");
        text
    }

    fn sums(&mut self, name: RowName) -> &mut Sums {
        let is_open = matches!(name, RowName::Span(_) | RowName::NativeThreads(_));
        let new_name = is_open && !self.rows.contains_key(&name);
        let name = if new_name && self.names >= MAX_NAMES {
            match name {
                RowName::NativeThreads(_) => RowName::NativeThreads(NativeThreads::default()),
                _ => RowName::OtherSpans,
            }
        } else {
            self.names += usize::from(new_name);
            name
        };
        self.rows.entry(name).or_default()
    }
}

fn span_row(name: Option<&Arc<str>>) -> RowName {
    name.map_or(RowName::Unnamed, |name| RowName::Span(Arc::clone(name)))
}

/// Libraries with native threads of several names: their rows are told apart by these.
fn shared_libraries(rows: &[TableRow]) -> HashSet<&str> {
    let mut seen = HashSet::new();
    let libraries = rows.iter().filter_map(|row| match &row.name {
        RowName::NativeThreads(threads) => Some(&*threads.library),
        _ => None,
    });
    libraries.filter(|&library| !seen.insert(library)).collect()
}

/// A row's name as shown: a span's own, anything else in parentheses.
fn title(name: &RowName, shared: &HashSet<&str>) -> String {
    match name {
        RowName::Span(name) => printable(name).into_owned(),
        RowName::Unnamed => "(span without a known name)".to_owned(),
        RowName::OtherSpans => "(other spans)".to_owned(),
        RowName::NoSpan => "(no span)".to_owned(),
        RowName::NativeThreads(threads) => {
            let title = threads.title(shared.contains(&*threads.library));
            printable(&title).into_owned()
        }
        RowName::Unattributed(reason) => format!("(unattributed: {})", words(*reason)),
    }
}

/// Nanoseconds as seconds, to a hundredth.
fn seconds(nanos: u64) -> String {
    let hundredths = nanos.saturating_add(5_000_000) / 10_000_000;
    format!("{}.{:02} s", hundredths / 100, hundredths % 100)
}

fn top(row: &TableRow) -> &str {
    row.top_function.as_deref().unwrap_or("")
}
