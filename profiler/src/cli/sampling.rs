//! The options of all that takes samples.

use clap::{Args, ValueEnum};

use super::parse::parse_ring_size;

/// How samples are taken.
#[derive(Args, Debug)]
pub struct SamplingArguments {
    // Prime to the frequencies at which things happen in programs.
    /// Samples per second and CPU, from 1 to 4999
    #[arg(long, short = 'F', env = "SPANPROF_FREQUENCY", value_parser = clap::value_parser!(u32).range(1..=4999), default_value_t = 99, value_name = "HZ")]
    pub frequency: u32,
    /// Which span the label `span_id` of a sample names: the one of the request (local-root), whose flame
    /// graph then includes its children, or the innermost one (active)
    #[arg(long, env = "SPANPROF_SPAN_LABEL", value_enum, default_value_t = SpanLabelArgument::LocalRoot, value_name = "MODE")]
    pub span_label: SpanLabelArgument,
    /// When the probes of the Python package are attached: as long as a process needs them because its
    /// context cannot be read (auto), or all the time (always). Attached probes add 2 to 4 µs to each span,
    /// and then spans are counted that no sample has hit
    #[arg(long, env = "SPANPROF_SPAN_PROBES", value_enum, default_value_t = SpanProbesArgument::Auto, value_name = "WHEN")]
    pub span_probes: SpanProbesArgument,
    /// Label samples in spans that are not recorded with the ids of these, too, which no trace has: to find them by the ids
    /// in logs
    #[arg(
        long,
        env = "SPANPROF_NOT_RECORDED_IDS",
        num_args = 0..=1,
        default_value_t = false,
        default_missing_value = "true",
        value_name = "BOOL"
    )]
    pub not_recorded_ids: bool,
    /// Maximum number of Python processes that are profiled at the same time
    #[arg(long, env = "SPANPROF_MAX_PROCESSES", value_parser = clap::value_parser!(u32).range(1..=1_000_000), default_value_t = 4096, value_name = "COUNT")]
    pub max_processes: u32,
    /// Maximum number of threads. A quarter as many can have open spans that only the package reports;
    /// docs/limits.md says how much memory that takes
    #[arg(long, env = "SPANPROF_MAX_THREADS", value_parser = clap::value_parser!(u32).range(64..=1_000_000), default_value_t = 8192, value_name = "COUNT")]
    pub max_threads: u32,
    /// Maximum number of open spans that are remembered
    #[arg(long, env = "SPANPROF_MAX_SPANS", value_parser = clap::value_parser!(u32).range(64..=1_000_000), default_value_t = 16384, value_name = "COUNT")]
    pub max_spans: u32,
    /// How many Python frames of a stack are walked, on Linux 5.17 and later. If a stack has more than 256, a sample
    /// has its innermost 192 and its outermost 64. docs/limits.md says what a deep stack costs
    #[arg(long, env = "SPANPROF_PYTHON_DEPTH", value_parser = clap::value_parser!(u32).range(256..=16384), default_value_t = 4096, value_name = "FRAMES")]
    pub python_depth: u32,
    /// Bytes of the ring buffer: a power of two of at least 4096 [default: by the number of CPUs]
    #[arg(long, hide = true, value_parser = parse_ring_size)]
    pub ring_size: Option<u32>,
    /// Log every sample and span of the kernel programs at debug level
    #[arg(long, hide = true)]
    pub bpf_log: bool,
    /// Count what each stage of a sample takes in the kernel program, which adds some twenty nanoseconds each
    #[arg(long, hide = true)]
    pub time_stages: bool,
    /// Take samples by these kernel programs, and not by those that the kernel can run: to try each of them
    #[arg(long, hide = true, value_name = "KIND")]
    pub kernel_programs: Option<KernelProgramsArgument>,
    /// Put span probes on in this way alone, and not in the first that works: to try each of them
    #[arg(long, hide = true, value_name = "WAY")]
    pub span_probe_route: Option<ProbeRouteArgument>,
}

/// Which frames of machine code are shown.
#[derive(Args, Clone, Copy, Debug)]
pub struct NativeArguments {
    /// Which native and kernel frames are pushed and drawn (.svg); .pb.gz and .folded files contain all
    #[arg(long, env = "SPANPROF_NATIVE", value_enum, default_value_t = NativeArgument::Merged, value_name = "MODE")]
    pub native: NativeArgument,
}

/// Which frames of machine code are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NativeArgument {
    /// None above a Python frame, neither native nor of the kernel.
    PythonOnly,
    /// All except the interpreter's own: those become part of the Python frame that they run.
    Merged,
    /// All.
    Full,
}

/// Which span labels a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SpanLabelArgument {
    /// The local root.
    LocalRoot,
    /// The active span.
    Active,
}

/// When the probes of hooks are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SpanProbesArgument {
    /// As long as a process needs them.
    Auto,
    /// All the time.
    Always,
}

/// Kernel programs that take samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KernelProgramsArgument {
    /// One, for Linux 5.17 and later.
    Whole,
    /// Two halves, for earlier kernels.
    Split,
}

/// Ways to put span probes on files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProbeRouteArgument {
    /// By links of the kind `uprobe_multi`.
    Multi,
    /// By perf's events of the kind `uprobe`.
    Perf,
    /// By events of tracefs.
    Tracefs,
}
