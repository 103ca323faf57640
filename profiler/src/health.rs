//! Every loss, from every room: one table with a name, a sentence and a count.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use profiler_common::counter::Counter;

macro_rules! losses {
    ($($name:ident, $label:literal, $sentence:literal;)*) => {
        /// Something the agent could not keep, or kept with less than it should have.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum Loss { $(#[doc = $sentence] $name,)* }

        impl Loss {
            /// Every loss, in the order of the table.
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

losses! {
    RecordMalformed, "records_malformed", "Records on the ring that could not be decoded.";
    SampleOutsideTargets, "samples_of_others", "Samples of processes that have exited, or that nobody asked for.";
    SpanNotNested, "samples_span_not_nested", "Samples left unattributed: spans open in the thread are not nested in one another.";
    SpanEnded, "samples_span_ended", "Samples left unattributed: what was on the thread's span stack has ended elsewhere or was evicted.";
    SpanTooDeep, "samples_span_too_deep", "Samples left unattributed: too many spans are open in the thread.";
    SpanEventLoop, "samples_event_loop", "Samples left unattributed: the thread runs an event loop, whose current task is not known.";
    ContextUnreadable, "samples_context_unreadable", "Samples left unattributed: memory on the way to the current span was not resident.";
    ContextUnexpected, "samples_context_unexpected", "Samples left unattributed: something on the way to the current span was not as expected.";
    SpanClassUnknown, "samples_span_class_unknown", "Samples left unattributed: the current span is of a class that is not known (yet).";
    ContextTooLarge, "samples_context_too_large", "Samples left unattributed: the context has more entries than are looked at.";
    ThreadStateUnknown, "samples_thread_state_unknown", "Samples left unattributed, with native frames only: nothing proves which thread state the thread runs in.";
    InterpreterUnknown, "samples_interpreter_unknown", "Samples left unattributed: how spans are read in the thread's sub-interpreter is not known (yet).";
    ContextPending, "samples_context_pending", "Samples left unattributed: how to read the process's current span is being worked out.";
    ContextHidden, "samples_context_hidden", "Samples left unattributed: the process keeps its spans where they cannot be read; `spanprof doctor` says why.";
    LocalRootUnknown, "samples_local_root_unknown", "Samples labelled with their active span: its local root was never sampled.";
    SpanUnnamed, "samples_span_unnamed", "Samples whose span id is known and whose span name is not: started before the agent.";
    SpanTableFull, "spans_evicted", "Spans forgotten because too many were open at once.";
    CodeUnknown, "frames_code_unknown", "Python frames whose code object has not been shipped (yet): shown as [unknown code].";
    CodeStale, "frames_code_stale", "Python frames whose code object's address was reused: shown as [stale code].";
    CodeNameCut, "code_names_cut", "Functions whose name or file is longer than what crosses the ring: shown with … at the end.";
    LineUnknown, "frames_line_unknown", "Python frames whose line is not known: the line table was cut or could not be read.";
    CodeCacheFull, "codes_evicted", "Code objects forgotten because too many are in use.";
    NativeUnknown, "frames_native_unknown", "Native frames without a symbol: shown as [file]+0xOFFSET, or [file] (no symbol).";
    NativeHidden, "native_stacks_hidden", "Stacks whose native part could not be placed for certain and was reduced to its leaf.";
    KernelUnknown, "frames_kernel_unknown", "Kernel frames without a symbol.";
    StackTableFull, "stacks_over_budget", "Samples put on [other stacks] because the window has too many distinct stacks.";
    ProfileEncoded, "profiles_encoded", "Profiles made for the server: stored, refused, dropped, or waiting.";
    ProfileStored, "profiles_stored", "Profiles the server has said to have.";
    EncoderBehind, "profiles_dropped_unencoded", "Profiles dropped before they were encoded, because encoding did not keep up.";
    QueueFull, "profiles_dropped_queue_full", "Profiles dropped because too much waits to be sent: the oldest.";
    ProfileTooOld, "profiles_dropped_too_old", "Profiles dropped because the server would refuse their age.";
    ProfileRefused, "profiles_refused", "Profiles the server refused for good.";
    ProfileLeft, "profiles_dropped_at_end", "Profiles dropped because the agent ended before they could be sent.";
    ProfileMaybeTwice, "profiles_maybe_twice", "Profiles sent again after an answer was lost: until it compacts, a server may show them twice.";
    ProfileTooLarge, "profiles_over_limit", "Profiles that stay over the server's limit even when split.";
    ProcessUnsupported, "processes_unsupported", "Python processes that cannot be profiled; `spanprof doctor` says why.";
    ProcessTableFull, "processes_over_budget", "Python processes not profiled because too many are.";
    ProbeFailed, "probes_failed", "Span probes that could not be attached.";
    LookDropped, "looks_dropped", "Looks for the current span of a process dropped because too many wait.";
    MappingNoticeLost, "mapping_notices_lost", "Notices of mapped libraries lost because too many came at once; a procfs scan found what was missed.";
    NoticeDropped, "notices_dropped", "Process notices dropped because the control plane was busy; the procfs scan finds what was missed.";
}

/// The counts, shared by all rooms.
#[derive(Clone, Debug, Default)]
pub struct Health {
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Counts {
    losses: Vec<AtomicU64>,
    kernel: Vec<AtomicU64>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            losses: Loss::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            kernel: Counter::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Health {
    /// Counts one loss.
    pub fn count(&self, loss: Loss) {
        self.add(loss, 1);
    }

    /// Counts `number` losses of one kind.
    pub fn add(&self, loss: Loss, number: u64) {
        if let Some(count) = self.counts.losses.get(loss as usize) {
            count.fetch_add(number, Ordering::Relaxed);
        }
    }

    /// How often a loss has happened.
    pub fn get(&self, loss: Loss) -> u64 {
        self.counts
            .losses
            .get(loss as usize)
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Profiles that were never stored, whatever has kept them from it.
    pub fn profiles_lost(&self) -> u64 {
        let losses = [
            Loss::EncoderBehind,
            Loss::QueueFull,
            Loss::ProfileTooOld,
            Loss::ProfileRefused,
            Loss::ProfileLeft,
        ];
        losses.into_iter().map(|loss| self.get(loss)).sum()
    }

    /// Takes over what the kernel programs have counted, summed over all CPUs.
    pub fn set_kernel(&self, counter: Counter, value: u64) {
        if let Some(count) = self.counts.kernel.get(counter as usize) {
            count.store(value, Ordering::Relaxed);
        }
    }

    /// What the kernel programs have counted, as of the last [`Self::set_kernel`].
    pub fn kernel(&self, counter: Counter) -> u64 {
        self.counts
            .kernel
            .get(counter as usize)
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// The table of all counts that are not zero, a line each: count, name, sentence.
    pub fn table(&self) -> String {
        let kernel = Counter::ALL
            .iter()
            .map(|&it| (self.kernel(it), it.name(), it.sentence()));
        let losses = Loss::ALL
            .iter()
            .map(|&it| (self.get(it), it.name(), it.sentence()));
        let mut table = String::new();
        for (count, name, sentence) in kernel.chain(losses).filter(|(count, ..)| *count > 0) {
            // Writing to a string cannot fail.
            let _ = writeln!(table, "{count:>12}  {name:<36}  {sentence}");
        }
        table
    }
}
