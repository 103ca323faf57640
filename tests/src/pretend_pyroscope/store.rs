//! What the server keeps.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use profiler::time::UnixNanos;

use super::refusal::Refusal;

/// Series of a tenant that v1 has at a time: `ingester.max-global-series-per-tenant`.
const MAX_SERIES: usize = 5_000;
/// The type of profile that Grafana asks for: what takes CPU time.
pub(super) const CPU: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";

/// How the server stores: which of the profiles of one series it takes for the same, and how many series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// `-architecture.storage=v1`: those of one whole millisecond, at once; 5 000 series.
    #[default]
    V1,
    /// The default of 2.x: those of one nanosecond, when it compacts; any number of series.
    V2,
}

impl Storage {
    /// The resolution of the storage's times, in nanoseconds.
    fn unit(self) -> i64 {
        match self {
            Self::V1 => 1_000_000,
            Self::V2 => 1,
        }
    }
}

/// One row of the server's storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredProfile {
    /// The series, sorted; with labels of samples and those that the server works out.
    pub labels: Arc<[(String, String)]>,
    /// Its time, in nanoseconds since 1970.
    pub time_nanos: i64,
    /// How long it is, in nanoseconds.
    pub duration_nanos: i64,
    /// When it was stored, by the real clock.
    pub stored_at: Option<UnixNanos>,
    /// Its samples.
    pub samples: Vec<StoredSample>,
}

impl StoredProfile {
    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        let place = self
            .labels
            .binary_search_by(|(key, _)| key.as_str().cmp(name));
        let label = place.ok().and_then(|place| self.labels.get(place));
        label.map(|(_, value)| value.as_str())
    }

    /// How long after the end of its window it was stored, in nanoseconds; negative if before.
    pub fn lag(&self) -> i64 {
        let stored = self.stored_at.map_or(0, |at| at.0);
        let end = self.time_nanos.saturating_add(self.duration_nanos);
        i64::try_from(stored)
            .unwrap_or(i64::MAX)
            .saturating_sub(end)
    }

    /// All it counts, in the unit of its type.
    pub fn total(&self) -> i64 {
        self.samples.iter().map(|sample| sample.value).sum()
    }

    fn is_cpu_of(&self, service: &str) -> bool {
        self.label("service_name") == Some(service) && self.label("__profile_type__") == Some(CPU)
    }
}

/// A sample as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredSample {
    /// Function names, leaf first.
    pub stack: Vec<String>,
    /// The same with their places.
    pub frames: Vec<StoredFrame>,
    /// 16 lower-case hex digits.
    pub span_id: Option<String>,
    /// 32 lower-case hex digits.
    pub trace_id: Option<String>,
    /// In the unit of the profile's type, which is nanoseconds for CPU.
    pub value: i64,
}

/// A frame as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct StoredFrame {
    /// The function's name.
    pub name: String,
    /// Its file, empty if that is not known.
    pub file: String,
    /// The line, 0 if that is not known.
    pub line: i64,
}

/// All rows, of one tenant.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) storage: Storage,
    /// With the number of the series of each.
    rows: Vec<(usize, StoredProfile)>,
    series: HashMap<Arc<[(String, String)]>, usize>,
    /// Series and times that v1 has.
    taken: HashSet<(usize, i64)>,
}

impl Store {
    pub(super) fn new(storage: Storage) -> Self {
        Self {
            storage,
            ..Self::default()
        }
    }

    /// All that a query sees now.
    pub(super) fn profiles(&self) -> impl Iterator<Item = &StoredProfile> {
        self.rows.iter().map(|(_, profile)| profile)
    }

    /// What is left once everything is compacted.
    pub(super) fn kept(&self) -> impl Iterator<Item = &StoredProfile> {
        let mut seen = HashSet::new();
        let rows = self.rows.iter();
        rows.filter_map(move |(series, profile)| {
            let time = profile.time_nanos.div_euclid(self.storage.unit());
            seen.insert((*series, time)).then_some(profile)
        })
    }

    /// CPU of a service in profiles, in nanoseconds.
    pub(super) fn cpu<'a>(profiles: impl Iterator<Item = &'a StoredProfile>, service: &str) -> i64 {
        let profiles = profiles.filter(|profile| profile.is_cpu_of(service));
        profiles.map(StoredProfile::total).sum()
    }

    /// Stores the rows of one profile. Those before one of a series too many stay stored.
    pub(super) fn put(&mut self, rows: Vec<StoredProfile>) -> Result<(), Refusal> {
        let now = Some(UnixNanos::now());
        for mut row in rows {
            let series = self.series_of(&row.labels)?;
            if self.storage == Storage::V1 {
                let time = row.time_nanos.div_euclid(self.storage.unit());
                if !self.taken.insert((series, time)) {
                    // Acknowledged, but lost without a word.
                    continue;
                }
            }
            row.stored_at = now;
            self.rows.push((series, row));
        }
        Ok(())
    }

    fn series_of(&mut self, labels: &Arc<[(String, String)]>) -> Result<usize, Refusal> {
        let count = self.series.len();
        if let Some(series) = self.series.get(labels) {
            return Ok(*series);
        }
        if self.storage == Storage::V1 && count >= MAX_SERIES {
            return Err(Refusal::exhausted(format!(
                "Maximum active series limit exceeded ({count}/{MAX_SERIES}), reduce the number of active streams (reduce labels or reduce label values), or contact your administrator to see if the limit can be increased"
            )));
        }
        self.series.insert(Arc::clone(labels), count);
        Ok(count)
    }

    /// Of rows of one series and time one is left.
    pub(super) fn compact(&mut self) {
        let unit = self.storage.unit();
        let mut seen = HashSet::new();
        self.rows.retain(|(series, profile)| {
            seen.insert((*series, profile.time_nanos.div_euclid(unit)))
        });
    }
}
