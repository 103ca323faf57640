//! What an interpreter remembers of how its process was started.

use std::collections::HashMap;

use profiler_common::walk::ReadUser as _;

use super::{command::program, interpreter::Interpreter, service::Said};

/// The variables that name a service.
const VARIABLES: [&str; 2] = ["OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"];

/// What an interpreter remembers, each as far as it has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// What `os.environ` says: a copy of the environment from when `os` was imported.
    pub environment: Option<Said>,
    /// What the command is called, by `sys.orig_argv`; before 3.10 by `sys.argv`.
    pub command: Option<String>,
}

impl Remembered {
    /// Reads it.
    pub fn read(interpreter: &Interpreter<'_>) -> Self {
        Self {
            environment: environment(interpreter),
            command: command(interpreter).and_then(|it| program(&it)),
        }
    }
}

fn environment(interpreter: &Interpreter<'_>) -> Option<Said> {
    let module = interpreter.module("os")?;
    let environ = interpreter.value(module, "environ")?;
    let data = interpreter.objects.attribute(environ, "_data")?;
    if !interpreter.is_a(data, "dict") {
        return None;
    }
    let longest = VARIABLES.map(str::len).into_iter().max()?;
    let size_at = u64::from(interpreter.objects.layout.bytes_size);
    let mut found = HashMap::new();
    for (key, value) in interpreter.objects.items(data)? {
        // Most names are told by their length, which is one read.
        let size = Some(key)
            .filter(|&key| key != 0 && value != 0)
            .and_then(|key| interpreter.objects.memory.read_u64(key + size_at));
        if !size.is_some_and(|size| VARIABLES.iter().any(|it| it.len() as u64 == size)) {
            continue;
        }
        let Some(name) = interpreter.bytes(key).filter(|it| it.len() <= longest) else {
            continue;
        };
        if let Some(value) = interpreter.bytes(value) {
            found.insert(name, value);
        }
    }
    Some(Said::by_environment(|name| {
        found.get(name.as_bytes()).map(Vec::as_slice)
    }))
}

/// The command line that the interpreter was started with.
fn command(interpreter: &Interpreter<'_>) -> Option<Vec<Vec<u8>>> {
    let module = interpreter.module("sys")?;
    let arguments = |name| {
        let list = interpreter.value(module, name)?;
        let text = |item| interpreter.text(item).unwrap_or_default().into_bytes();
        Some(interpreter.items(list).map(text).collect::<Vec<_>>())
    };
    let original = arguments("orig_argv").filter(|it| !it.is_empty());
    original.or_else(|| as_started(arguments("argv")?.into_iter().next()?))
}

/// The command line that has left this in `sys.argv[0]`: the path of what runs, or an option.
fn as_started(first: Vec<u8>) -> Option<Vec<Vec<u8>>> {
    /// What a package is run by (`python -m package`).
    const OF_PACKAGE: &[u8] = b"/__main__.py";
    let python = b"python".to_vec();
    let package = first.strip_suffix(OF_PACKAGE);
    let name = package.and_then(|it| it.rsplit(|&it| it == b'/').next());
    match (name, &*first) {
        (Some(name), _) => Some(vec![python, b"-m".to_vec(), name.to_vec()]),
        (None, b"") => None,
        (None, b"-c") => Some(vec![python, first, Vec::new()]),
        (None, _) => Some(vec![python, first]),
    }
}

#[cfg(test)]
mod tests {
    use super::as_started;
    use crate::targets::owner::command::program;

    /// What `sys.argv` begins with tells the script, and the package.
    #[test]
    fn before_there_was_an_original() {
        for (first, name) in [
            ("/venv/bin/gunicorn", Some("gunicorn")),
            ("app.py", Some("app")),
            ("/srv/shop/__main__.py", Some("shop")),
            ("-c", Some("python")),
            ("", None),
        ] {
            let started = as_started(first.into());
            assert_eq!(started.and_then(|it| program(&it)).as_deref(), name);
        }
    }
}
