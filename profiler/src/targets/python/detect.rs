//! Is this file a CPython, and which? Answered from the file alone.

use std::{ops::Range, sync::Arc};

use profiler_common::python::PythonLayout;

use super::{
    alone, debug_offsets,
    debug_offsets::DebugOffsetsError,
    flavour::Flavour,
    layout,
    layout::LayoutError,
    offsets::Offsets,
    tables,
    thread_local::{self, ThreadLocal},
};
use crate::targets::elf::{Elf, ElfError, Segment, Symbol};

/// Bytes of read-only data searched for a version string.
const MAX_STRINGS: usize = 16 << 20;

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detection {
    /// A CPython that can be profiled.
    Found(Arc<Facts>),
    /// Not a CPython: it has no `_PyRuntime`.
    NotPython,
    /// A CPython that cannot be profiled.
    Unsupported(Unsupported),
}

/// Why a CPython cannot be profiled.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unsupported {
    /// Its version is not known to this agent.
    #[error("CPython {0}.{1} is not supported: 3.8 and later are")]
    Version(u8, u8),
    /// Nothing in the file says which version it is.
    #[error(
        "the version of this CPython cannot be told: it is older than 3.11, and its strings were removed"
    )]
    VersionUnknown,
    /// It has no `PyCode_Type` to check code objects against.
    #[error("PyCode_Type is not exported: link the interpreter with --export-dynamic")]
    NoCodeType,
    /// Its `_PyRuntime` is not in the file.
    #[error("the file does not hold the data of _PyRuntime")]
    NoRuntimeData,
    /// A build that puts two more words in front of every object.
    #[error("builds with Py_TRACE_REFS are not supported: use one without --with-trace-refs")]
    TraceRefs,
    /// Its debug offsets are not followed.
    #[error(transparent)]
    DebugOffsets(#[from] DebugOffsetsError),
    /// Its layout fails the checks.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The file is damaged.
    #[error(transparent)]
    Elf(#[from] ElfError),
}

/// What a file with a CPython says. Addresses are those in the file, without a load bias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Major, minor and micro version.
    pub version: (u8, u8, u8),
    /// Where the version was found.
    pub version_source: VersionSource,
    /// How it was built.
    pub flavour: Flavour,
    /// How its offsets are known.
    pub offsets_source: OffsetsSource,
    /// Where it keeps what the walk needs.
    pub layout: PythonLayout,
    /// `_PyRuntime`.
    pub runtime: u64,
    /// `PyCode_Type`.
    pub code_type: u64,
    /// `_PyEval_EvalFrameDefault`; empty if it is not exported.
    pub evaluation_loop: Range<u64>,
    /// Whether the file holds CPython and nothing else, as far as can be told.
    pub is_alone: bool,
    /// Whether `.symtab` is gone.
    pub stripped: bool,
    /// Whether it can be loaded anywhere.
    pub relocatable: bool,
    /// Its GNU build id in lower-case hex; empty if there is none.
    pub build_id: Arc<str>,
    /// Its loadable segments.
    pub segments: Arc<[Segment]>,
    /// Offset of `sys.modules` in `PyInterpreterState`.
    pub interpreter_modules: u64,
    /// Offset in `PyInterpreterState` of the cache of functions by version, behind
    /// [`Self::interpreter_code_version`]; 0 if there is none.
    pub interpreter_version_cache: u64,
    /// Offset of `PyInterpreterState.func_state.next_version` (3.13 and later), 0 if an interpreter has no count of
    /// its own.
    pub interpreter_code_version: u64,
    /// `_Py_next_func_version`, the process's count of code objects made (3.12, unless its file was
    /// stripped); `None` if there is none.
    pub code_counter: Option<u64>,
    /// How its code reaches the thread-local with the state that a thread has attached (3.12 and later); `None`
    /// where that is not understood.
    pub thread_local: Option<ThreadLocal>,
    /// What the way to the current span needs of it; `None` if it is not all there.
    pub objects: Option<Objects>,
}

/// Objects of the interpreter that the current span is checked against. Addresses as in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Objects {
    /// `_Py_NoneStruct`.
    pub none: u64,
    /// `_Py_TrueStruct`.
    pub truth: u64,
    /// `PyContextVar_Type`.
    pub variable_type: u64,
    /// The names `hamt_bitmap_node`, `hamt_array_node` and `hamt_collision_node`: their types are
    /// not exported, and are found by them.
    pub node_names: [u64; 3],
}

/// Where the version of a CPython was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionSource {
    /// `Py_Version`, since 3.11.
    Symbol,
    /// A version string in its read-only data.
    String,
}

impl VersionSource {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Symbol => "Py_Version",
            Self::String => "version string",
        }
    }
}

/// How the offsets of a CPython are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetsSource {
    /// From the headers of its version, checked against running interpreters.
    Table,
    /// It publishes them, in a form that was checked against running interpreters.
    Published,
    /// It publishes them and they are plausible, but no interpreter like it was there to check.
    Unverified,
}

impl OffsetsSource {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Published => "debug offsets",
            Self::Unverified => "debug offsets, unverified",
        }
    }
}

/// Looks at one file.
pub fn detect(elf: &Elf<'_>) -> Detection {
    let names = [
        "_PyRuntime",
        "PyCode_Type",
        "_PyEval_EvalFrameDefault",
        "Py_Version",
    ];
    match elf.dynamic_symbols(names) {
        Ok([Some(runtime), code_type, evaluation, version]) => {
            match facts(elf, runtime, code_type, evaluation, version) {
                Ok(facts) => Detection::Found(Arc::new(facts)),
                Err(reason) => Detection::Unsupported(reason),
            }
        }
        // A file whose symbols cannot be read is not known to be a Python.
        Ok([None, ..]) | Err(_) => Detection::NotPython,
    }
}

fn facts(
    elf: &Elf<'_>,
    runtime: Symbol,
    code_type: Option<Symbol>,
    evaluation: Option<Symbol>,
    version: Option<Symbol>,
) -> Result<Facts, Unsupported> {
    let (version, version_source) = find_version(elf, version)?;
    let code_type = code_type.ok_or(Unsupported::NoCodeType)?;
    // Exported only with `Py_REF_DEBUG`, which `Py_DEBUG` implies (`Include/object.h`).
    let [debug] = elf.dynamic_symbols(["_Py_NegativeRefcount"])?;
    // With `Py_TRACE_REFS` two links come first in an object, empty in the file, else its count, which
    // is not. From 3.13 on they are kept elsewhere.
    let first_word = elf.bytes(code_type.address, 8);
    if version < (3, 13, 0) && first_word.is_some_and(|word| word == [0; 8]) {
        return Err(Unsupported::TraceRefs);
    }
    let offsets = find_offsets(elf, runtime, version, debug.is_some())?;
    Ok(Facts {
        version,
        version_source,
        flavour: offsets.flavour,
        offsets_source: offsets.source,
        layout: layout::validate(&offsets.offsets)?,
        runtime: runtime.address,
        code_type: code_type.address,
        evaluation_loop: evaluation
            .map_or(0..0, |it| it.address..it.address.saturating_add(it.size)),
        is_alone: alone::is_alone(elf),
        stripped: elf.is_stripped(),
        relocatable: elf.is_relocatable(),
        build_id: elf.build_id().unwrap_or_default().into(),
        segments: elf.segments().into(),
        interpreter_modules: offsets.offsets.interpreter_modules,
        interpreter_version_cache: offsets.offsets.interpreter_version_cache,
        interpreter_code_version: offsets.offsets.interpreter_code_version,
        code_counter: code_counter(elf, version),
        thread_local: (version >= (3, 12, 0))
            .then(|| thread_local::find(elf))
            .flatten(),
        objects: objects(elf),
    })
}

/// Before 3.12 code objects are not counted; from 3.13 on each interpreter counts its own.
fn code_counter(elf: &Elf<'_>, (major, minor, _): (u8, u8, u8)) -> Option<u64> {
    if (major, minor) != (3, 12) {
        return None;
    }
    let [counter] = elf.static_symbols(["_Py_next_func_version"]).ok()?;
    counter.map(|it| it.address)
}

/// Offsets, and how they are known.
struct Found {
    offsets: Offsets,
    flavour: Flavour,
    source: OffsetsSource,
}

fn find_offsets(
    elf: &Elf<'_>,
    runtime: Symbol,
    version: (u8, u8, u8),
    debug: bool,
) -> Result<Found, Unsupported> {
    let (major, minor, _) = version;
    let unsupported = Unsupported::Version(major, minor);
    match (major, minor) {
        (3, ..13) => {
            let flavour = Flavour {
                free_threaded: false,
                debug,
            };
            Ok(Found {
                offsets: tables::offsets(minor, flavour).ok_or(unsupported)?.clone(),
                flavour,
                source: OffsetsSource::Table,
            })
        }
        (3, _) => {
            let bytes = elf
                .bytes(runtime.address, debug_offsets::MAX_SIZE as u64)
                .ok_or(Unsupported::NoRuntimeData)?;
            let parsed = debug_offsets::parse(minor, debug, bytes)?;
            let flavour = Flavour {
                free_threaded: parsed.free_threaded,
                debug,
            };
            // Of the builds without the GIL only 3.13's was ever at hand.
            let is_verified = parsed.is_known && (!flavour.free_threaded || minor == 13);
            Ok(Found {
                offsets: parsed.offsets,
                flavour,
                source: if is_verified {
                    OffsetsSource::Published
                } else {
                    OffsetsSource::Unverified
                },
            })
        }
        _ => Err(unsupported),
    }
}

/// The objects by their symbols, and the node types' names by their place in the read-only data.
fn objects(elf: &Elf<'_>) -> Option<Objects> {
    let names = ["_Py_NoneStruct", "_Py_TrueStruct", "PyContextVar_Type"];
    let [none, truth, variable_type] = elf.dynamic_symbols(names).ok()?;
    let (start, strings) = elf.section(".rodata")?;
    let strings = strings.get(..strings.len().min(MAX_STRINGS))?;
    let find = |name: &str| {
        let name = format!("{name}\0");
        // The linker keeps a string that ends another one only once: what precedes does not matter.
        let at = memchr::memmem::find(strings, name.as_bytes())?;
        Some(start + u64::try_from(at).ok()?)
    };
    Some(Objects {
        none: none?.address,
        truth: truth?.address,
        variable_type: variable_type?.address,
        node_names: [
            find("hamt_bitmap_node")?,
            find("hamt_array_node")?,
            find("hamt_collision_node")?,
        ],
    })
}

fn find_version(
    elf: &Elf<'_>,
    symbol: Option<Symbol>,
) -> Result<((u8, u8, u8), VersionSource), Unsupported> {
    if let Some(bytes) = symbol.and_then(|symbol| elf.bytes(symbol.address, 8))
        && let [_, micro, minor, major, ..] = *bytes
    {
        return Ok(((major, minor, micro), VersionSource::Symbol));
    }
    let (_, strings) = elf.section(".rodata").ok_or(Unsupported::VersionUnknown)?;
    let strings = strings
        .get(..strings.len().min(MAX_STRINGS))
        .unwrap_or_default();
    version_in(strings)
        .map(|version| (version, VersionSource::String))
        .ok_or(Unsupported::VersionUnknown)
}

/// The version in read-only data before 3.11. `PY_VERSION` (`3.10.13`) alone is not enough, it
/// could be that of something else: the folder of the library (`python3.10`) must be there too.
fn version_in(data: &[u8]) -> Option<(u8, u8, u8)> {
    let strings = || {
        data.split(|&byte| byte == 0)
            .filter_map(|it| str::from_utf8(it).ok())
    };
    let folders: Vec<u8> = strings()
        .filter_map(|it| it.rsplit_once("python3.")?.1.parse().ok())
        .collect();
    strings()
        .filter_map(version_string)
        .find(|(_, minor, _)| folders.contains(minor))
}

/// `PY_VERSION` at the end of a string, because linkers keep a string that ends another one only
/// once (3.10.13 of pyenv has it in `…/versions/3.10.13`): `3.10.13`, `3.10.0rc1`, `3.10.13+`.
fn version_string(string: &str) -> Option<(u8, u8, u8)> {
    let start = string
        .rfind(|it: char| !it.is_ascii_alphanumeric() && it != '.' && it != '+')
        .map_or(0, |at| at + 1);
    let mut parts = string.get(start..)?.strip_prefix("3.")?.split('.');
    let minor: u8 = parts.next()?.parse().ok()?;
    let micro = parts.next()?;
    let digits = micro
        .find(|it: char| !it.is_ascii_digit())
        .unwrap_or(micro.len());
    let (micro, suffix) = micro.split_at(digits);
    let known = minor <= 10 && matches!(suffix.chars().next(), None | Some('a' | 'b' | 'r' | '+'));
    (known && parts.next().is_none()).then_some((3, minor, micro.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{version_in, version_string};

    /// Release, candidate and development versions are read; anything else is not one.
    #[test]
    fn version_strings() {
        assert_eq!(version_string("3.10.13"), Some((3, 10, 13)));
        assert_eq!(version_string("/opt/versions/3.10.13"), Some((3, 10, 13)));
        assert_eq!(version_string("3.10.0rc2"), Some((3, 10, 0)));
        assert_eq!(version_string("3.10.4+"), Some((3, 10, 4)));
        for other in ["3.10", "13.0.0", "3.10.x", "3.10.1.2", "13.10.1", ""] {
            assert_eq!(version_string(other), None, "{other}");
        }
    }

    /// A version counts only beside the folder of its library.
    #[test]
    fn a_version_needs_its_folder() {
        assert_eq!(
            version_in(b"\x003.9.1\x003.10.2\x00lib/python3.10\x00"),
            Some((3, 10, 2))
        );
        assert_eq!(version_in(b"\x003.9.1\x00"), None);
    }
}
