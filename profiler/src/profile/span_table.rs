//! The table of spans by CPU that `record` prints.

mod sums;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fmt::Write as _,
    sync::Arc,
};

use self::sums::Sums;
use super::{
    SpanLabel,
    labels::NOT_RECORDED,
    native_threads::{Evidence, NativeThreads},
    shorten::shorten,
    text::{columns, fit, pad, share, words},
};
use crate::{
    events::{ThreadName, printable},
    id::{Pid, Tid},
    join::{Attribution, Reason},
    measure::Sum,
    symbolize::NamedSample,
};

/// Distinct span names kept; later ones are summed as `(other spans)`.
pub const MAX_NAMES: usize = 10_000;
/// Distinct functions kept for each name, from which the top one is chosen.
const MAX_FUNCTIONS: usize = 4_096;
/// Native threads kept apart, until it is known which library each is of; the samples of later ones each go by what they
/// show themselves.
const MAX_THREADS: usize = 1_024;
/// The functions of each of these.
const MAX_THREAD_FUNCTIONS: usize = 256;

/// Spans by CPU, summed as samples come.
#[derive(Clone, Debug)]
pub struct SpanTable {
    span_label: SpanLabel,
    rows: HashMap<RowName, Sums>,
    names: usize,
    threads: HashMap<(Pid, Tid, ThreadName), NativeThread>,
}

/// A thread that runs no Python.
#[derive(Clone, Debug)]
struct NativeThread {
    /// What its samples have told best.
    threads: NativeThreads,
    evidence: Evidence,
    sums: Sums,
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
    /// CPU in spans that are not recorded.
    NotRecorded,
    /// CPU of threads that run no Python.
    NativeThreads(NativeThreads),
    /// CPU that may be in a span, but it is not known in which.
    Unattributed(Reason),
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
            threads: HashMap::new(),
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
        let name = match &sample.attribution {
            Attribution::Span(context) => span_row(self.span_label.span(context).name.as_ref()),
            Attribution::NoSpan => RowName::NoSpan,
            Attribution::NotRecorded(_) => RowName::NotRecorded,
            Attribution::NativeThread => return self.add_native(sample),
            Attribution::Unattributed(reason) => RowName::Unattributed(*reason),
        };
        self.sums(name).add(sample, MAX_FUNCTIONS);
    }

    /// Counts a sample of a thread that runs no Python. Which library that is of, another sample may tell better.
    fn add_native(&mut self, sample: &NamedSample) {
        let (threads, evidence) = NativeThreads::of(sample);
        let key = (sample.pid, sample.tid, sample.thread_name);
        if self.threads.len() >= MAX_THREADS && !self.threads.contains_key(&key) {
            let sums = self.sums(RowName::NativeThreads(threads));
            return sums.add(sample, MAX_FUNCTIONS);
        }
        let thread = self.threads.entry(key).or_insert_with(|| NativeThread {
            threads: threads.clone(),
            evidence,
            sums: Sums::default(),
        });
        if evidence > thread.evidence {
            (thread.threads, thread.evidence) = (threads, evidence);
        }
        thread.sums.add(sample, MAX_THREAD_FUNCTIONS);
    }

    /// All rows, those of native threads by what is known of each by now.
    fn all_rows(&self) -> HashMap<RowName, Cow<'_, Sums>> {
        let rows = self.rows.iter();
        let mut rows: HashMap<_, _> = rows
            .map(|(name, sums)| (name.clone(), Cow::Borrowed(sums)))
            .collect();
        for thread in self.threads.values() {
            let name = RowName::NativeThreads(thread.threads.clone());
            let sums = rows
                .entry(name)
                .or_insert_with(|| Cow::Owned(Sums::default()));
            sums.to_mut().merge(&thread.sums);
        }
        rows
    }

    /// The rows, most CPU first.
    pub fn rows(&self) -> Vec<TableRow> {
        let mut rows: Vec<TableRow> = self
            .all_rows()
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
        let threads = self.threads.values().map(|thread| &thread.sums);
        let sums = self.rows.values().chain(threads);
        sums.map(|sums| sums.samples).sum()
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
                RowName::NoSpan
                | RowName::NotRecorded
                | RowName::NativeThreads(_)
                | RowName::Unattributed(_) => "-".to_owned(),
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
        RowName::NotRecorded => NOT_RECORDED.to_owned(),
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
