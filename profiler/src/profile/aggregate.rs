//! Sums the samples of a window: one sum for each distinct service, stack, label set and kind of measure.

use std::{collections::HashMap, sync::Arc};

use super::{LabelSet, Labels, Profile, Row, SpanLabel, Window, stacks::StackTable};
use crate::{
    health::{Health, Loss},
    id::Service,
    measure::{Kind, Measure, Sum},
    symbolize::{Frame, FrameKind, MappedFile, NamedSample},
};

/// How samples are summed.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What one tick of the sampling clock is worth.
    pub tick: Measure,
    /// Which span the labels speak of.
    pub span_label: SpanLabel,
    /// Which labels samples carry.
    pub labels: LabelSet,
    /// Distinct rows (stack and labels) kept in a window. Samples beyond go to `[other stacks]`.
    pub max_stacks: usize,
}

/// Sums samples until the window is over. Allocates for what it has not seen in this window only.
#[derive(Debug)]
pub struct Aggregator {
    settings: Settings,
    health: Health,
    stacks: StackTable,
    services: HashMap<Arc<Service>, HashMap<RowKey, Sum>>,
    /// Rows of all services together.
    rows: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct RowKey {
    /// `None`: `[other stacks]`.
    stack: Option<u32>,
    labels: Labels,
    kind: Kind,
}

impl Aggregator {
    /// An empty window.
    pub fn new(settings: Settings, health: Health) -> Self {
        Self {
            settings,
            health,
            stacks: StackTable::default(),
            services: HashMap::new(),
            rows: 0,
        }
    }

    /// Counts a sample.
    pub fn add(&mut self, sample: &NamedSample) {
        if self.settings.span_label.falls_back(&sample.attribution) {
            self.health.count(Loss::LocalRootUnknown);
        }
        let labels = Labels::of(sample, self.settings.labels, self.settings.span_label);
        let may_grow = self.rows < self.settings.max_stacks;
        let stack = self.stacks.number(&sample.stack, may_grow);
        let rows = match self.services.get_mut(&sample.service) {
            Some(rows) => rows,
            None => self
                .services
                .entry(Arc::clone(&sample.service))
                .or_default(),
        };
        let mut key = RowKey {
            stack,
            labels,
            kind: sample.measure.kind,
        };
        if stack.is_some() {
            if let Some(sum) = rows.get_mut(&key) {
                sum.add(sample.measure);
                return;
            }
            if self.rows < self.settings.max_stacks {
                self.rows += 1;
                rows.entry(key).or_default().add(sample.measure);
                return;
            }
        }
        self.health.count(Loss::StackTableFull);
        key.stack = None;
        // Label sets are unbounded too (span ids): past twice the budget even they are given up.
        if self.rows >= self.settings.max_stacks.saturating_mul(2) && !rows.contains_key(&key) {
            key.labels = Labels::default();
        }
        let sum = rows.entry(key).or_insert_with(|| {
            self.rows += 1;
            Sum::default()
        });
        sum.add(sample.measure);
    }

    /// Ends the window: one profile per service, in the order of their names. The next window
    /// starts empty.
    pub fn finish(&mut self, window: Window) -> Vec<Profile> {
        let other: Arc<[Arc<Frame>]> = Arc::from([Arc::new(other_stacks())]);
        let stacks = &self.stacks;
        let mut profiles: Vec<Profile> = self
            .services
            .drain()
            .map(|(service, rows)| Profile {
                service,
                window,
                period: self.settings.tick.nanos,
                rows: rows
                    .into_iter()
                    .map(|(key, sum)| Row {
                        stack: key
                            .stack
                            .and_then(|number| stacks.get(number))
                            .unwrap_or(&other)
                            .clone(),
                        labels: key.labels,
                        measure: Measure {
                            kind: key.kind,
                            nanos: sum.nanos,
                        },
                        samples: sum.samples,
                    })
                    .collect(),
            })
            .collect();
        profiles.sort_by(|one, other| one.service.cmp(&other.service));
        self.rows = 0;
        self.stacks.clear();
        profiles
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
