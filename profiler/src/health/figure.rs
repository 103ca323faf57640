//! What the agent reports besides counts: how full something is, how old, how large.

use std::sync::atomic::AtomicU64;

/// A number that the agent finds out when it is asked.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// Its name; a `.` stands where metrics of Prometheus have `_`.
    pub name: &'static str,
    /// Whether it goes up and down, or only up.
    pub kind: Kind,
    /// Its unit, as UCUM has it.
    pub unit: &'static str,
    /// What it says, for people.
    pub words: &'static str,
    /// The attribute whose values tell its rows apart; empty if there is one row.
    pub attribute: &'static str,
    /// The values that the attribute may have.
    pub values: &'static [&'static str],
    /// What is asked.
    pub what: What,
}

/// How a number moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Up only.
    Counter,
    /// Up and down.
    Gauge,
}

macro_rules! figures {
    ($($what:ident: $kind:ident $name:literal, $unit:literal, $words:literal
        $(by $attribute:literal: $($value:literal)*)?;)*) => {
        /// What is asked of the agent.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum What { $(#[doc = $words] $what,)* }

        /// All of it.
        pub static FIGURES: &[Figure] = &[$(
            Figure {
                name: $name,
                kind: Kind::$kind,
                unit: $unit,
                words: $words,
                attribute: concat!($($attribute)?),
                values: &[$($($value,)*)?],
                what: What::$what,
            },
        )*];
    };
}

figures! {
    Processes: Gauge "processes_profiled", "{process}", "Python processes that are profiled now.";
    RingUsed: Gauge "ring_used", "By", "Most bytes of the ring buffer that a turn of the data thread has found full, in the last 15 to 30 seconds.";
    RingCapacity: Gauge "ring_capacity", "By", "Bytes that the ring buffer between the kernel and the agent holds.";
    MapEntries: Gauge "map_entries", "{entry}", "Entries of a BPF map, counted twice a minute at most." by "map": "processes" "span_recipes" "interpreter_recipes" "live_spans" "span_stacks";
    MapCapacity: Gauge "map_capacity", "{entry}", "Entries that a BPF map holds." by "map": "processes" "span_recipes" "interpreter_recipes" "live_spans" "span_stacks";
    ProgramTime: Counter "bpf_run_time", "s", "CPU time of a BPF program, if the kernel collects it (`sysctl kernel.bpf_stats_enabled=1`)." by "program": "sample" "sample_unrolled" "sample_span" "span_start" "span_end" "span_start_multi" "span_end_multi" "process_fork" "process_exec" "process_exit";
    ProgramRuns: Counter "bpf_runs", "{run}", "Runs of a BPF program, if the kernel collects them (`sysctl kernel.bpf_stats_enabled=1`)." by "program": "sample" "sample_unrolled" "sample_span" "span_start" "span_end" "span_start_multi" "span_end_multi" "process_fork" "process_exec" "process_exit";
    ThreadIdle: Gauge "thread_idle_time", "s", "Time since a thread of the agent has last begun a turn: /healthz fails from 5 s on for data, 30 s for control." by "room": "data" "control";
    WindowLag: Gauge "window_lag", "s", "How much later than planned the last window ended and was handed over.";
    ProfilesWaiting: Gauge "profiles_waiting", "{profile}", "Profiles that are encoded, and not yet stored, refused or dropped.";
    QueueUsed: Gauge "push_queue_used", "By", "Bytes of profiles that wait for the server or are on their way.";
    QueueCapacity: Gauge "push_queue_capacity", "By", "Bytes of profiles that may wait: --push-queue.";
    QueueAge: Gauge "push_queue_oldest_age", "s", "Age of the oldest profile that waits for the server.";
    Memory: Gauge "process.resident_memory", "By", "Memory of the agent that is resident.";
    Cpu: Counter "process.cpu", "s", "CPU time of the agent, in user and kernel mode.";
    OpenFiles: Gauge "process.open_fds", "{file}", "Files that the agent has open.";
    Started: Gauge "process.start_time", "s", "When the agent started, in seconds since 1970.";
    Build: Gauge "build_info", "{build}", "Always 1; version, commit and object say which agent this is." by "version":;
}

/// What rooms leave for those that read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Gauge {
    /// Processes that are profiled.
    Processes,
    /// Bytes of the ring that were in use at most.
    RingUsed,
    /// Bytes of the ring.
    RingCapacity,
    /// How late the last window was, in nanoseconds.
    WindowLag,
    /// Profiles that are encoded and wait for their end.
    ProfilesWaiting,
    /// Bytes of profiles that wait.
    QueueUsed,
    /// Bytes of profiles that may wait.
    QueueCapacity,
    /// When the oldest profile that waits began, in boot nanoseconds; 0 if none waits.
    QueueOldest,
    /// When the data thread has last begun a turn, in nanoseconds since the counts were made; 0 before.
    DataTurned,
    /// The same of the control thread.
    ControlTurned,
    /// What the agent is at, a [`Phase`].
    Phase,
}

/// Room for all of [`Gauge`].
pub(super) const GAUGES: usize = Gauge::Phase as usize + 1;

/// What the agent is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It loads its programs and looks at the host's processes.
    Starting,
    /// Its programs are attached and it has looked at every process once.
    Running,
    /// It was told to stop, and sends what it has.
    Stopping,
}

impl Phase {
    pub(super) fn of(number: u64) -> Self {
        match number {
            0 => Self::Starting,
            1 => Self::Running,
            _ => Self::Stopping,
        }
    }
}

pub(super) fn zeros() -> [AtomicU64; GAUGES] {
    std::array::from_fn(|_| AtomicU64::new(0))
}
