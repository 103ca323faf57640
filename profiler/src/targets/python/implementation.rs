//! Implementations of Python other than CPython: they are told by name, so that nobody looks for a fault.

/// What the files of each are called, up to their version.
const FILES: [(&str, &str); 6] = [
    ("libpypy", "PyPy"),
    ("pypy", "PyPy"),
    ("libpythonvm", "GraalPy"),
    ("graalpy", "GraalPy"),
    ("micropython", "MicroPython"),
    ("rustpython", "RustPython"),
];

/// What the library of `PyPy` exports under any name: its `main` calls it (`rpython/translator/c/src/entrypoint.c`).
pub(super) const PYPY_SYMBOL: &str = "pypy_main_startup";

/// The implementation whose code a mapped file holds, by the file's name.
pub(super) fn by_name(path: &str) -> Option<&'static str> {
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let file = path.rsplit('/').next().unwrap_or(path);
    let is_version = |rest: &str| {
        let rest = rest.split(".so").next().unwrap_or(rest);
        let rest = rest.strip_suffix("-c").unwrap_or(rest);
        rest.chars().all(|it| it.is_ascii_digit() || it == '.')
    };
    FILES
        .iter()
        .find(|(prefix, _)| file.strip_prefix(prefix).is_some_and(is_version))
        .map(|&(_, name)| name)
}

/// Whether a file is called as CPython is, or its library: `python3`, `python3.13d`, `libpython3.12.so.1.0`.
pub(super) fn is_cpython(path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or(path);
    let library = || file.strip_prefix("libpython3.")?.split(".so").next();
    let program = || file.strip_prefix("python3");
    let version = if file.contains(".so") {
        library()
    } else {
        program()
    };
    version.is_some_and(|it| {
        let version = it.trim_end_matches(['d', 't', 'm', 'u']);
        version.chars().all(|it| it.is_ascii_digit() || it == '.')
    })
}

#[cfg(test)]
mod tests {
    use super::{by_name, is_cpython};

    /// Programs and libraries of other implementations, and files that only begin like them.
    #[test]
    fn files_of_other_implementations() {
        for (path, name) in [
            ("/opt/pypy3.11-v7.3.20/bin/pypy3.11", Some("PyPy")),
            ("/usr/bin/pypy3-c (deleted)", Some("PyPy")),
            ("/usr/lib/libpypy3.11-c.so", Some("PyPy")),
            ("/usr/lib/libpypy-c.so.1", Some("PyPy")),
            ("/opt/graalpy/lib/libpythonvm.so", Some("GraalPy")),
            ("/usr/bin/micropython", Some("MicroPython")),
            ("/usr/bin/pypystats", None),
            ("/usr/bin/python3.12", None),
            ("[anonymous]", None),
            ("", None),
        ] {
            assert_eq!(by_name(path), name, "{path}");
        }
    }

    /// CPython's own, and what only begins like it.
    #[test]
    fn files_of_cpython() {
        for path in [
            "/usr/bin/python3",
            "/usr/bin/python3.13d",
            "/usr/lib/libpython3.12.so.1.0",
            "/usr/lib/libpython3.14t.so",
        ] {
            assert!(is_cpython(path), "{path}");
        }
        for path in [
            "/usr/bin/python3-config",
            "/usr/lib/libpython3-sugar.so",
            "/usr/lib/python3/_ssl.cpython-312.so",
            "/usr/bin/pypy3",
            "",
        ] {
            assert!(!is_cpython(path), "{path}");
        }
    }
}
