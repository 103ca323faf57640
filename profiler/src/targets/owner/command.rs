//! What a command line names.

/// The script or module that an interpreter's command line names: `python -X dev app.py` → `app`,
/// `python -m pkg.mod` → `pkg.mod`, `python /venv/bin/gunicorn app:app` → `gunicorn`.
pub fn program(command: &[Vec<u8>]) -> Option<String> {
    let mut arguments = command.iter().map(|it| String::from_utf8_lossy(it));
    let executable = stem(&arguments.next()?);
    if !executable.starts_with("python") && !executable.starts_with("pypy") {
        return Some(executable);
    }
    while let Some(argument) = arguments.next() {
        let Some(options) = argument.strip_prefix('-') else {
            return Some(stem(&argument)).filter(|it| !it.is_empty());
        };
        if options.starts_with('-') {
            // `--check-hash-based-pycs` is the only long option with a value.
            if options == "-check-hash-based-pycs" {
                arguments.next();
            }
            continue;
        }
        // Options may be joined (`-um mod`); one with a value ends the group.
        let Some(at) = options.find(['m', 'c', 'W', 'X']) else {
            continue;
        };
        let (_, option) = options.split_at(at);
        let (option, joined) = option.split_at(1);
        let value = if joined.is_empty() {
            arguments.next()?.into_owned()
        } else {
            joined.to_owned()
        };
        match option {
            "m" => return Some(value),
            "c" => return Some("python".to_owned()),
            _ => {}
        }
    }
    None
}

/// File name without folder and without `.py`.
fn stem(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.strip_suffix(".py").unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::program;

    /// Scripts, modules and launchers are told from interpreter options.
    #[test]
    fn command_lines() {
        for (command, name) in [
            ("python app.py", Some("app")),
            ("/usr/bin/python3.11 -u -X dev /srv/app.py x", Some("app")),
            ("python3 -um pkg.mod", Some("pkg.mod")),
            ("python -W error -mpkg", Some("pkg")),
            ("python -c print(1)", Some("python")),
            (
                "/venv/bin/python /venv/bin/gunicorn app:app",
                Some("gunicorn"),
            ),
            ("uwsgi --ini x", Some("uwsgi")),
            ("python", None),
        ] {
            let command: Vec<Vec<u8>> = command.split(' ').map(Into::into).collect();
            assert_eq!(program(&command).as_deref(), name, "{command:?}");
        }
        assert_eq!(program(&[]), None);
    }
}
