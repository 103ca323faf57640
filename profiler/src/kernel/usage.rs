//! What the kernel programs cost, and how full their maps are: read for the agent's telemetry, and never on
//! the way of a sample.

use std::{
    collections::HashSet,
    fs,
    hash::{BuildHasher as _, RandomState},
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{HashMap, Map, MapData},
};
use profiler_common::{
    context::{InterpreterKey, SpanRecipe},
    python::Process,
    span::{LiveSpan, LiveSpanKey, SpanStack},
};

use crate::{
    health::{FIGURES, What},
    time::BootNanos,
};

/// How often entries are counted at most: a system call for each.
const COUNT_EVERY: Duration = Duration::from_secs(30);

/// Asks the kernel of the programs and maps that the agent has loaded. The default has none.
#[derive(Default)]
pub struct Usage {
    programs: Vec<(&'static str, OwnedFd)>,
    maps: Vec<Counted>,
    /// When entries were counted last, and how many there were.
    last: Mutex<Option<(BootNanos, Vec<MapUse>)>>,
}

/// What a program has cost since it was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramUse {
    /// Its name.
    pub program: &'static str,
    /// CPU time.
    pub time: Duration,
    /// Runs.
    pub runs: u64,
}

/// How full a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapUse {
    /// Its name, in small letters.
    pub map: &'static str,
    /// Entries in use.
    pub entries: usize,
    /// Entries it holds.
    pub capacity: u32,
}

/// A map whose entries can be counted.
struct Counted {
    name: &'static str,
    capacity: u32,
    count: Box<dyn Fn(usize) -> Option<usize> + Send + Sync>,
}

impl Usage {
    /// Of what is loaded: separate descriptors, so that the users of programs and maps are not involved.
    pub(super) fn of(ebpf: &Ebpf) -> Self {
        let names = FIGURES
            .iter()
            .filter(|it| it.what == What::ProgramRuns)
            .flat_map(|it| it.values.iter().copied());
        let programs = names.filter_map(|name| {
            let fd = ebpf.program(name)?.fd().ok()?;
            Some((name, fd.as_fd().try_clone_to_owned().ok()?))
        });
        let maps = [
            hash::<u32, Process>(ebpf, "PROCESSES", "processes"),
            hash::<u32, SpanRecipe>(ebpf, "SPAN_RECIPES", "span_recipes"),
            hash::<InterpreterKey, SpanRecipe>(ebpf, "INTERPRETER_RECIPES", "interpreter_recipes"),
            hash::<LiveSpanKey, LiveSpan>(ebpf, "LIVE_SPANS", "live_spans"),
            hash::<u32, SpanStack>(ebpf, "SPAN_STACKS", "span_stacks"),
        ];
        Self {
            programs: programs.collect(),
            maps: maps.into_iter().flatten().collect(),
            last: Mutex::new(None),
        }
    }

    /// What each program has cost; none of them unless the kernel collects that.
    pub fn programs(&self) -> Vec<ProgramUse> {
        let uses = self.programs.iter().filter_map(|(program, fd)| {
            let text = fdinfo(fd.as_fd())?;
            let field = |name| number(&text, name);
            Some(ProgramUse {
                program,
                time: Duration::from_nanos(field("run_time_ns:")?),
                runs: field("run_cnt:")?,
            })
        });
        let uses: Vec<_> = uses.collect();
        // The kernel shows zeros if it does not count.
        if uses.iter().all(|it| it.runs == 0) {
            return Vec::new();
        }
        uses
    }

    /// How full each map is, as of half a minute ago at most. Without those that may not be read: before Linux 5.19,
    /// where `unprivileged_bpf_disabled` is set, that takes `CAP_BPF`, which the calling thread may have given up.
    pub fn maps(&self) -> Vec<MapUse> {
        // A panic elsewhere leaves it whole: each change is an assignment.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = BootNanos::now();
        if let Some((counted, uses)) = &*last
            && now.since(*counted) < COUNT_EVERY
        {
            return uses.clone();
        }
        let uses: Vec<_> = self.maps.iter().filter_map(Counted::ask).collect();
        *last = Some((now, uses.clone()));
        uses
    }
}

impl Counted {
    fn ask(&self) -> Option<MapUse> {
        let most = usize::try_from(self.capacity).unwrap_or(usize::MAX);
        Some(MapUse {
            map: self.name,
            entries: (self.count)(most)?,
            capacity: self.capacity,
        })
    }
}

/// A hash map, by its name in the object and the name to report it under.
fn hash<K, V>(ebpf: &Ebpf, map: &str, name: &'static str) -> Option<Counted>
where
    K: aya::Pod + bytemuck::NoUninit + Send + Sync + 'static,
    V: aya::Pod + Send + Sync + 'static,
{
    let (Map::HashMap(data) | Map::LruHashMap(data)) = ebpf.map(map)? else {
        return None;
    };
    let capacity = data.info().ok()?.max_entries();
    let fd = data.fd().as_fd().try_clone_to_owned().ok()?;
    let data = MapData::from_fd(fd).ok()?;
    let entries = HashMap::<MapData, K, V>::try_from(Map::HashMap(data)).ok()?;
    Some(Counted {
        name,
        capacity,
        // If the entry at hand goes meanwhile, the kernel begins anew: what is there twice ends it.
        count: Box::new(move |most| {
            let hasher = RandomState::new();
            let mut seen = HashSet::new();
            for key in entries.keys().take(most) {
                if !seen.insert(hasher.hash_one(bytemuck::bytes_of(&key.ok()?))) {
                    break;
                }
            }
            Some(seen.len())
        }),
    })
}

/// What the kernel says of a descriptor.
fn fdinfo(fd: BorrowedFd<'_>) -> Option<String> {
    fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()
}

/// The number behind a name at the start of a line.
fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::number;

    /// A line's number is found by the line's name, whatever is around it.
    #[test]
    fn numbers_of_lines() {
        let text = "pos:\t0\nrun_time_ns:\t1234\nrun_cnt:\t7\n";
        assert_eq!(number(text, "run_cnt:"), Some(7));
        assert_eq!(number(text, "run_time_ns:"), Some(1234));
        assert_eq!(number(text, "recursion_misses:"), None);
    }
}
