//! `_Py_DebugOffsets`: the offsets that CPython 3.13 and later carry at the start of `_PyRuntime`.
//!
//! The structure is fixed within a minor version only, so a table says for each which word is what; it is generated from
//! the headers. The structure is initialised statically (`_PyRuntimeState_INIT` in
//! `Include/internal/pycore_runtime_init.h`), so it is read from the file, never from a process.

use profiler_common::python::{flags, line_table};

use super::{
    flavour::Flavour,
    offsets::{Offsets, Unpublished},
    published, unpublished,
};

/// The most bytes of `_Py_DebugOffsets` in any version.
pub const MAX_SIZE: usize = 1024;

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
    let known = minor.min(LAST);
    let (Some(published), Some(missing)) = (
        published::offsets(known, flavour),
        unpublished::offsets(known, flavour),
    ) else {
        return Err(DebugOffsetsError::TooEarly(minor));
    };
    let (words, _) = bytes.as_chunks::<8>();
    if words.len() < published.words {
        return Err(DebugOffsetsError::Short(bytes.len()));
    }
    let word = |index: usize| words.get(index).map_or(0, |it| u64::from_le_bytes(*it));
    let mut offsets = published.read(word, left_out(missing));
    if offsets.code_bytecodes != 0 {
        offsets.flags |= flags::THREAD_BYTECODES;
    }
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

/// What debug offsets leave out.
fn left_out(missing: &Unpublished) -> Offsets {
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

#[cfg(test)]
mod tests {
    use super::{DebugOffsetsError, LAST, MAX_SIZE, parse};
    use crate::targets::python::{flavour::Flavour, layout, published};

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

    /// What is read of a file holds the whole structure, and each field is a word of its own in it.
    #[test]
    fn words_are_told_apart() {
        for minor in 13..=LAST {
            let published = published::offsets(minor, Flavour::default()).unwrap();
            assert!(published.words * 8 <= MAX_SIZE);
            // Each word holds its number: what is read tells where it was.
            let mut bytes = header(0x0300_00f0 | u64::from(minor) << 16, 0);
            for (index, word) in (0_u64..).zip(bytes.as_chunks_mut::<8>().0).skip(3) {
                *word = index.to_le_bytes();
            }
            let offsets = parse(minor, false, &bytes).unwrap().offsets;
            let mut found = vec![
                offsets.thread_id,
                offsets.thread_frame,
                offsets.frame_code,
                offsets.code_name,
                offsets.code_file,
                offsets.string_state,
                offsets.object_type,
            ];
            assert!(
                found
                    .iter()
                    .all(|it| (3..published.words as u64).contains(it))
            );
            found.sort_unstable();
            found.dedup();
            assert_eq!(found.len(), 7);
        }
        assert_eq!(published::offsets(LAST + 1, Flavour::default()), None);
    }
}
