//! Profile → what one destination takes of it: some labels, under names; some frames; each kind of measure separately.
//! The profile stays as it is, for other destinations.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    Key, Labels, NativeFrames, Profile, SpanLabel, Window, labels::cut_value, stacks::AddressHash,
    view::Stacks,
};
use crate::{
    id::Service,
    measure::{Kind, Sum},
    symbolize::Frame,
};

/// What a destination takes of a profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projection {
    /// Which span `span_id` and `span_name` are about.
    pub span_label: SpanLabel,
    /// Which labels samples carry.
    pub keys: BTreeSet<Key>,
    /// Which frames of machine code are shown.
    pub native: NativeFrames,
}

/// What a destination takes of one window, service and kind of measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Projected {
    /// Which service it is of.
    pub service: Arc<Service>,
    /// The time it covers.
    pub window: Window,
    /// What its samples have measured.
    pub kind: Kind,
    /// The time from one tick of the sampling clock to the next, in nanoseconds.
    pub period: u64,
    /// The samples, one row for each distinct pair of stack and labels.
    pub rows: Vec<ProjectedRow>,
}

/// All samples of a projected profile with the same stack and labels.
#[derive(Clone, Debug, PartialEq)]
pub struct ProjectedRow {
    /// The stack, leaf first.
    pub stack: Arc<[Arc<Frame>]>,
    /// The labels, in two parts: of the span, and of what ran. Equal parts are one allocation.
    pub labels: [Arc<[Label]>; 2],
    /// The samples.
    pub sum: Sum,
}

/// A label and its value, which is never empty.
pub type Label = (Key, String);

impl Projected {
    /// Its samples, summed.
    pub fn sum(&self) -> Sum {
        self.rows.iter().map(|row| row.sum).sum()
    }
}

impl Projection {
    /// Every label and every frame.
    pub fn whole(span_label: SpanLabel) -> Self {
        Self {
            span_label,
            keys: BTreeSet::from(Key::ALL),
            native: NativeFrames::Full,
        }
    }

    /// The profile as the destination takes it: one for each kind of measure. Samples keep their measure, rows their
    /// order. Rows that have become equal are merged if their equal frames share one allocation, which holds in a
    /// window of an [`Aggregator`](super::Aggregator).
    pub fn of(&self, profile: &Profile) -> Vec<Projected> {
        let mut stacks = Stacks::new(self.native, profile.rows.len());
        let mut parts = Parts::new(self);
        let numbers: Vec<Place> = profile
            .rows
            .iter()
            .map(|row| (stacks.number(&row.stack), parts.numbers(&row.labels)))
            .collect();
        let mut projected: BTreeMap<Kind, Projected> = BTreeMap::new();
        // The index of the row of a stack and labels. Only those that several rows may have become are looked up.
        let mut places: HashMap<(Kind, Place), usize> = HashMap::new();
        for (row, place) in profile.rows.iter().zip(numbers) {
            let kind = row.measure.kind;
            let rows = &mut projected
                .entry(kind)
                .or_insert_with(|| empty(profile, kind))
                .rows;
            let (stack, labels) = place;
            if stacks.is_shared(stack) || parts.are_shared(labels) {
                let index = *places.entry((kind, place)).or_insert(rows.len());
                if let Some(first) = rows.get_mut(index) {
                    first.sum.merge(row.sum());
                    continue;
                }
            }
            rows.push(ProjectedRow {
                stack: Arc::clone(stacks.shown(stack).unwrap_or(&row.stack)),
                labels: parts.labels(labels),
                sum: row.sum(),
            });
        }
        projected.into_values().collect()
    }

    /// The labels of those keys that have a value.
    fn labels(&self, value: impl Fn(Key) -> Option<String>) -> Vec<Label> {
        let labels = self.keys.iter().filter_map(|&key| {
            let mut value = value(key).filter(|value| !value.is_empty())?;
            cut_value(&mut value);
            Some((key, value))
        });
        labels.collect()
    }
}

/// An empty profile for the rows of one kind.
fn empty(profile: &Profile, kind: Kind) -> Projected {
    Projected {
        service: Arc::clone(&profile.service),
        window: profile.window,
        kind,
        period: profile.period,
        rows: Vec::with_capacity(profile.rows.len()),
    }
}

/// The number of a stack, and those of the two parts of labels.
type Place = (usize, [usize; 2]);

/// Maps the labels of rows to those that the destination takes.
struct Parts<'projection> {
    projection: &'projection Projection,
    spans: Part,
    origins: Part,
}

impl<'projection> Parts<'projection> {
    fn new(projection: &'projection Projection) -> Self {
        Self {
            projection,
            spans: Part::default(),
            origins: Part::default(),
        }
    }

    /// The profile keeps the labels alive, whose addresses are remembered.
    fn numbers(&mut self, labels: &Labels) -> [usize; 2] {
        let projection = self.projection;
        let address = labels.span.as_ref().map_or(0, |it| Arc::as_ptr(it).addr());
        let span = self.spans.number(address, || {
            let span = labels.span.as_ref();
            projection.labels(|key| span?.value(key, projection.span_label))
        });
        let address = Arc::as_ptr(&labels.origin).addr();
        let origin = self.origins.number(address, || {
            projection.labels(|key| labels.origin.value(key))
        });
        [span, origin]
    }

    /// Whether several labels have become these.
    fn are_shared(&self, [span, origin]: [usize; 2]) -> bool {
        self.spans.is_shared(span) || self.origins.is_shared(origin)
    }

    fn labels(&self, [span, origin]: [usize; 2]) -> [Arc<[Label]>; 2] {
        [self.spans.labels(span), self.origins.labels(origin)]
    }
}

/// Maps one part of the labels of rows.
#[derive(Default)]
struct Part {
    shown: Vec<(Arc<[Label]>, Members)>,
    by_content: HashMap<Arc<[Label]>, usize>,
    by_address: HashMap<usize, usize, AddressHash>,
}

/// How many different values have become one.
type Members = usize;

impl Part {
    /// The number of what the value at an address becomes.
    fn number(&mut self, address: usize, labels: impl FnOnce() -> Vec<Label>) -> usize {
        if let Some(&number) = self.by_address.get(&address) {
            return number;
        }
        let labels: Arc<[Label]> = labels().into();
        let next = self.shown.len();
        let number = *self.by_content.entry(Arc::clone(&labels)).or_insert(next);
        match self.shown.get_mut(number) {
            Some((_, members)) => *members += 1,
            None => self.shown.push((labels, 1)),
        }
        self.by_address.insert(address, number);
        number
    }

    fn is_shared(&self, number: usize) -> bool {
        self.shown
            .get(number)
            .is_some_and(|(_, members)| *members > 1)
    }

    fn labels(&self, number: usize) -> Arc<[Label]> {
        let shown = self.shown.get(number);
        shown.map_or_else(Arc::default, |(labels, _)| Arc::clone(labels))
    }
}

#[cfg(test)]
mod tests;
