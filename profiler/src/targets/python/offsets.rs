//! What is generated from CPython's headers: offsets, what debug offsets leave out, and where they say the rest.

/// Offsets in bytes as CPython's headers or its debug offsets give them, with the size of each
/// structure, before they are checked. Fields are named as those of
/// [`PythonLayout`](profiler_common::python::PythonLayout).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each field is described where it is read, in PythonLayout and Facts"
)]
pub struct Offsets {
    pub runtime_size: u64,
    pub runtime_interpreters: u64,
    pub interpreter_size: u64,
    pub interpreter_next: u64,
    pub interpreter_threads: u64,
    pub interpreter_id: u64,
    /// 0 if the version has none, as with the others of a state.
    pub runtime_current: u64,
    pub interpreter_modules: u64,
    /// 0 if the version has none.
    pub interpreter_code_version: u64,
    pub interpreter_version_cache: u64,
    pub thread_size: u64,
    pub thread_next: u64,
    pub thread_id: u64,
    pub thread_frame: u64,
    pub thread_interpreter: u64,
    pub thread_status: u64,
    pub thread_cframe: u64,
    pub cframe_frame: u64,
    pub frame_size: u64,
    pub frame_code: u64,
    pub frame_previous: u64,
    pub frame_instruction: u64,
    pub frame_owner: u64,
    pub frame_bytecode: u64,
    pub code_size: u64,
    pub code_first_line: u64,
    pub code_file: u64,
    pub code_name: u64,
    pub code_instructions: u64,
    pub code_line_table: u64,
    pub code_bytecodes: u64,
    pub string_length: u64,
    pub string_state: u64,
    pub string_ascii_data: u64,
    pub string_compact_data: u64,
    pub bytes_size: u64,
    pub bytes_data: u64,
    pub object_type: u64,
    pub string_kind_shift: u8,
    pub string_compact_bit: u8,
    pub string_ascii_bit: u8,
    pub owner_trampoline: u8,
    pub instruction_shift: u8,
    pub line_table_format: u8,
    pub flags: u8,
}

/// What an interpreter needs that its debug offsets leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpublished {
    /// `sizeof(PyCompactUnicodeObject)`.
    pub string_compact_data: u64,
    /// Lowest bit of `kind` in `PyASCIIObject.state`.
    pub string_kind_shift: u8,
    /// Bit of `compact`.
    pub string_compact_bit: u8,
    /// Bit of `ascii`.
    pub string_ascii_bit: u8,
    /// `FRAME_OWNED_BY_CSTACK` (3.13) or `FRAME_OWNED_BY_INTERPRETER`.
    pub owner_trampoline: u8,
    /// `PyInterpreterState.func_state.next_version`: counts the code objects made, and functions.
    pub interpreter_code_version: u64,
    /// `PyInterpreterState.func_state.func_version_cache`, which lies behind it.
    pub interpreter_version_cache: u64,
}

macro_rules! published {
    ($($always:ident)*; $($later:ident)*) => {
        /// Which word of `_Py_DebugOffsets` says what, in one minor version; `None` for what that version leaves out.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "fields are named as those of Offsets")]
        pub struct Published {
            /// Words of the whole structure.
            pub words: usize,
            $(pub $always: usize,)*
            $(pub $later: Option<usize>,)*
        }

        impl Published {
            /// The offsets that `word` has at these places; what is left out is as in `others`.
            pub fn read(&self, word: impl Fn(usize) -> u64, others: Offsets) -> Offsets {
                Offsets {
                    $($always: word(self.$always),)*
                    $($later: self.$later.map_or(others.$later, &word),)*
                    ..others
                }
            }
        }
    };
}

published! {
    runtime_size runtime_interpreters
    interpreter_size interpreter_next interpreter_threads interpreter_id interpreter_modules
    thread_size thread_next thread_id thread_frame thread_interpreter thread_status
    frame_size frame_code frame_previous frame_instruction frame_owner
    code_size code_first_line code_file code_name code_instructions code_line_table
    string_length string_state string_ascii_data
    bytes_size bytes_data
    object_type;
    frame_bytecode code_bytecodes string_compact_data
}
