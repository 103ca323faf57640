//! Is this file a CPython, and which? Answered from the file alone.

use std::{ops::Range, sync::Arc};

use profiler_common::python::PythonLayout;

use super::{
    alone, debug_offsets,
    debug_offsets::DebugOffsetsError,
    flavour::Flavour,
    global::{Global, globals},
    implementation, layout,
    layout::LayoutError,
    objects::{self, Objects},
    offsets::Offsets,
    tables,
    thread_local::{self, ThreadLocal},
    version::{self, Version, VersionSource},
};
use crate::{
    arch::{Architecture as _, Machine},
    targets::elf::{Elf, ElfError, Segment},
};

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detection {
    /// A CPython that can be profiled.
    Found(Arc<Facts>),
    /// Not a CPython, as far as can be told: it has no `_PyRuntime`.
    NotPython,
    /// A CPython that cannot be profiled.
    Unsupported(Unsupported),
}

/// Why a CPython cannot be profiled.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unsupported {
    /// It is another implementation of Python.
    #[error("it runs {0}, and only CPython is profiled")]
    Implementation(&'static str),
    /// It maps a file that is called like a CPython, and neither the file nor the process's memory can be read.
    #[error("its interpreter seems to be {0}: {1}")]
    Unreadable(Arc<str>, ElfError),
    /// Its version is not known to this agent.
    #[error("CPython {0}.{1} is not supported: 3.8 and later are")]
    Version(u8, u8),
    /// Nothing in the file says which version it is.
    #[error(
        "the version of this CPython cannot be told: neither a symbol nor a string of its file says it"
    )]
    VersionUnknown,
    /// It has no `PyCode_Type` to check code objects against.
    #[error(
        "nothing says where its PyCode_Type is: it is not exported, and the symbols were removed (link it with --export-dynamic, or do not strip it)"
    )]
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
    pub version: Version,
    /// Where the version was found.
    pub version_source: VersionSource,
    /// How it was built.
    pub flavour: Flavour,
    /// How its offsets are known.
    pub offsets_source: OffsetsSource,
    /// Where it keeps what the walk needs.
    pub layout: PythonLayout,
    /// `_PyRuntime`.
    pub runtime: Global,
    /// `PyCode_Type`.
    pub code_type: Global,
    /// `_PyEval_EvalFrameDefault`; empty if no symbol says where it is.
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

/// The section that holds `_PyRuntime` and nothing else, since 3.10 (`Python/pylifecycle.c`).
const RUNTIME_SECTION: &str = ".PyRuntime";

/// Looks at one file.
pub fn detect(elf: &Elf<'_>) -> Detection {
    match elf.dynamic_symbols(["_PyRuntime", implementation::PYPY_SYMBOL]) {
        // A program that has a copy of a library's `_PyRuntime`: the library is the interpreter.
        Ok([Some(runtime), _])
            if elf.relocation(runtime.address) == Some(Machine::COPY_OF_SYMBOL) =>
        {
            Detection::NotPython
        }
        Ok([Some(runtime), _]) => found(elf, runtime.address),
        Ok([None, Some(_)]) => Detection::Unsupported(Unsupported::Implementation("PyPy")),
        // A program that embeds CPython may export the public functions only, or nothing.
        Ok([None, None]) => match elf.section(RUNTIME_SECTION) {
            Some((runtime, _)) => found(elf, runtime),
            None => Detection::NotPython,
        },
        // A file whose symbols cannot be read is not known to be a Python.
        Err(_) => Detection::NotPython,
    }
}

fn found(elf: &Elf<'_>, runtime: u64) -> Detection {
    match facts(elf, runtime) {
        Ok(facts) => Detection::Found(Arc::new(facts)),
        Err(reason) => Detection::Unsupported(reason),
    }
}

fn facts(elf: &Elf<'_>, runtime: u64) -> Result<Facts, Unsupported> {
    let [evaluation, version] = elf.symbols(["_PyEval_EvalFrameDefault", "Py_Version"])?;
    let (version, version_source) =
        version::find(elf, version).ok_or(Unsupported::VersionUnknown)?;
    let [code_type] = globals(elf, ["PyCode_Type"])?;
    let code_type = code_type.ok_or(Unsupported::NoCodeType)?;
    let debug = is_debug(elf)?;
    if has_links(elf, version, code_type.address) {
        return Err(Unsupported::TraceRefs);
    }
    let offsets = find_offsets(elf, runtime, version, debug)?;
    let [word] = elf.words_of_symbols(["_PyRuntime"])?;
    Ok(Facts {
        version,
        version_source,
        flavour: offsets.flavour,
        offsets_source: offsets.source,
        layout: layout::validate(&offsets.offsets)?,
        runtime: Global {
            address: runtime,
            word,
        },
        code_type,
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
        objects: objects::find(elf),
    })
}

/// Whether it was built with `Py_DEBUG`.
fn is_debug(elf: &Elf<'_>) -> Result<bool, ElfError> {
    // There only with `Py_REF_DEBUG`, which `Py_DEBUG` implies (`Include/object.h`).
    let [_, symbol] = elf.symbols(["PyCode_Type", "_Py_NegativeRefcount"])?;
    Ok(symbol.is_some())
}

/// Whether two links come first in an object, as with `Py_TRACE_REFS`: they are empty in the file, where else an
/// object's count is, which is not. From 3.13 on they are kept elsewhere.
fn has_links(elf: &Elf<'_>, version: Version, object: u64) -> bool {
    let first_word = elf.bytes(object, 8);
    version < (3, 13, 0) && first_word.is_some_and(|word| word == [0; 8])
}

/// Before 3.12 code objects are not counted; from 3.13 on each interpreter counts its own.
fn code_counter(elf: &Elf<'_>, (major, minor, _): Version) -> Option<u64> {
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
    runtime: u64,
    (major, minor, _): Version,
    debug: bool,
) -> Result<Found, Unsupported> {
    let unsupported = Unsupported::Version(major, minor);
    match (major, minor) {
        (3, ..13) => in_table(minor, debug).ok_or(unsupported),
        (3, _) => published(elf, runtime, minor, debug),
        _ => Err(unsupported),
    }
}

/// Those of a version before 3.13, which publishes none.
fn in_table(minor: u8, debug: bool) -> Option<Found> {
    let flavour = Flavour {
        free_threaded: false,
        debug,
    };
    Some(Found {
        offsets: tables::offsets(minor, flavour)?.clone(),
        flavour,
        source: OffsetsSource::Table,
    })
}

/// Those that the file itself publishes.
fn published(elf: &Elf<'_>, runtime: u64, minor: u8, debug: bool) -> Result<Found, Unsupported> {
    let bytes = elf
        .bytes(runtime, debug_offsets::MAX_SIZE as u64)
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
