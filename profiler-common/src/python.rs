//! What the agent tells the walker about an interpreter: offsets and flags, never a version.

use crate::wire::record;

record! {
    /// Where CPython keeps what the walk needs. One per interpreter build, found by the agent
    /// (`profiler/src/targets/python/`), followed blindly but within bounds by the walker.
    /// Offsets are in bytes from the start of the named structure.
    PythonLayout: 80 bytes {
        /// `_PyRuntimeState.interpreters.head`.
        runtime_interpreters: u32,
        /// `PyInterpreterState.next`.
        interpreter_next: u32,
        /// `PyInterpreterState.threads.head` (`tstate_head` before 3.11).
        interpreter_threads: u32,
        /// `PyInterpreterState.id`.
        interpreter_id: u32,
        /// `_PyRuntimeState.gilstate.tstate_current`, the state that holds the GIL (before 3.12); 0 if a thread-local
        /// holds the state that a thread has attached.
        runtime_current: u32,
        /// `PyThreadState.next`.
        thread_next: u16,
        /// `PyThreadState.thread_id`: what `pthread_self()` returns.
        thread_id: u16,
        /// `PyThreadState.frame`, `.cframe` or `.current_frame`, see [`flags::FRAME_IN_CFRAME`].
        thread_frame: u16,
        /// `PyThreadState.cframe` (3.10 to 3.12), which lies on the stack of the thread that runs the state; 0 if there
        /// is none.
        thread_cframe: u16,
        /// `PyThreadState.interp`.
        thread_interpreter: u16,
        /// `PyThreadState._status` (3.12 and later), whose bit [`STATUS_ACTIVE`] says that the state is attached; 0 if
        /// there is none.
        thread_status: u16,
        /// `_PyCFrame.current_frame`.
        cframe_frame: u16,
        /// `f_code` or `f_executable`.
        frame_code: u16,
        /// `f_back` or `previous`.
        frame_previous: u16,
        /// `f_lasti`, `prev_instr` or `instr_ptr`.
        frame_instruction: u16,
        /// `owner`, if [`flags::FRAME_HAS_OWNER`] is set.
        frame_owner: u16,
        /// `co_firstlineno`.
        code_first_line: u16,
        /// `co_filename`.
        code_file: u16,
        /// `co_qualname`, or `co_name` before 3.11.
        code_name: u16,
        /// `co_linetable`, or `co_lnotab` before 3.10.
        code_line_table: u16,
        /// `co_tlbc`, if [`flags::THREAD_BYTECODES`] is set.
        code_bytecodes: u16,
        /// `tlbc_index`, if [`flags::THREAD_BYTECODES`] is set.
        frame_bytecode: u16,
        /// `co_code_adaptive`: the start of the instructions, if they are in the code object.
        code_instructions: u16,
        /// `PyASCIIObject.length`.
        string_length: u16,
        /// `PyASCIIObject.state`: the bit field, as a `u32`.
        string_state: u16,
        /// `sizeof(PyASCIIObject)`: offset of the characters of a compact ASCII string.
        string_ascii_data: u16,
        /// `sizeof(PyCompactUnicodeObject)`: offset of the characters of other compact strings.
        string_compact_data: u16,
        /// `PyVarObject.ob_size` of a `bytes`.
        bytes_size: u16,
        /// `PyBytesObject.ob_sval`.
        bytes_data: u16,
        /// From this value of `owner` on, a frame is one of the interpreter itself: a trampoline.
        owner_trampoline: u8,
        /// Bit of `kind` in the string state (3 bits wide).
        string_kind_shift: u8,
        /// Bit of `compact` in the string state.
        string_compact_bit: u8,
        /// Bit of `ascii` in the string state.
        string_ascii_bit: u8,
        /// One of [`line_table`].
        line_table_format: u8,
        /// Bits of [`flags`].
        flags: u8,
        /// `PyObject.ob_type`.
        object_type: u16,
        /// Bytes of a frame to read: up to the end of the last field used, at most
        /// [`crate::limits::FRAME_BLOCK`].
        frame_size: u8,
        /// Where the part of a code object that is read starts: [`crate::limits::CODE_PART`] bytes.
        code_start: u8,
        /// How far an index of instructions is shifted to make it bytes, if [`flags::INSTRUCTION_IS_INDEX`] is set.
        instruction_shift: u8,
        /// Always 0.
        reserved: [u8; 1],
    }

    /// A process whose samples are taken: value of the map of processes, keyed by thread group.
    /// Written by the agent; copied to the child at fork, stripped at exec and deleted at exit by
    /// the kernel programs.
    Process: 104 bytes {
        /// Start time in clock ticks since boot.
        start_time: u64,
        /// Address of `_PyRuntime`, 0 while no interpreter is known: native frames only.
        runtime: u64,
        /// Address of `PyCode_Type`: what a code object's type must be.
        code_type: u64,
        /// Address of the main interpreter's (3.12: the process's) count of code objects made; 0 if that is not known.
        /// As long as the count does not change, no code object has taken over another's address.
        code_version: u64,
        /// Address of the main interpreter's state, 0 while it is not known.
        main_interpreter: u64,
        /// Where the interpreter keeps the state that a thread has attached (3.12 and later): bytes from the thread
        /// pointer, or with `thread_local_entry` from the start of a module's block.
        thread_local: u64,
        /// The module's number, if `thread_local_entry` says that it lies in a module's block.
        thread_local_module: u32,
        /// One of [`thread_local`].
        thread_local_entry: u32,
        /// Address of the bytecode loop; 0 if that is not known.
        evaluation_start: u64,
        /// Its bytes.
        evaluation_size: u64,
        /// Address of the code that a thread runs only while it is in the interpreter.
        text_start: u64,
        /// Its bytes.
        text_size: u64,
        /// Index of the layout in the map of layouts.
        layout: u32,
        /// Which incarnation of the process's memory this is: the agent sets it anew whenever it writes the entry, so
        /// that code objects shipped before an exec do not count.
        generation: u32,
        /// Not 0 once one of its threads was seen in a thread state that another thread had made. Written by the
        /// kernel programs.
        hands_states_over: u32,
        /// Always 0: makes the padding explicit.
        reserved: u32,
    }
}

/// Bit of [`PythonLayout::thread_status`]: `_status.active`, in 3.12 to 3.15.
pub const STATUS_ACTIVE: u32 = 1 << 4;

/// What is known of the thread-local with the attached state, in [`Process::thread_local_entry`].
pub mod thread_local {
    /// Nothing, or not yet.
    pub const UNKNOWN: u32 = 0;
    /// It lies at a distance from the thread pointer.
    pub const AT_OFFSET: u32 = 1;
    /// It lies in a module's block, which a thread's vector of blocks leads to; an entry has 16 bytes (glibc).
    pub const IN_BLOCK_OF_16: u32 = 16;
    /// The same with entries of 8 bytes (musl).
    pub const IN_BLOCK_OF_8: u32 = 8;
}

/// Bits of [`PythonLayout::flags`].
pub mod flags {
    /// The current frame hangs below `PyThreadState.cframe` (3.11, 3.12).
    pub const FRAME_IN_CFRAME: u8 = 1;
    /// The frame holds an index (`f_lasti`, before 3.11) instead of an instruction pointer.
    pub const INSTRUCTION_IS_INDEX: u8 = 2;
    /// The frame has an owner, which may mark a trampoline (3.12 and later).
    pub const FRAME_HAS_OWNER: u8 = 4;
    /// Each thread may run its own copy of a code object's instructions (`tlbc`: 3.14 and later without the GIL).
    pub const THREAD_BYTECODES: u8 = 8;
}

/// Formats of line tables.
pub mod line_table {
    /// PEP 626, 3.10: pairs of (start delta, line delta).
    pub const PEP626: u8 = 1;
    /// The location table of 3.11 and later.
    pub const LOCATIONS: u8 = 2;
    /// `co_lnotab`, before 3.10: pairs of (bytes of code, line delta).
    pub const LNOTAB: u8 = 3;
}
