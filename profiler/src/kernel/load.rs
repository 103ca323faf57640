//! Loading the kernel programs.

use aya::{
    Ebpf, EbpfLoader,
    maps::{PerCpuArray, RingBuf},
    programs::RawTracePoint,
    sys::BpfHelper,
};
use profiler_common::config::Config;

use super::{
    btf::KernelTypes,
    control::KernelControl,
    counters::Counters,
    error::LoadError,
    probes::Probes,
    program::{load_program, take},
    ring::Ring,
    sampling::SamplingPrograms,
    settings::Settings,
    support::{calls_crash_children, has_helper},
    usage::Usage,
};
use crate::{
    arch::{Architecture as _, Machine},
    rights::{Finding, Weight, findings},
};

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
    let lacks = permitted()?;
    let programs = sampling_programs(settings)?;
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
    let ring = take(&mut ebpf, "EVENTS", RingBuf::try_from)?;
    let counters = take(&mut ebpf, "COUNTERS", PerCpuArray::try_from)?;
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

/// What is missing, and not so much that nothing works.
fn permitted() -> Result<Vec<Finding>, LoadError> {
    let (stops, lacks): (Vec<_>, Vec<_>) = findings(&super::support::rights())
        .into_iter()
        .partition(|finding| finding.weight == Weight::Stops);
    if stops.is_empty() {
        Ok(lacks)
    } else {
        Err(LoadError::NotPermitted(stops))
    }
}

/// The programs that take samples: those that are asked for, or those that the kernel can run.
fn sampling_programs(settings: &Settings) -> Result<SamplingPrograms, LoadError> {
    let programs = match settings.programs {
        Some(programs) => programs,
        None => SamplingPrograms::of_this_kernel()?,
    };
    if programs == SamplingPrograms::Split {
        tracing::info!(
            "samples are taken by two programs, which kernels before 5.17 can follow: they walk fewer frames"
        );
    }
    Ok(programs)
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
        python_depth: settings.python_depth,
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
