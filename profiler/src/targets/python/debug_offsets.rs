//! `_Py_DebugOffsets`: the offsets that CPython 3.13 and later carry at the start of `_PyRuntime`.
//!
//! The structure is fixed within a minor version only, so there is one mirror per minor. It is
//! initialised statically (`_PyRuntimeState_INIT` in `Include/internal/pycore_runtime_init.h`),
//! so it is read from the file, never from a process.

use profiler_common::python::{flags, line_table};

use super::layout::Offsets;

/// Bytes of `_Py_DebugOffsets` in 3.13: 73 words
/// (`Include/internal/pycore_runtime.h`, tag v3.13.0).
pub const SIZE_3_13: usize = WORDS_3_13 * 8;

const WORDS_3_13: usize = 73;
const COOKIE: [u8; 8] = *b"xdebugpy";

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
    /// A build without the GIL.
    #[error("free-threaded builds are not supported yet")]
    FreeThreaded,
    /// No mirror of this version is known.
    #[error("the debug offsets of 3.{0} are not known")]
    Unknown(u8),
}

/// The offsets in the first bytes of `_PyRuntime` of CPython 3.`minor`.
pub fn parse(minor: u8, bytes: &[u8]) -> Result<Offsets, DebugOffsetsError> {
    if minor != 13 {
        return Err(DebugOffsetsError::Unknown(minor));
    }
    let words = words(bytes)?;
    if bytes.get(..8) != Some(COOKIE.as_slice()) {
        return Err(DebugOffsetsError::Cookie);
    }
    let [_, version, free_threaded, ..] = words;
    // `PY_VERSION_HEX`: major, minor, micro, level and serial.
    if version >> 16 != 0x0300 | u64::from(minor) {
        return Err(DebugOffsetsError::Version {
            found: version,
            minor,
        });
    }
    if free_threaded != 0 {
        return Err(DebugOffsetsError::FreeThreaded);
    }
    Ok(offsets_3_13(&words))
}

fn words(bytes: &[u8]) -> Result<[u64; WORDS_3_13], DebugOffsetsError> {
    let mut words = [0; WORDS_3_13];
    if bytes.len() < SIZE_3_13 {
        return Err(DebugOffsetsError::Short(bytes.len()));
    }
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    Ok(words)
}

/// The mirror of 3.13, group by group in the order of the header; `_` are fields not needed.
fn offsets_3_13(words: &[u64; WORDS_3_13]) -> Offsets {
    #[rustfmt::skip]
    let [
        // cookie, version, free_threaded
        _, _, _,
        // runtime_state: size, finalizing, interpreters_head
        runtime_size, _, runtime_interpreters,
        // interpreter_state: size, id, next, threads_head, gc, imports_modules, sysdict, builtins,
        // ceval_gil, gil_runtime_state, …_enabled, …_locked, …_holder
        interpreter_size, _, interpreter_next, interpreter_threads, _, interpreter_modules,
        _, _, _, _, _, _, _,
        // thread_state: size, prev, next, interp, current_frame, thread_id, native_thread_id,
        // datastack_chunk, status
        thread_size, _, thread_next, _, thread_frame, thread_id, _, _, _,
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
        string_size, string_state, string_length, string_ascii_data,
        // gc: size, collecting
        _, _,
    ] = *words;
    let _ = string_size;
    Offsets {
        runtime_size,
        runtime_interpreters,
        interpreter_size,
        interpreter_next,
        interpreter_threads,
        interpreter_modules,
        thread_size,
        thread_next,
        thread_id,
        thread_frame,
        // `PyThreadState.current_frame` is the frame itself (no FRAME_IN_CFRAME).
        cframe_frame: 0,
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
        // `PyCompactUnicodeObject` adds `utf8_length` and `utf8`, two words, to `PyASCIIObject`
        // (`Include/cpython/unicodeobject.h`).
        string_compact_data: string_ascii_data.saturating_add(16),
        bytes_size,
        bytes_data,
        object_type,
        // `PyASCIIObject.state`: interned 2 bits, kind 3, compact 1, ascii 1 (same header).
        string_kind_shift: 2,
        string_compact_bit: 5,
        string_ascii_bit: 6,
        // FRAME_OWNED_BY_CSTACK (`Include/internal/pycore_frame.h`).
        owner_trampoline: 3,
        line_table_format: line_table::LOCATIONS,
        flags: flags::FRAME_HAS_OWNER,
    }
}

#[cfg(test)]
mod tests {
    use super::{DebugOffsetsError, SIZE_3_13, parse};
    use crate::targets::python::layout;

    fn header(version: u64, free_threaded: u64) -> Vec<u8> {
        let mut bytes = b"xdebugpy".to_vec();
        bytes.extend(version.to_le_bytes());
        bytes.extend(free_threaded.to_le_bytes());
        bytes.resize(SIZE_3_13, 0);
        bytes
    }

    /// A wrong cookie, version, length, an unknown minor and a free-threaded build are each
    /// refused by name, and a zeroed table does not pass the layout's checks.
    #[test]
    fn what_is_not_known_is_refused() {
        let good = header(0x030d_00f0, 0);
        let refused = layout::validate(&parse(13, &good).unwrap());
        assert!(refused.is_err());
        assert_eq!(parse(14, &good), Err(DebugOffsetsError::Unknown(14)));
        assert_eq!(parse(13, &good[..100]), Err(DebugOffsetsError::Short(100)));
        assert_eq!(
            parse(13, &header(0x030d_00f0, 1)),
            Err(DebugOffsetsError::FreeThreaded)
        );
        assert!(matches!(
            parse(13, &header(0x030e_00f0, 0)),
            Err(DebugOffsetsError::Version { .. })
        ));
        assert_eq!(parse(13, &[0; SIZE_3_13]), Err(DebugOffsetsError::Cookie));
    }
}
