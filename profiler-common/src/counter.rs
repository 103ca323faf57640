//! What the kernel programs count. Names and descriptions for users are in the agent's table of all counters,
//! `profiler/src/health/table.rs`.

macro_rules! counters {
    ($($(#[$words:meta])* $name:ident,)*) => {
        /// A count kept by the kernel programs, one per CPU, summed by the agent.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Counter { $($(#[$words])* $name,)* }

        impl Counter {
            /// Every counter, in the order of the kernel's array.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

counters! {
    /// Samples of profiled processes taken by the kernel program.
    SampleTaken,
    /// Clock hits in processes that are not profiled (not Python, or not asked for).
    SampleElsewhere,
    /// Clock hits on an idle CPU.
    SampleIdle,
    /// Samples dropped because the ring buffer was full.
    SampleRingFull,
    /// Code objects not shipped because the ring buffer was full; tried again with the next sample.
    CodeRingFull,
    /// Code objects whose name or file name was not resident in memory; tried again with the next sample.
    CodeUnreadable,
    /// Spans whose start reached the kernel program.
    SpanStarted,
    /// Spans whose end reached the kernel program.
    SpanEnded,
    /// Span records dropped because the ring buffer was full: their samples have no span name.
    SpanRingFull,
    /// Spans ended whose start was not seen: started before the agent, in the parent before a fork, or evicted.
    SpanEndUnknown,
    /// Spans ended on another thread than the one that started them.
    SpanEndedElsewhere,
    /// Spans opened beyond the depth that is kept per thread: samples in them stay unattributed.
    SpanTooDeep,
    /// Span names that could not be read from the application.
    SpanNameUnreadable,
    /// Names of spans that are no text.
    SpanNameNotText,
    /// Span names longer than what crosses the ring.
    SpanNameCut,
    /// Spans found in the context of a sampled thread for the first time.
    SpanSeen,
    /// Updates of the span maps that the kernel refused.
    SpanMapFull,
    /// Process blocks of a hook that speaks another ABI version; their resource is ignored.
    HookVersion,
    /// Process notices dropped because the ring buffer was full; the procfs scan finds what was missed.
    ProcessRingFull,
    /// Forked processes that could not be put on the map of profiled processes, although their parent is on it: the
    /// agent tries again.
    ProcessMapFull,
    /// Samples of a Python process on a thread that has no thread state.
    WalkNoThreadState,
    /// Samples of a Python process if nothing proves which thread state the thread runs in: native frames only.
    WalkStateUnknown,
    /// Python walks cut because memory could not be read.
    WalkUnreadable,
    /// Python walks cut because a frame led to something that is not a code object.
    WalkNotCode,
    /// Python walks cut because the stack was deeper than the budget.
    WalkTruncated,
    /// Python walks given up because the process has more threads than are searched.
    WalkTooManyThreads,
    /// Native walks cut because code without frame pointers was met.
    NativeBroken,
    /// Native walks cut because the stack was deeper than the budget.
    NativeTruncated,
    /// Kernel stacks that the helper could not take.
    KernelStackFailed,
    /// Nanoseconds of all samples up to their header, without the program's entry; all stages: with --time-stages only.
    StageStart,
    /// Nanoseconds of taking the kernel's and the native stack.
    StageNative,
    /// Nanoseconds of finding the thread's state and its innermost frame.
    StageThread,
    /// Nanoseconds of asking how many code objects there are.
    StageVersion,
    /// Nanoseconds of walking Python frames.
    StageFrames,
    /// Nanoseconds of shipping code objects.
    StageCodes,
    /// Nanoseconds of finding the current span.
    StageSpan,
    /// Nanoseconds of filling in the record.
    StageRecord,
    /// Nanoseconds of copying the record to the ring.
    StageRing,
    /// Nanoseconds of reading the clock once: what timing adds to each stage.
    StageClock,
}
