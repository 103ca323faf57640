//! Sums the samples of a window: one sum for each distinct stack, labels and kind of measure.
//!
//! Stacks, spans and threads are stored once each; a row has their numbers. So a row is small, and labels cost memory
//! for each distinct part, and not for each combination.

use std::{collections::HashMap, sync::Arc};

use super::{
    Labels, Origin, Profile, Row, SpanLabel, SpanLabels, Thread, Window, numbers::Numbers,
    stacks::StackTable,
};
use crate::{
    health::{Health, Loss},
    id::{Service, SpanId},
    join::{Attribution, SpanContext},
    measure::{Kind, Measure, Sum},
    symbolize::{Frame, FrameKind, MappedFile, NamedSample},
};

/// How samples are summed.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What one tick of the sampling clock is worth.
    pub tick: Measure,
    /// Which span the table of spans, and rows with few labels, are about.
    pub span_label: SpanLabel,
    /// Distinct stacks kept in a window, and rows with all their labels. As many rows again are kept with
    /// [few labels](Detail::Few); samples beyond go to `[other stacks]`, which may have as many rows again.
    pub max_stacks: usize,
}

/// Sums samples until the window is over. Allocates only for what is new in this window.
#[derive(Debug)]
pub struct Aggregator {
    settings: Settings,
    health: Health,
    stacks: StackTable,
    spans: Numbers<SpanLabels>,
    origins: Numbers<Origin>,
    rows: HashMap<RowKey, Sum>,
    /// The number of rows of `[other stacks]`, which are counted separately.
    others: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct RowKey {
    /// `None`: `[other stacks]`.
    stack: Option<u32>,
    span: Option<u32>,
    origin: u32,
    kind: Kind,
}

/// How much of its labels a row keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    /// All of them.
    All,
    /// The span of the label mode, its trace, and the container.
    Few,
    /// The service and the container.
    Least,
}

impl Aggregator {
    /// An empty window.
    pub fn new(settings: Settings, health: Health) -> Self {
        Self {
            settings,
            health,
            stacks: StackTable::default(),
            spans: Numbers::default(),
            origins: Numbers::default(),
            rows: HashMap::new(),
            others: 0,
        }
    }

    /// Counts a sample.
    pub fn add(&mut self, sample: &NamedSample) {
        if let Attribution::Span(context) = &sample.attribution
            && self.settings.span_label.stands_in(context)
        {
            self.health.count(Loss::LocalRootUnknown);
        }
        let Some(key) = self.key(sample) else {
            return;
        };
        let before = self.rows.len();
        self.rows.entry(key).or_default().add(sample.measure);
        if key.stack.is_none() {
            self.others += self.rows.len() - before;
        }
    }

    /// The row of a sample. A stack goes to `[other stacks]` only if it would also do so if rows had few labels from
    /// the start: rows with all labels take no room from the others.
    fn key(&mut self, sample: &NamedSample) -> Option<RowKey> {
        let most = self.settings.max_stacks;
        let may_grow = self.stacks.len() < most;
        let stack = self.stacks.number(&sample.stack, may_grow);
        if stack.is_some() {
            if let Some(key) = self.row(sample, stack, Detail::All, most) {
                return Some(key);
            }
            if let Some(key) = self.row(sample, stack, Detail::Few, most.saturating_mul(2)) {
                self.health.count(Loss::LabelsLeftOut);
                return Some(key);
            }
        }
        self.health.count(Loss::StackTableFull);
        self.health.count(Loss::LabelsLeftOut);
        // Spans are unbounded too, so in the end even they are left out. Services and containers are few.
        self.row(sample, None, Detail::Few, most)
            .or_else(|| self.row(sample, None, Detail::Least, usize::MAX))
    }

    /// A row, if it exists, or if there are fewer than `most` rows of its kind yet: with a stack, or without.
    fn row(
        &mut self,
        sample: &NamedSample,
        stack: Option<u32>,
        detail: Detail,
        most: usize,
    ) -> Option<RowKey> {
        let like_it = match stack {
            Some(_) => self.rows.len() - self.others,
            None => self.others,
        };
        let may_grow = like_it < most;
        let span = match (detail, &sample.attribution) {
            (Detail::All, attribution) => Some(self.span(attribution, may_grow)?),
            (Detail::Few, Attribution::NotRecorded(_)) => {
                Some(self.span(&Attribution::NotRecorded(None), may_grow)?)
            }
            (Detail::Few, Attribution::Span(context)) => Some(self.few(context, may_grow)?),
            (Detail::Few | Detail::Least, _) => None,
        };
        let key = RowKey {
            stack,
            span,
            origin: self.origin(sample, detail, may_grow)?,
            kind: sample.measure.kind,
        };
        (may_grow || self.rows.contains_key(&key)).then_some(key)
    }

    fn span(&mut self, attribution: &Attribution, may_grow: bool) -> Option<u32> {
        let hint = match attribution {
            Attribution::Span(context) => context.active.id.get(),
            Attribution::NotRecorded(Some(ids)) => ids.id.get(),
            Attribution::NoSpan
            | Attribution::NotRecorded(None)
            | Attribution::NativeThread
            | Attribution::Unattributed(_) => 0,
        };
        self.spans.number(
            hint,
            |known| matches!(known, SpanLabels::All(known) if known == attribution),
            || SpanLabels::All(attribution.clone()),
            may_grow,
        )
    }

    fn few(&mut self, context: &SpanContext, may_grow: bool) -> Option<u32> {
        let few = SpanLabels::few(context, self.settings.span_label);
        let hint = self.settings.span_label.span(context).id.get();
        self.spans
            .number(hint, |known| *known == few, || few.clone(), may_grow)
    }

    fn origin(&mut self, sample: &NamedSample, detail: Detail, may_grow: bool) -> Option<u32> {
        let thread = (detail == Detail::All).then_some(Thread {
            pid: sample.pid,
            tid: sample.tid,
            name: sample.thread_name,
        });
        self.origins.number(
            u64::from(thread.map_or(sample.pid.0, |it| it.tid.0)),
            |known| {
                known.thread == thread
                    && known.service == sample.service
                    && known.container == sample.container
            },
            || Origin {
                service: Arc::clone(&sample.service),
                container: sample.container.clone(),
                thread,
            },
            may_grow,
        )
    }

    /// The spans by their numbers. A span that was renamed in the window has the last of its names everywhere, so that
    /// each id has one name in a profile.
    fn named_spans(&self) -> Vec<Arc<SpanLabels>> {
        let spans = self.spans.values();
        let mut last: HashMap<SpanId, &Arc<str>> = HashMap::new();
        let mut renamed = HashMap::new();
        // In the order in which samples have shown them first.
        for span in spans.iter().flat_map(|labels| labels.spans()) {
            if let Some(name) = &span.name
                && last
                    .insert(span.id, name)
                    .is_some_and(|before| before != name)
            {
                renamed.insert(span.id, Arc::clone(name));
            }
        }
        let is_renamed = |labels: &SpanLabels| {
            !renamed.is_empty() && labels.spans().any(|span| renamed.contains_key(&span.id))
        };
        let kept = spans.iter().map(|labels| {
            if is_renamed(labels) {
                Arc::new(labels.renamed(&renamed))
            } else {
                Arc::clone(labels)
            }
        });
        kept.collect()
    }

    /// Ends the window: one profile per service, in the order of their names. The next window
    /// starts empty.
    pub fn finish(&mut self, window: Window) -> Vec<Profile> {
        let other: Arc<[Arc<Frame>]> = Arc::from([Arc::new(other_stacks())]);
        let mut profiles: Vec<Profile> = Vec::new();
        // By the number of an origin: the place of its service's profile.
        let places = self.services(window, &mut profiles);
        let spans = self.named_spans();
        for (key, sum) in self.rows.drain() {
            let Some((origin, profile)) = self.origins.get(key.origin).and_then(|origin| {
                let place = places.get(usize::try_from(key.origin).ok()?)?;
                Some((origin, profiles.get_mut(*place)?))
            }) else {
                continue;
            };
            let stack = key.stack.and_then(|number| self.stacks.get(number));
            let span = key.span.and_then(|it| spans.get(usize::try_from(it).ok()?));
            profile.rows.push(Row {
                stack: Arc::clone(stack.unwrap_or(&other)),
                labels: Labels {
                    span: span.cloned(),
                    origin: Arc::clone(origin),
                },
                measure: Measure {
                    kind: key.kind,
                    nanos: sum.nanos,
                },
                samples: sum.samples,
            });
        }
        profiles.retain(|profile| !profile.rows.is_empty());
        profiles.sort_by(|one, other| one.service.cmp(&other.service));
        self.stacks.clear();
        self.spans.clear();
        self.origins.clear();
        self.others = 0;
        profiles
    }

    /// Adds an empty profile for each service, and returns the index of each origin's profile.
    fn services(&self, window: Window, profiles: &mut Vec<Profile>) -> Vec<usize> {
        let mut places: HashMap<&Arc<Service>, usize> = HashMap::new();
        let origins = self.origins.values().iter();
        let of_origin = origins.map(|origin| {
            *places.entry(&origin.service).or_insert_with(|| {
                profiles.push(Profile {
                    service: Arc::clone(&origin.service),
                    window,
                    period: self.settings.tick.nanos,
                    rows: Vec::new(),
                });
                profiles.len() - 1
            })
        });
        of_origin.collect()
    }
}

fn other_stacks() -> Frame {
    marker("[other stacks]")
}

/// A frame that stands for what is missing.
pub(super) fn marker(name: &str) -> Frame {
    Frame {
        kind: FrameKind::Marker,
        name: name.into(),
        is_named: true,
        file: "".into(),
        line: 0,
        start_line: 0,
        mapping: Arc::new(MappedFile {
            path: "[spanprof]".to_owned(),
            build_id: String::new(),
        }),
    }
}

#[cfg(test)]
mod tests;
