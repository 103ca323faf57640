//! What the kernel programs count: one table, a sentence each.

macro_rules! counters {
    ($($name:ident, $label:literal, $sentence:literal;)*) => {
        /// A count kept by the kernel programs, one per CPU, summed by the agent.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Counter { $(#[doc = $sentence] $name,)* }

        impl Counter {
            /// Every counter, in the order of the kernel's array.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name in tables and metrics.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// What it means, for people.
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }
        }
    };
}

counters! {
    SampleTaken, "samples_taken", "Samples of profiled processes taken by the kernel program.";
    SampleElsewhere, "samples_elsewhere", "Clock hits in processes that are not profiled (not Python, or not asked for).";
    SampleIdle, "samples_idle", "Clock hits on an idle CPU.";
    SampleRingFull, "samples_dropped_ring_full", "Samples dropped because the ring buffer was full.";
    CodeRingFull, "codes_dropped_ring_full", "Code objects not shipped because the ring buffer was full; tried again with the next sample.";
    CodeUnreadable, "codes_unreadable", "Code objects whose name or file name was not resident in memory; tried again with the next sample.";
    SpanStarted, "spans_started", "Spans whose start reached the kernel program.";
    SpanEnded, "spans_ended", "Spans whose end reached the kernel program.";
    SpanRingFull, "spans_dropped_ring_full", "Span records dropped because the ring buffer was full: their samples have no span name.";
    SpanEndUnknown, "span_ends_unknown", "Spans ended whose start was not seen: started before the agent, in the parent before a fork, or evicted.";
    SpanEndedElsewhere, "spans_ended_elsewhere", "Spans ended on another thread than the one that started them.";
    SpanTooDeep, "spans_too_deep", "Spans opened beyond the depth that is kept per thread: such samples stay unattributed.";
    SpanNameUnreadable, "span_names_unreadable", "Span names that could not be read from the application.";
    SpanNameCut, "span_names_cut", "Span names longer than what crosses the ring.";
    SpanSeen, "spans_seen", "Spans found in the context of a sampled thread for the first time.";
    SpanMapFull, "span_map_failures", "Updates of the span maps that the kernel refused.";
    HookVersion, "hook_version_mismatch", "Process blocks of a hook that speaks another ABI version; their resource is ignored.";
    ProcessRingFull, "process_notices_dropped_ring_full", "Process notices dropped because the ring buffer was full; the procfs scan finds what was missed.";
    ProcessMapFull, "process_map_failures", "Processes that could not be put on the map of profiled processes.";
    WalkNoThreadState, "walks_no_thread_state", "Samples of a Python process on a thread that has no thread state.";
    WalkStateUnknown, "walks_thread_state_unknown", "Samples of a Python process whose thread runs in a thread state that nothing proves: native frames only.";
    WalkUnreadable, "walks_unreadable", "Python walks cut because memory could not be read.";
    WalkNotCode, "walks_not_code", "Python walks cut because a frame led to something that is not a code object.";
    WalkTruncated, "walks_truncated", "Python walks cut because the stack was deeper than the budget.";
    WalkTooManyThreads, "walks_too_many_threads", "Python walks given up because the process has more threads than are searched.";
    NativeBroken, "native_walks_broken", "Native walks cut because code without frame pointers was met.";
    NativeTruncated, "native_walks_truncated", "Native walks cut because the stack was deeper than the budget.";
    KernelStackFailed, "kernel_stacks_failed", "Kernel stacks that the helper could not take.";
    StageStart, "stage_start_ns", "Nanoseconds of all samples up to their header, without the program's entry; with --time-stages only, as all stages.";
    StageNative, "stage_native_ns", "Nanoseconds of taking the kernel's and the native stack.";
    StageThread, "stage_thread_ns", "Nanoseconds of finding the thread's state and its innermost frame.";
    StageVersion, "stage_version_ns", "Nanoseconds of asking how many code objects there are.";
    StageFrames, "stage_frames_ns", "Nanoseconds of walking Python frames.";
    StageCodes, "stage_codes_ns", "Nanoseconds of shipping code objects.";
    StageSpan, "stage_span_ns", "Nanoseconds of finding the current span.";
    StageRecord, "stage_record_ns", "Nanoseconds of filling in the record.";
    StageRing, "stage_ring_ns", "Nanoseconds of copying the record to the ring.";
    StageClock, "stage_clock_ns", "Nanoseconds of reading the clock once: what is in each stage for being timed.";
}
