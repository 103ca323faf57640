//! Threads that run no Python: which library they are of.

use std::sync::Arc;

use crate::symbolize::{FrameKind, NamedSample};

/// Libraries that every thread begins in.
const BEGINNINGS: [&str; 6] = [
    "libc",
    "libpthread",
    "ld-linux",
    "ld-linux-x86-64",
    "ld-musl",
    "ld-musl-x86_64",
];

/// Libraries whose threads compute for others: what these call is not whose the thread is. They are the runtimes of OpenMP
/// of GCC, LLVM and Intel.
const RUNTIMES: [&str; 3] = ["libgomp", "libomp", "libiomp5"];

/// How well a sample tells which library its thread is of: most stacks of machine code are cut, as it has no frame
/// pointers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Evidence {
    /// It shows only where every thread begins, or what every thread calls.
    None,
    /// It shows a library, which another one may have called.
    Library,
    /// It shows a runtime whose threads compute for others.
    Runtime,
}

/// Threads without Python of one library and one name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NativeThreads {
    /// The library that runs them, without its version; empty if none of their frames is of a file.
    pub library: Arc<str>,
    /// Their name; those of a pool that differ in their numbers have one.
    pub thread: Arc<str>,
}

impl NativeThreads {
    /// Those that a sample is of, and how well it tells that. The outermost frame is where the thread was begun, apart from the C library; if the walk
    /// was cut, it is as near to that as is known.
    pub(super) fn of(sample: &NamedSample) -> (Self, Evidence) {
        let is_native = |kind| matches!(kind, FrameKind::Native | FrameKind::Interpreter);
        let frames = sample.stack.iter().rev().filter(|it| is_native(it.kind));
        let libraries = frames.map(|frame| library(&frame.mapping.path));
        let (mut first, mut own) = ("", None);
        for library in libraries.filter(|it| !it.is_empty()) {
            if RUNTIMES.contains(&library) {
                own = Some((library, Evidence::Runtime));
                break;
            }
            if first.is_empty() {
                first = library;
            }
            if own.is_none() && !BEGINNINGS.contains(&library) {
                own = Some((library, Evidence::Library));
            }
        }
        let (library, evidence) = own.unwrap_or((first, Evidence::None));
        let threads = Self {
            library: library.into(),
            thread: without_number(&sample.thread_name.to_text()).into(),
        };
        (threads, evidence)
    }

    /// Its row's name; with the name of the threads if there are others of the library.
    pub(super) fn title(&self, has_namesakes: bool) -> String {
        match (&*self.library, &*self.thread) {
            ("", "") => "(native threads)".to_owned(),
            ("", thread) => format!("(native threads: {thread})"),
            (library, thread) if has_namesakes && !thread.is_empty() => {
                format!("(native threads: {library}, {thread})")
            }
            (library, _) => format!("(native threads: {library})"),
        }
    }
}

/// The name of a file without what tells one build of it from another: folder, version, ABI, and the hash that
/// `auditwheel` puts there (`libgomp-a34b3233.so.1.0.0`). Empty for memory without a file.
fn library(path: &str) -> &str {
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    if path.starts_with('[') {
        return "";
    }
    let file = path.rsplit('/').next().unwrap_or(path);
    let Some((name, _)) = file.split_once(".so") else {
        return file;
    };
    let name = name.split_once(".cpython-").map_or(name, |(name, _)| name);
    let name = name.strip_suffix(".abi3").unwrap_or(name);
    match name.rsplit_once('-') {
        Some((name, hash)) if hash.len() == 8 && hash.chars().all(|it| it.is_ascii_hexdigit()) => {
            name
        }
        // As older C libraries are called: `libc-2.31.so`.
        Some((name, version)) if version.starts_with(|it: char| it.is_ascii_digit()) => name,
        _ => name,
    }
}

/// The name of a thread, `*` in place of the number at its end.
fn without_number(name: &str) -> String {
    let base = name.trim_end_matches(|it: char| it.is_ascii_digit());
    if base.len() == name.len() {
        return name.to_owned();
    }
    format!("{base}*")
}

#[cfg(test)]
mod tests {
    use super::{NativeThreads, library};
    use crate::{
        join::Attribution,
        profile::samples::{frame_of, sample},
    };

    /// What tells one build of a library from another is left out.
    #[test]
    fn libraries() {
        for (path, name) in [
            ("/venv/lib/torch/lib/libgomp-a34b3233.so.1.0.0", "libgomp"),
            ("/usr/lib/x86_64-linux-gnu/libc-2.31.so", "libc"),
            ("/usr/lib/libstdc++.so.6 (deleted)", "libstdc++"),
            ("/venv/_core.cpython-312-x86_64-linux-gnu.so", "_core"),
            ("/venv/polars/polars.abi3.so", "polars"),
            ("/usr/lib/libtorch_cpu.so", "libtorch_cpu"),
            ("/usr/bin/python3.12", "python3.12"),
            ("[anonymous]", ""),
            ("[vdso]", ""),
        ] {
            assert_eq!(library(path), name);
        }
    }

    /// The library is that of the outermost frame outside the C library, whatever is called from there.
    #[test]
    fn the_outermost_library_counts() {
        let threads = |paths: &[&str]| {
            let mut sample = sample(&[], Attribution::NativeThread);
            sample.stack = paths.iter().map(|path| frame_of(path)).collect();
            NativeThreads::of(&sample).0.title(false)
        };
        let [torch, gomp, c] = ["/a/libtorch_cpu.so", "/a/libgomp.so.1", "/lib/libc.so.6"];
        assert_eq!(threads(&[torch, gomp, c]), "(native threads: libgomp)");
        assert_eq!(threads(&[c, torch, gomp, c]), "(native threads: libgomp)");
        assert_eq!(threads(&[gomp, torch, c]), "(native threads: libgomp)");
        assert_eq!(threads(&[torch]), "(native threads: libtorch_cpu)");
        assert_eq!(threads(&[c, c]), "(native threads: libc)");
        assert_eq!(threads(&["[anonymous]"]), "(native threads: worker)");
    }
}
