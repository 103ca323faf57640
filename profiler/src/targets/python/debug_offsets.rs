//! `_Py_DebugOffsets`: the offsets that CPython 3.13 and later carry at the start of `_PyRuntime`.
//!
//! The structure is fixed within a minor version only, so there is one mirror per minor. It is
//! initialised statically (`_PyRuntimeState_INIT` in `Include/internal/pycore_runtime_init.h`),
//! so it is read from the file, never from a process.

use profiler_common::python::{flags, line_table};

use super::{flavour::Flavour, layout::Offsets, unpublished};

/// The most bytes of `_Py_DebugOffsets` in any version.
pub const MAX_SIZE: usize = WORDS_3_15 * 8;

/// Words of the structure: `Include/internal/pycore_runtime.h` of v3.13.0, and
/// `Include/internal/pycore_debug_offsets.h` of v3.14.0 and v3.15.0.
const WORDS_3_13: usize = 73;
const WORDS_3_14: usize = 95;
const WORDS_3_15: usize = 111;
/// The first three words: cookie, version, and whether the build is without the GIL.
const HEAD: usize = 3;
const COOKIE: [u8; 8] = *b"xdebugpy";
/// The last minor version that is known.
const LAST: u8 = 15;

/// Why debug offsets are not followed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DebugOffsetsError {
    /// They end early.
    #[error("the debug offsets have {0} bytes only")]
    Short(usize),
    /// They do not start with `xdebugpy`.
    #[error("_PyRuntime does not start with the cookie of debug offsets")]
    Cookie,
    /// They are of another version than `Py_Version`.
    #[error("the debug offsets are of version {found:#010x}, the interpreter is 3.{minor}")]
    Version {
        /// Version in the debug offsets.
        found: u64,
        /// Minor version expected.
        minor: u8,
    },
    /// No version before 3.13 has any.
    #[error("CPython 3.{0} has no debug offsets")]
    TooEarly(u8),
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

/// What debug offsets say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The offsets.
    pub offsets: Offsets,
    /// Whether the interpreter runs without the GIL.
    pub free_threaded: bool,
    /// Whether their version is one whose structure is known; else they were read as those of the last
    /// that is.
    pub is_known: bool,
}

/// The offsets in the first bytes of `_PyRuntime` of CPython 3.`minor`; `debug` says whether it was built
/// with `Py_DEBUG`.
pub fn parse(minor: u8, debug: bool, bytes: &[u8]) -> Result<Parsed, DebugOffsetsError> {
    let [_, version, free_threaded] = words::<HEAD>(bytes)?;
    if bytes.get(..COOKIE.len()) != Some(COOKIE.as_slice()) {
        return Err(DebugOffsetsError::Cookie);
    }
    // `PY_VERSION_HEX`: major, minor, micro, level and serial.
    if version >> 16 != 0x0300 | u64::from(minor) {
        return Err(DebugOffsetsError::Version {
            found: version,
            minor,
        });
    }
    let flavour = Flavour {
        free_threaded: free_threaded != 0,
        debug,
    };
    let missing =
        unpublished::offsets(minor.min(LAST), flavour).ok_or(DebugOffsetsError::TooEarly(minor))?;
    let offsets = match minor {
        13 => offsets_3_13(&words(bytes)?, missing),
        14 => offsets_3_14(&words(bytes)?, missing),
        _ => offsets_3_15(&words(bytes)?, missing),
    };
    Ok(Parsed {
        offsets,
        free_threaded: flavour.free_threaded,
        is_known: minor <= LAST,
    })
}

fn words<const N: usize>(bytes: &[u8]) -> Result<[u64; N], DebugOffsetsError> {
    let mut words = [0; N];
    if bytes.len() < N * 8 {
        return Err(DebugOffsetsError::Short(bytes.len()));
    }
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    Ok(words)
}

/// What all mirrors have in common.
fn common(missing: &Unpublished) -> Offsets {
    Offsets {
        // `PyThreadState.current_frame` is the frame itself (no FRAME_IN_CFRAME).
        cframe_frame: 0,
        thread_cframe: 0,
        // A thread-local says which state is attached.
        runtime_current: 0,
        string_compact_data: missing.string_compact_data,
        string_kind_shift: missing.string_kind_shift,
        string_compact_bit: missing.string_compact_bit,
        string_ascii_bit: missing.string_ascii_bit,
        owner_trampoline: missing.owner_trampoline,
        interpreter_code_version: missing.interpreter_code_version,
        interpreter_version_cache: missing.interpreter_version_cache,
        line_table_format: line_table::LOCATIONS,
        flags: flags::FRAME_HAS_OWNER,
        ..Offsets::default()
    }
}

/// Flags of an interpreter whose threads may have bytecode of their own.
fn flags_of(code_bytecodes: u64) -> u8 {
    if code_bytecodes == 0 {
        flags::FRAME_HAS_OWNER
    } else {
        flags::FRAME_HAS_OWNER | flags::THREAD_BYTECODES
    }
}

/// The mirror of 3.13, group by group in the order of the header; `_` are fields not needed.
fn offsets_3_13(words: &[u64; WORDS_3_13], missing: &Unpublished) -> Offsets {
    #[rustfmt::skip]
    let [
        // cookie, version, free_threaded
        _, _, _,
        // runtime_state: size, finalizing, interpreters_head
        runtime_size, _, runtime_interpreters,
        // interpreter_state: size, id, next, threads_head, gc, imports_modules, sysdict, builtins,
        // ceval_gil, gil_runtime_state, …_enabled, …_locked, …_holder
        interpreter_size, interpreter_id, interpreter_next, interpreter_threads, _, interpreter_modules,
        _, _, _, _, _, _, _,
        // thread_state: size, prev, next, interp, current_frame, thread_id, native_thread_id,
        // datastack_chunk, status
        thread_size, _, thread_next, thread_interpreter, thread_frame, thread_id, _, _, thread_status,
        // interpreter_frame: size, previous, executable, instr_ptr, localsplus, owner
        frame_size, frame_previous, frame_code, frame_instruction, _, frame_owner,
        // code_object: size, filename, name, qualname, linetable, firstlineno, argcount,
        // localsplusnames, localspluskinds, co_code_adaptive
        code_size, code_file, _, code_name, code_line_table, code_first_line, _, _, _, code_instructions,
        // pyobject: size, ob_type
        _, object_type,
        // type_object (4), tuple_object (3), list_object (3), dict_object (3), float_object (2),
        // long_object (3)
        _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _,
        // bytes_object: size, ob_size, ob_sval
        _, bytes_size, bytes_data,
        // unicode_object: size, state, length, asciiobject_size
        _, string_state, string_length, string_ascii_data,
        // gc: size, collecting
        _, _,
    ] = *words;
    Offsets {
        runtime_size,
        runtime_interpreters,
        interpreter_size,
        interpreter_next,
        interpreter_threads,
        interpreter_id,
        interpreter_modules,
        thread_size,
        thread_next,
        thread_id,
        thread_frame,
        thread_interpreter,
        thread_status,
        frame_size,
        frame_code,
        frame_previous,
        frame_instruction,
        frame_owner,
        code_size,
        code_first_line,
        code_file,
        code_name,
        code_instructions,
        code_line_table,
        string_length,
        string_state,
        string_ascii_data,
        bytes_size,
        bytes_data,
        object_type,
        ..common(missing)
    }
}

/// The mirror of 3.14.
fn offsets_3_14(words: &[u64; WORDS_3_14], missing: &Unpublished) -> Offsets {
    #[rustfmt::skip]
    let [
        _, _, _,
        // runtime_state
        runtime_size, _, runtime_interpreters,
        // interpreter_state: size, id, next, threads_head, threads_main, gc, imports_modules, sysdict,
        // builtins, ceval_gil, gil_runtime_state, …_enabled, …_locked, …_holder,
        // code_object_generation, tlbc_generation
        interpreter_size, interpreter_id, interpreter_next, interpreter_threads, _, _, interpreter_modules,
        _, _, _, _, _, _, _, _, _,
        // thread_state: size, prev, next, interp, current_frame, thread_id, native_thread_id,
        // datastack_chunk, status
        thread_size, _, thread_next, thread_interpreter, thread_frame, thread_id, _, _, thread_status,
        // interpreter_frame: size, previous, executable, instr_ptr, localsplus, owner, stackpointer,
        // tlbc_index
        frame_size, frame_previous, frame_code, frame_instruction, _, frame_owner, _, frame_bytecode,
        // code_object: size, filename, name, qualname, linetable, firstlineno, argcount,
        // localsplusnames, localspluskinds, co_code_adaptive, co_tlbc
        code_size, code_file, _, code_name, code_line_table, code_first_line, _, _, _, code_instructions,
        code_bytecodes,
        // pyobject
        _, object_type,
        // type_object (4), tuple_object (3), list_object (3), set_object (4), dict_object (3),
        // float_object (2), long_object (3)
        _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _,
        // bytes_object
        _, bytes_size, bytes_data,
        // unicode_object
        _, string_state, string_length, string_ascii_data,
        // gc (2), gen_object (4), llist_node (2), debugger_support (6)
        _, _, _, _, _, _, _, _, _, _, _, _, _, _,
    ] = *words;
    Offsets {
        runtime_size,
        runtime_interpreters,
        interpreter_size,
        interpreter_next,
        interpreter_threads,
        interpreter_id,
        interpreter_modules,
        thread_size,
        thread_next,
        thread_id,
        thread_frame,
        thread_interpreter,
        thread_status,
        frame_size,
        frame_code,
        frame_previous,
        frame_instruction,
        frame_owner,
        frame_bytecode,
        code_size,
        code_first_line,
        code_file,
        code_name,
        code_instructions,
        code_line_table,
        code_bytecodes,
        string_length,
        string_state,
        string_ascii_data,
        bytes_size,
        bytes_data,
        object_type,
        flags: flags_of(code_bytecodes),
        ..common(missing)
    }
}

/// The mirror of 3.15, and what later versions are read as.
fn offsets_3_15(words: &[u64; WORDS_3_15], missing: &Unpublished) -> Offsets {
    #[rustfmt::skip]
    let [
        _, _, _,
        // runtime_state
        runtime_size, _, runtime_interpreters,
        // interpreter_state, as in 3.14
        interpreter_size, interpreter_id, interpreter_next, interpreter_threads, _, _, interpreter_modules,
        _, _, _, _, _, _, _, _, _,
        // thread_state: size, prev, next, interp, current_frame, base_frame, last_profiled_frame,
        // last_profiled_frame_seq, thread_id, native_thread_id, datastack_chunk, status, holds_gil,
        // gil_requested, current_exception, exc_state
        thread_size, _, thread_next, thread_interpreter, thread_frame, _, _, _, thread_id, _, _, thread_status,
        _, _, _, _,
        // err_stackitem
        _,
        // interpreter_frame, as in 3.14
        frame_size, frame_previous, frame_code, frame_instruction, _, frame_owner, _, frame_bytecode,
        // code_object, as in 3.14
        code_size, code_file, _, code_name, code_line_table, code_first_line, _, _, _, code_instructions,
        code_bytecodes,
        // pyobject
        _, object_type,
        // type_object (6), heap_type_object (2), tuple_object (3), list_object (3), set_object (4),
        // dict_object (3), float_object (2), long_object (3)
        _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _,
        // bytes_object
        _, bytes_size, bytes_data,
        // unicode_object: size, state, length, asciiobject_size, compactunicodeobject_size
        _, string_state, string_length, string_ascii_data, string_compact_data,
        // gc (5), gen_object (4), llist_node (2), debugger_support (6)
        _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _,
    ] = *words;
    Offsets {
        runtime_size,
        runtime_interpreters,
        interpreter_size,
        interpreter_next,
        interpreter_threads,
        interpreter_id,
        interpreter_modules,
        thread_size,
        thread_next,
        thread_id,
        thread_frame,
        thread_interpreter,
        thread_status,
        frame_size,
        frame_code,
        frame_previous,
        frame_instruction,
        frame_owner,
        frame_bytecode,
        code_size,
        code_first_line,
        code_file,
        code_name,
        code_instructions,
        code_line_table,
        code_bytecodes,
        string_length,
        string_state,
        string_ascii_data,
        string_compact_data,
        bytes_size,
        bytes_data,
        object_type,
        flags: flags_of(code_bytecodes),
        ..common(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::{DebugOffsetsError, MAX_SIZE, parse};
    use crate::targets::python::layout;

    fn header(version: u64, free_threaded: u64) -> Vec<u8> {
        let mut bytes = b"xdebugpy".to_vec();
        bytes.extend(version.to_le_bytes());
        bytes.extend(free_threaded.to_le_bytes());
        bytes.resize(MAX_SIZE, 0);
        bytes
    }

    /// A wrong cookie, version and length are each refused by name, and a zeroed table does not pass
    /// the layout's checks, of whatever version.
    #[test]
    fn what_is_not_known_is_refused() {
        for minor in 13_u8..=17 {
            let version = 0x0300_00f0 | u64::from(minor) << 16;
            let good = header(version, 0);
            let parsed = parse(minor, false, &good).unwrap();
            assert_eq!(parsed.is_known, minor <= 15);
            assert!(layout::validate(&parsed.offsets).is_err());
            assert_eq!(
                parse(minor, false, &good[..100]),
                Err(DebugOffsetsError::Short(100))
            );
            assert!(matches!(
                parse(minor, false, &header(version + 0x1_0000, 0)),
                Err(DebugOffsetsError::Version { .. })
            ));
        }
        assert_eq!(
            parse(13, false, &[0; MAX_SIZE]),
            Err(DebugOffsetsError::Cookie)
        );
        assert_eq!(
            parse(12, false, &header(0x030c_00f0, 0)),
            Err(DebugOffsetsError::TooEarly(12))
        );
    }
}
