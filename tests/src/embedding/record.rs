//! What a program has recorded of itself: which thread ran what when.

#![expect(
    clippy::missing_panics_doc,
    clippy::expect_used,
    reason = "a test cannot go on without its records"
)]

use std::{
    collections::{HashMap, HashSet},
    fmt, fs,
    path::Path,
};

use profiler::{
    id::{SpanId, Tid},
    time::BootNanos,
};

/// What a thread did in a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It ran Python code, with a thread state attached.
    Attached,
    /// It ran C code below Python code, all or most of the time without a thread state attached.
    Detached,
    /// It ran either in an interpreter that has just imported OpenTelemetry: it takes time to learn of that.
    Settling,
    /// It ran C code on a stack that has no Python code, or whose state another thread has attached since.
    Native,
}

/// A time in which a thread did one and the same thing.
#[derive(Clone, Debug)]
pub struct Stretch {
    /// What.
    pub kind: Kind,
    /// When it began.
    pub begin: BootNanos,
    /// When it ended.
    pub end: BootNanos,
    /// CPU time of the thread, in nanoseconds.
    pub cpu: u64,
    /// The span that was current.
    pub span: Option<SpanId>,
    /// Names of the Python functions, leaf first, `;` between them.
    pub stack: String,
}

impl fmt::Display for Stretch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} \"{}\" in ", self.kind, self.stack)?;
        match self.span {
            Some(span) => write!(formatter, "span {span}"),
            None => formatter.write_str("no span"),
        }
    }
}

/// All stretches of a process.
#[derive(Debug, Default)]
pub struct Record {
    /// By thread, in order of time; those of a thread do not overlap.
    threads: HashMap<Tid, Thread>,
}

#[derive(Debug, Default)]
struct Thread {
    stretches: Vec<Stretch>,
    spans: HashSet<SpanId>,
    functions: HashSet<String>,
}

impl Record {
    /// Reads what `record.c` wrote.
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("the program has recorded");
        let mut record = Self::default();
        for line in text.lines() {
            let (tid, stretch) = stretch(line).expect("a line of record.c");
            let thread = record.threads.entry(tid).or_default();
            thread.spans.extend(stretch.span);
            let functions = stretch.stack.split(';').map(str::to_owned);
            thread.functions.extend(functions);
            thread.stretches.push(stretch);
        }
        for thread in record.threads.values_mut() {
            thread.stretches.sort_by_key(|stretch| stretch.begin);
        }
        record
    }

    /// What a thread did at a time, if that was recorded.
    pub fn stretch(&self, tid: Tid, time: BootNanos) -> Option<&Stretch> {
        let stretches = &self.threads.get(&tid)?.stretches;
        let after = stretches.partition_point(|stretch| stretch.begin <= time);
        let stretch = stretches.get(after.checked_sub(1)?)?;
        (time <= stretch.end).then_some(stretch)
    }

    /// Whether a thread has ever been in a span, or no thread has that has recorded anything.
    pub fn may_be_in(&self, tid: Tid, span: SpanId) -> bool {
        self.may(tid, |thread| thread.spans.contains(&span))
    }

    /// Whether a thread has ever run a function, or no thread has that has recorded anything.
    pub fn may_run(&self, tid: Tid, function: &str) -> bool {
        self.may(tid, |thread| thread.functions.contains(function))
    }

    fn may(&self, tid: Tid, has: impl Fn(&Thread) -> bool) -> bool {
        self.threads.get(&tid).is_some_and(&has) || !self.threads.values().any(has)
    }

    /// CPU time of all stretches, in nanoseconds.
    pub fn cpu(&self) -> u64 {
        let threads = self.threads.values();
        let stretches = threads.flat_map(|thread| &thread.stretches);
        stretches.map(|stretch| stretch.cpu).sum()
    }
}

/// A line of the record: `KIND TID BEGIN END CPU SPAN STACK`.
fn stretch(line: &str) -> Option<(Tid, Stretch)> {
    let mut words = line.splitn(7, ' ');
    let kind = match words.next()? {
        "attached" => Kind::Attached,
        "detached" => Kind::Detached,
        "settling" => Kind::Settling,
        "native" => Kind::Native,
        _ => return None,
    };
    let tid = Tid(words.next()?.parse().ok()?);
    let mut number = || words.next()?.parse::<u64>().ok();
    let [begin, end, cpu, span] = [number()?, number()?, number()?, number()?];
    let stretch = Stretch {
        kind,
        begin: BootNanos(begin),
        end: BootNanos(end),
        cpu,
        span: SpanId::new(span),
        stack: words.next()?.to_owned(),
    };
    Some((tid, stretch))
}
