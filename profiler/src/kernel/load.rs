//! Loading the kernel programs.

use aya::{
    Ebpf, EbpfLoader,
    maps::{MapData, PerCpuArray, RingBuf},
    programs::RawTracePoint,
    sys::BpfHelper,
    util::nr_cpus,
};
use profiler_common::{config::Config, limits::MAX_KNOWN_CODES};

use super::{
    btf::KernelTypes,
    control::KernelControl,
    counters::Counters,
    error::LoadError,
    probes::{Probes, Route},
    program::load_program,
    ring::Ring,
    sampling::SamplingPrograms,
    support::{calls_crash_children, has_helper},
    usage::Usage,
};
use crate::{
    arch::{Architecture as _, Machine},
    measure::Measure,
    rights::{Finding, Weight, findings},
};

/// How the kernel side is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What a tick of the sampling clock stands for.
    pub tick: Measure,
    /// Bytes of the ring buffer: a power of two, and a multiple of the page size.
    pub ring_size: u32,
    /// How much the maps hold.
    pub limits: Limits,
    /// Logs every sample and span through aya-log.
    pub debug: bool,
    /// Counts what each stage of a sample takes.
    pub time_stages: bool,
    /// Which programs take samples; `None`: those that the kernel can run.
    pub programs: Option<SamplingPrograms>,
    /// Ways to put span probes on files, in the order in which they are tried.
    pub probe_routes: Vec<Route>,
}

/// Bytes of the ring buffer: by the CPUs that fill it, so that it holds what comes between two turns of
/// its reader at any frequency. A reader is woken when a quarter is full.
pub fn default_ring_size() -> u32 {
    const EACH: u32 = 256 << 10;
    let cpus = nr_cpus().map_or(1, u32::from);
    let size = EACH.saturating_mul(cpus);
    size.clamp(2 << 20, 16 << 20).next_power_of_two()
}

/// How much is remembered, in the kernel's maps and beside them. What each costs is in `docs/limits.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Python processes.
    pub processes: u32,
    /// Threads whose spans may be remembered.
    pub threads: u32,
    /// Open spans.
    pub spans: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            processes: 4_096,
            threads: 8_192,
            spans: 16_384,
        }
    }
}

/// Code objects that the kernel programs remember having sent, over all processes; besides, each CPU remembers
/// [`MAX_KNOWN_CODES`].
const SENT_CODES: u32 = 32_768;
/// How much more user space remembers than the kernel programs. Both forget what was used longest ago, but use is not
/// the same to both: the kernel's is by what a CPU sees, ours by what reaches us and is not named by its whole stack.
const MARGIN: usize = 2;

/// How much user space must remember so as not to forget before the kernel programs do, which send a thing once and
/// then take it for known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Spans: those that are open, and those that samples have found.
    pub spans: usize,
    /// Code objects.
    pub codes: usize,
}

impl Limits {
    /// What user space must remember beside maps of these sizes, on a host with so many CPUs.
    pub fn remembered(self, cpus: usize) -> Remembered {
        let number = |it: u32| usize::try_from(it).unwrap_or(usize::MAX);
        let maps = self.maps();
        let entries = |name| {
            maps.iter()
                .find(|(it, _)| *it == name)
                .map_or(0, |it| number(it.1))
        };
        let codes = entries("CODES").saturating_add(cpus.saturating_mul(MAX_KNOWN_CODES));
        Remembered {
            spans: entries("LIVE_SPANS")
                .saturating_add(entries("SEEN_SPANS"))
                .saturating_mul(MARGIN),
            codes: codes.saturating_mul(MARGIN),
        }
    }

    /// The same on this host.
    pub fn remembered_here(self) -> Remembered {
        self.remembered(nr_cpus().map_or(1, |cpus| usize::try_from(u32::from(cpus)).unwrap_or(1)))
    }

    /// Sizes of the maps that depend on them.
    fn maps(self) -> [(&'static str, u32); 7] {
        [
            ("CODES", SENT_CODES),
            ("PROCESSES", self.processes),
            ("SPAN_RECIPES", self.processes),
            ("RESOURCES", self.processes),
            // Most threads are in no span, and a stack is large.
            ("SPAN_STACKS", self.threads.div_ceil(4)),
            ("LIVE_SPANS", self.spans),
            ("SEEN_SPANS", self.spans),
        ]
    }
}

/// The kernel side, loaded. The programs stay attached as long as [`KernelControl`] lives.
pub struct Loaded {
    /// What the control plane talks to.
    pub control: KernelControl,
    /// Where records come out.
    pub ring: Ring,
    /// What the programs count.
    pub counters: Counters,
    /// What is missing, and not so much that nothing works.
    pub lacks: Vec<Finding>,
    /// Reports what programs and maps cost.
    pub usage: Usage,
}

/// Steps of a walk that the verifier follows one by one on kernels without `bpf_loop`.
const UNROLLED_STEPS: u32 = 96;

/// The object with the kernel programs, as it is part of this program.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/spanprof-bpf"));

/// Loads the programs and attaches the process notices. Sampling starts with
/// [`Control::start_sampling`](super::Control::start_sampling).
pub fn load(settings: &Settings) -> Result<Loaded, LoadError> {
    let (stops, lacks): (Vec<_>, Vec<_>) = findings(&super::support::rights())
        .into_iter()
        .partition(|finding| finding.weight == Weight::Stops);
    if !stops.is_empty() {
        return Err(LoadError::NotPermitted(stops));
    }
    let programs = match settings.programs {
        Some(programs) => programs,
        None => SamplingPrograms::of_this_kernel()?,
    };
    if programs == SamplingPrograms::Split {
        tracing::info!(
            "samples are taken by two programs, which kernels before 5.17 can follow: they walk fewer frames"
        );
    }
    let types = KernelTypes::read()?;
    let config = kernel_config(settings, &types)?;
    let mut loader = EbpfLoader::new();
    loader
        .override_global("CONFIG", &config, true)
        .map_max_entries("EVENTS", settings.ring_size);
    for (map, entries) in settings.limits.maps() {
        loader.map_max_entries(map, entries);
    }
    let mut ebpf = loader.load(OBJECT).map_err(LoadError::Object)?;
    attach_process_notices(&mut ebpf)?;
    let events = ebpf
        .take_map("EVENTS")
        .ok_or(LoadError::Missing("EVENTS"))?;
    let ring = RingBuf::<MapData>::try_from(events).map_err(|error| LoadError::Map {
        map: "EVENTS",
        error,
    })?;
    let counters = ebpf
        .take_map("COUNTERS")
        .ok_or(LoadError::Missing("COUNTERS"))?;
    let counters =
        PerCpuArray::<MapData, u64>::try_from(counters).map_err(|error| LoadError::Map {
            map: "COUNTERS",
            error,
        })?;
    let mut probes = Probes::new(&settings.probe_routes);
    probes.load(&mut ebpf);
    programs.load(&mut ebpf)?;
    let usage = Usage::of(&ebpf);
    Ok(Loaded {
        usage,
        control: KernelControl::new(
            ebpf,
            programs,
            probes,
            settings,
            calls_crash_children(&types),
        )?,
        ring: Ring::new(ring).map_err(LoadError::Ring)?,
        counters: Counters::new(counters),
        lacks,
    })
}

fn kernel_config(settings: &Settings, types: &KernelTypes) -> Result<Config, LoadError> {
    Ok(Config {
        task_tgid: types.offset(&["task_struct", "tgid"])?,
        task_pid: types.offset(&["task_struct", "pid"])?,
        task_comm: types.offset(&["task_struct", "comm"])?,
        task_start: types
            .offset(&["task_struct", "start_boottime"])
            // Its name before Linux 5.5.
            .or_else(|_missing| types.offset(&["task_struct", "real_start_time"]))?,
        task_signal: types.offset(&["task_struct", "signal"])?,
        signal_live: types.offset(&["signal_struct", "live"])?,
        task_thread_pointer: types.offset(Machine::THREAD_POINTER)?,
        task_memory: types.offset(&["task_struct", "mm"])?,
        memory_stack: types.offset(&["mm_struct", "start_stack"])?,
        task_stack: types.offset(&["task_struct", "stack"])?,
        stack_size: Machine::KERNEL_STACK,
        registers_instruction: types.offset(Machine::INSTRUCTION)?,
        registers_stack: types.offset(Machine::STACK)?,
        registers_frame: types.offset(Machine::FRAME)?,
        registers_size: types.size("pt_regs")?,
        has_task_registers: u32::from(has_helper(BpfHelper::BPF_FUNC_task_pt_regs)?),
        unrolled_steps: UNROLLED_STEPS,
        wake_at: settings.ring_size / 4,
        debug: u32::from(settings.debug),
        time_stages: u32::from(settings.time_stages),
        // A second at most, as it ticks at least once in each.
        tick: u32::try_from(settings.tick.nanos).unwrap_or(u32::MAX),
    })
}

/// Raw tracepoints, which need no tracefs.
fn attach_process_notices(ebpf: &mut Ebpf) -> Result<(), LoadError> {
    for (program, tracepoint) in [
        ("process_fork", "sched_process_fork"),
        ("process_exec", "sched_process_exec"),
        ("process_exit", "sched_process_exit"),
    ] {
        let loaded = load_program::<RawTracePoint>(ebpf, program, RawTracePoint::load)?;
        loaded
            .attach(tracepoint)
            .map_err(|error| LoadError::Program { program, error })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Limits, MAX_KNOWN_CODES, SENT_CODES};

    /// Whatever the flags and the host, user space has room for all that the kernel programs can take for known.
    #[test]
    fn user_space_remembers_more() {
        for (spans, cpus) in [(1, 1), (16_384, 2), (65_537, 64), (1_000_000, 512)] {
            let limits = Limits {
                spans,
                ..Limits::default()
            };
            let remembered = limits.remembered(cpus);
            // On one map those that are open, on another those that were found.
            let spans = 2 * usize::try_from(spans).unwrap();
            let codes = usize::try_from(SENT_CODES).unwrap() + cpus * MAX_KNOWN_CODES;
            assert!(remembered.spans >= 2 * spans, "{remembered:?}");
            assert!(remembered.codes >= 2 * codes, "{remembered:?}");
        }
    }
}
