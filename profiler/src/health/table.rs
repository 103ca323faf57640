//! The table of what is counted: the names, units and words that users see, in one place.
//!
//! A loss is named by what is lost, and its cause is the attribute `reason`: a cause that is split later adds
//! a value and renames nothing.

/// Gives the table to a macro: `loss.rs` makes names of it, `metric.rs` what is reported.
macro_rules! table {
    ($render:ident) => { $render! {
    "samples_taken", "{sample}", by "reason":
    "Samples that the kernel program has taken of profiled processes." {
        kernel SampleTaken;
    }
    "samples_skipped", "{sample}", by "reason":
    "Ticks of the sampling clock of which no sample was taken." {
        kernel SampleElsewhere "process_not_profiled": "The CPU ran a process that is not profiled: it is no Python, or was not asked for.";
        kernel SampleIdle "cpu_idle": "The CPU was idle.";
    }
    "samples_attributed", "{sample}", by "reason":
    "Samples with the span that they were taken in." {
        agent SampleAttributed;
    }
    "samples_unattributed", "{sample}", by "reason":
    "Samples without a span." {
        agent SampleOutsideSpans "no_span": "The thread was in no span: nothing is missing.";
        agent SampleOfNativeThread "native_thread": "The thread runs no Python, and so is in no span: nothing is missing.";
        agent SpanNotRecorded "span_not_recorded": "The current span is one that the process does not record: the tracer has sampled it out, it is another process's (a remote parent), or no SDK is set up. No trace has it, so nothing is missing.";
        agent SpanNotNested "spans_not_nested": "The spans that are open in the thread are not nested in one another.";
        agent CurrentSpanEnded "span_ended": "The span that is current in the thread has ended.";
        agent SpanEndedInParent "span_ended_in_parent": "The span that is current in the thread was begun before the fork, and has ended in the process that has begun it.";
        agent SpanEndedOnOtherThread "span_ended_on_other_thread": "The context cannot be read, and the span that the thread has started has ended on another thread.";
        agent OpenSpanForgotten "open_span_forgotten": "The context cannot be read, and the span that the thread has started was forgotten: more spans are open than there is room for (--max-spans).";
        agent SpanTooDeep "too_many_open_spans": "More spans are open in the thread than are kept.";
        agent SpanEventLoop "event_loop": "The thread runs an event loop and its context cannot be read, so its current task is not known.";
        agent ContextUnreadable "context_not_in_memory": "Memory on the way to the current span was not resident.";
        agent ContextUnexpected "context_unexpected": "Something on the way to the current span was not as expected.";
        agent SpanClassNew "span_class_new": "The agent has just met the class of the current span, and works out how to read it.";
        agent SpanClassUnread "span_class_unreadable": "The current span is of a class that keeps its context in an unusual way; `spanprof doctor --sample` names it.";
        agent ContextTooLarge "context_too_large": "The context has more entries than are looked at.";
        agent ThreadStateUnknown "thread_state_unknown": "Nothing proves which Python thread state the thread runs in: its stack has native frames only.";
        agent InterpreterUnknown "interpreter_unknown": "How spans are read in the thread's sub-interpreter is not known, or not known yet.";
        agent ContextPending "process_just_found": "How to read the process's current span is being worked out, or the probes of the Python package, which alone tell of it, are not attached yet.";
        agent ContextHidden "context_hidden": "The process keeps its spans where they cannot be read; `spanprof doctor` says why.";
    }
    "samples_lost", "{sample}", by "reason":
    "Samples that were taken and are in no profile." {
        kernel SampleRingFull "ring_full": "The ring buffer between the kernel and the agent was full.";
        agent SampleMalformed "malformed": "The agent could not decode the sample.";
        agent SampleNotAskedFor "process_not_asked_for": "The process was forked by one that is profiled, and the agent was asked for that one only.";
        agent SampleOfNewProgram "program_just_begun": "The process had just begun another program, and the agent had not looked at that yet.";
        agent SampleOutsideTargets "process_unknown": "The agent had not heard of the process yet, or its notices were dropped (`process_notices_lost`).";
    }
    "samples_incomplete", "{sample}", by "reason":
    "Samples that are in a profile with less than they should have." {
        agent LocalRootUnknown "local_root_unknown": "The local root of the span was never sampled: the sample has the label of its active span.";
        agent SpanUnnamed "span_name_unknown": "The agent has no name for the span or its local root: `span_records_lost`, `span_names_incomplete` and `spans_forgotten` say how many names were lost on the way; if they are few, the span started before the agent.";
        agent StackTableFull "too_many_stacks": "The window has too many distinct stacks: the sample is under [other stacks].";
        agent LabelsLeftOut "too_many_label_sets": "The window has too many distinct stacks and labels: a file has only the span of the sample that `span_id` names, and not its thread.";
    }
    "stacks_incomplete", "{stack}", by "reason":
    "Stacks of samples that lack frames." {
        kernel WalkNoThreadState "python_no_thread_state": "The thread of a Python process has no Python thread state, as those that libraries start: it has native frames only, and nothing is missing.";
        kernel WalkStateUnknown "python_thread_state_unknown": "Nothing proves which Python thread state the thread runs in: native frames only.";
        kernel WalkUnreadable "python_not_in_memory": "Memory of the Python stack was not resident: it is cut there.";
        kernel WalkNotCode "python_not_code": "A Python frame led to something that is no code object: the stack is cut there.";
        kernel WalkTruncated "python_too_deep": "The Python stack is deeper than is walked: it ends in [truncated]; --python-depth sets how deep that is.";
        kernel WalkTooManyThreads "python_too_many_threads": "The process has more threads than are searched for the thread's state.";
        kernel NativeBroken "native_no_frame_pointers": "Native code without frame pointers was met: the native stack is cut there.";
        kernel NativeTruncated "native_too_deep": "The native stack is deeper than is walked.";
        kernel KernelStackFailed "kernel_stack_refused": "The kernel could not take its own stack.";
        agent PythonMiddleOmitted "python_middle_left_out": "The Python stack has more frames than a sample: its middle is left out, shown as [N-M frames left out].";
        agent NativeHidden "native_place_uncertain": "It is not certain where the native frames belong: only the innermost is shown.";
    }
    "frames_incomplete", "{frame}", by "reason":
    "Frames that lack their name or their line." {
        agent CodeUnknown "code_unknown": "The Python code object has not reached the agent, or not yet: shown as [unknown code].";
        agent CodeStale "code_stale": "The address of the Python code object is in use again: shown as [stale code].";
        agent LineUnreadable "line_table_not_in_memory": "The Python line table was not resident in memory.";
        agent LineCut "line_table_cut": "The Python line table is longer than the 1 MiB that the kernel program sends (16 KiB before Linux 5.17), or a part of it was lost, and the line lies behind what has come.";
        agent LineMalformed "line_table_not_understood": "The Python line table is not as its version of CPython makes them.";
        agent NativeUnknown "native_symbol_unknown": "The native function has no symbol in its file: shown as [file]+0xOFFSET, or [file] (no symbol).";
        agent NativeNoMapping "native_mapping_unknown": "The native code is in no mapping that is known, or not yet: shown as [unknown mapping].";
        agent NativeNoFile "native_no_file": "The native code is in no file: it was made at run time, or is the kernel's [vdso].";
        agent NativeUnreadable "native_file_unreadable": "The file of the native function could not be opened or read.";
        agent NativeMalformed "native_file_malformed": "The file of the native function is not an ELF file of this machine, or it is damaged.";
        agent NativeTooLarge "native_symbols_too_large": "The file of the native function has more symbols than the agent reads.";
        agent NativeLate "native_symbols_late": "The symbols of the file were not there in time: the file cannot be read fast, or it stands behind such files.";
        agent NativeNotAwaited "native_symbols_not_awaited": "Too many samples waited for the symbols of files at once: this one did not wait.";
        agent KernelUnknown "kernel_symbol_unknown": "The kernel function has no symbol.";
    }
    "python_frames_left_out", "{frame}", by "reason":
    "Python frames that stacks lack in their middle." {
        agent PythonFrameOmitted "too_deep": "A sample has the innermost 192 frames and the outermost 64: see stacks_incomplete, reason python_middle_left_out.";
    }
    "code_objects_not_sent", "{code_object}", by "reason":
    "Python code objects whose names the kernel program could not send; it tries again with the next sample." {
        kernel CodeRingFull "ring_full": "The ring buffer between the kernel and the agent was full.";
        kernel CodeUnreadable "not_in_memory": "The name of the function or of its file was not resident in memory.";
    }
    "code_objects_forgotten", "{code_object}", by "reason":
    "Python code objects whose names the agent has forgotten." {
        agent CodeCacheFull "too_many": "Too many code objects are in use: the one used longest ago goes.";
    }
    "function_names_cut", "{function}", by "reason":
    "Python functions whose name or file name lacks its end, and shows … there." {
        agent CodeNameCut "too_long": "The name is longer than what the kernel program sends.";
    }
    "spans_started", "{span}", by "reason":
    "Spans whose start the probes of the Python package have told." {
        kernel SpanStarted;
    }
    "spans_ended", "{span}", by "reason":
    "Spans whose end the probes of the Python package have told." {
        kernel SpanEnded;
    }
    "spans_found", "{span}", by "reason":
    "Spans that were found for the first time in the context of a sampled thread." {
        kernel SpanSeen;
    }
    "spans_forgotten", "{span}", by "reason":
    "Spans that are open and not kept: samples in them may lack their span or its name." {
        kernel SpanTooDeep "too_many_in_thread": "More spans were open in the thread than are kept.";
        kernel SpanMapFull "map_refused": "The kernel refused to put the span on its map.";
        agent SpanNameForgotten "too_many_found": "Too many spans were found in samples: the one used longest ago goes. It is sent again if it is still current.";
        agent SpanTableFull "too_many_open": "Too many spans were open at once: the one used longest ago goes.";
    }
    "span_records_lost", "{record}", by "reason":
    "Records of spans that did not reach the agent: samples in such a span have no span name." {
        kernel SpanRingFull "ring_full": "The ring buffer between the kernel and the agent was full.";
    }
    "span_ends_unmatched", "{span}", by "reason":
    "Ends of spans that belong to no start on the same thread." {
        kernel SpanEndUnknown "start_not_seen": "The span started before the agent, in the parent before a fork, or was forgotten.";
        kernel SpanEndedElsewhere "other_thread": "Another thread than this one has started the span.";
    }
    "span_names_incomplete", "{span}", by "reason":
    "Spans that lack their name, or its end." {
        kernel SpanNameUnreadable "unreadable": "The name could not be read from the application.";
        kernel SpanNameNotText "not_text": "The name is no text: the program has named the span by a number, bytes, None or another object.";
        kernel SpanNameCut "too_long": "The name is longer than what the kernel program sends: it ends in ….";
    }
    "span_probes_failed", "{file}", by "reason":
    "Files of the Python package whose span probes are not used." {
        agent ProbeFailed "not_attached": "The probes could not be attached; the log says why.";
        agent HookUnsupported "not_supported": "The agent does not try to attach the probes: it does not support the file's release or build; the log says what of it.";
        agent HookDamaged "damaged": "The file is damaged, or could not be read.";
        agent HookCrashes "crashes_children": "The probes of an earlier package would crash forked children on this kernel: upgrade the package.";
    }
    "resources_ignored", "{resource}", by "reason":
    "OpenTelemetry resources that the Python package told, and that are not used." {
        kernel HookVersion "package_version": "The package is of a release that this agent does not understand.";
    }
    "processes_not_profiled", "{process}", by "reason":
    "Python processes that were found and are not profiled." {
        agent ProcessUnsupported "unsupported": "The interpreter cannot be profiled; `spanprof doctor` says why.";
        agent ProcessTableFull "too_many": "More Python processes run than --max-processes allows.";
    }
    "processes_profiled_late", "{process}", by "reason":
    "Forked processes that were not profiled from their first instruction on, as other children of a profiled process are." {
        kernel ProcessMapFull "map_full": "The kernel's map of processes had no room at the fork: the agent tries again, and counts the process in processes_not_profiled if there is still none.";
    }
    "recipes_not_kept", "{recipe}", by "reason":
    "Descriptions of how to read a process's current span that the kernel did not take: the process is profiled, and its spans are known by the probes of the Python package or not at all." {
        agent RecipeNotKept "map_full": "The kernel's map had no room for that of a process: --max-processes says how many it holds.";
        agent OtherRecipeNotKept "interpreters_map_full": "The kernel's map had no room for that of a sub-interpreter: too many sub-interpreters run on the host.";
    }
    "process_inspections_dropped", "{inspection}", by "reason":
    "Inspections of a process, for how its spans are read, that were dropped." {
        agent LookDropped "too_many_waiting": "Too many processes wait to be inspected.";
        agent LookBlocked "memory_blocked": "The process's memory could not be read within 0.5 s, so it has no spans unless the package tells them; `spanprof doctor` names it.";
        agent FilesBlocked "files_blocked": "The process's files, command line or environment could not be read within 0.5 s, so it may lack its names; `spanprof doctor` names it.";
        agent LookPanicked "panicked": "The agent has a fault: please report the panic in its log.";
        agent LookNoWorker "too_many_blocked": "Too many other processes keep their memory from being read: no thread is left to inspect this one.";
    }
    "process_notices_lost", "{notice}", by "reason":
    "Notices of forks, execs and exits that were lost; the next scan of /proc finds what was missed." {
        kernel ProcessRingFull "ring_full": "The ring buffer between the kernel and the agent was full.";
        agent NoticeDropped "agent_busy": "The thread of the agent that follows processes was busy.";
        agent OthersFull "too_many_processes": "More processes run that are not profiled than the agent remembers.";
    }
    "mapping_notices_lost", "{notice}", by "reason":
    "Notices of libraries that a process has mapped that were lost; a scan of /proc finds what was missed." {
        agent MappingNoticeLost "too_many_at_once": "More came at once than the buffers of the kernel hold.";
    }
    "records_lost", "{record}", by "reason":
    "Records of the kernel programs, other than samples, that the agent could not use." {
        agent RecordMalformed "malformed": "The agent could not decode the record.";
    }
    "profiles_not_encoded", "{profile}", by "reason":
    "Profiles that were dropped before they were encoded; they are not in profiles_encoded." {
        agent EncoderBehind "encoder_behind": "Encoding does not keep up.";
        agent EncoderEnded "agent_ended": "The agent ended before the profile was encoded.";
    }
    "profiles_encoded", "{profile}", by "reason":
    "Profiles made for the server: each is stored, refused or dropped in the end, and waits until then." {
        agent ProfileEncoded;
    }
    "profiles_stored", "{profile}", by "reason":
    "Profiles that the server has said to have." {
        agent ProfileStored;
    }
    "profiles_refused", "{profile}", by "reason":
    "Profiles that the server will never take; the log has its words." {
        agent ProfileRefused "by_server": "The server refused the profile for good.";
        agent ProfileUncompressed "not_compressed": "The profile could not be compressed, so it was not sent.";
    }
    "profiles_dropped", "{profile}", by "reason":
    "Profiles that were encoded and never sent with success." {
        agent QueueFull "queue_full": "More waits than --push-queue holds: the oldest goes.";
        agent ProfileTooOld "too_old": "The profile has waited so long that the server would refuse its age.";
        agent ProfileLeft "agent_ended": "The agent ended before the profile could be sent.";
    }
    "profiles_retried", "{profile}", by "reason":
    "Profiles that had to be sent again; not a loss." {
        agent RetriedUnavailable "server_unavailable": "The server could not be reached, does not accept the credentials, or is none that takes profiles; the log says which.";
        agent RetriedTooMuch "too_much": "The server said that it is too much at once (429).";
        agent RetriedFailed "server_failed": "The server failed (408, 5xx).";
        agent RetriedBesideRefused "beside_refused": "Another profile of the same request was refused.";
        agent ProfileMaybeTwice "answer_lost": "The answer was lost: until it compacts, a server may show such a profile twice.";
    }
    "push_requests", "{request}", by "reason":
    "Requests to the server that have ended, by what came of them." {
        agent PushStored "stored": "The server has the profiles.";
        agent PushRefused "refused": "The server refused one of the profiles for good.";
        agent PushUnavailable "server_unavailable": "The server could not be reached, does not accept the credentials, or is none that takes profiles; the log says which.";
        agent PushTooMuch "too_much": "The server said that it is too much at once (429).";
        agent PushFailed "server_failed": "The server failed (408, 5xx).";
        agent PushUnanswered "answer_lost": "The answer was lost, or did not come in time.";
    }
    "push_size", "By", by "reason":
    "Bytes of the bodies of requests to the server." {
        agent PushedBytes;
    }
    "push_time", "s", by "reason":
    "Time that requests to the server took, all together." {
        agent PushTime;
    }
    "profile_rows_dropped", "{row}", by "reason":
    "Rows of profiles, a stack with its labels each, that were left out with their samples." {
        agent ProfileTooLarge "too_large": "The row alone is larger than the server takes a profile.";
    }
    "sampling_time", "s", by "stage":
    "Time that the sampling program has spent in each of its stages; counted with --time-stages only." {
        kernel StageStart "start": "Up to the header of the sample, without the program's entry.";
        kernel StageNative "native": "Taking the kernel's and the native stack.";
        kernel StageThread "thread": "Finding the thread's state and its innermost frame.";
        kernel StageVersion "version": "Asking how many code objects there are.";
        kernel StageFrames "frames": "Walking the Python frames.";
        kernel StageCodes "codes": "Sending code objects.";
        kernel StageSpan "span": "Finding the current span.";
        kernel StageRecord "record": "Filling in the record.";
        kernel StageRing "ring": "Copying the record to the ring buffer.";
        kernel StageClock "clock": "Reading the clock once: each stage has that much for being timed.";
    }
    } };
}

pub(super) use table;
