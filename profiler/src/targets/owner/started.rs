//! What a process was started with.

use super::{command::program, service::Said, start::Remembered};
use crate::{id::Pid, targets::procfs};

/// Where a part of it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Where the kernel has put it, as the kernel has put it there.
    Kernel,
    /// In the interpreter, as the process has written over where the kernel had put it.
    Interpreter,
    /// Nowhere: the process has written over it.
    #[default]
    Overwritten,
}

/// What a process was started with, as far as its name goes. It lies in memory that the process may write over, as
/// `setproctitle` does to show a title; the interpreter has copies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Started {
    /// What its environment says.
    pub environment: Said,
    /// Where that was read.
    pub environment_origin: Origin,
    /// What its command is called; empty if nothing is known.
    pub command: String,
    /// Where that was read.
    pub command_origin: Origin,
}

impl Started {
    /// Reads it from the process's own memory, which can block.
    pub fn read(pid: Pid) -> Self {
        // In this order: who writes over both begins with the command line.
        let command = procfs::strings(pid, "cmdline");
        let environment = procfs::strings(pid, "environ");
        Self::new(&command, &environment, || procfs::comm(pid))
    }

    fn new(command: &[Vec<u8>], environment: &[Vec<u8>], comm: impl Fn() -> String) -> Self {
        let origin = |is_whole| {
            if is_whole {
                Origin::Kernel
            } else {
                Origin::Overwritten
            }
        };
        let is_environment_whole = is_environment(environment);
        let is_command_whole = is_environment_whole && is_command(command);
        let called = program(command).filter(|it| is_command_whole && !it.trim().is_empty());
        Self {
            // A part of it may be left.
            environment: Said::by_environment(|name| variable(environment, name)),
            environment_origin: origin(is_environment_whole),
            command: called.unwrap_or_else(comm),
            command_origin: origin(is_command_whole),
        }
    }

    /// Whether some of it was written over.
    pub fn lacks_something(&self) -> bool {
        [self.environment_origin, self.command_origin].contains(&Origin::Overwritten)
    }

    /// Takes what was written over from what the interpreter remembers.
    pub fn complete(&mut self, remembered: Remembered) {
        if self.environment_origin == Origin::Overwritten
            && let Some(environment) = remembered.environment
        {
            self.environment = environment;
            self.environment_origin = Origin::Interpreter;
        }
        if self.command_origin == Origin::Overwritten
            && let Some(command) = remembered.command
        {
            self.command = command;
            self.command_origin = Origin::Interpreter;
        }
    }
}

/// Whether these strings are an environment as the kernel lays it out: `KEY=value`, one behind the other. A title that
/// runs into it leaves its own end at the front; the rest is padding, which is empty strings, or blanks.
fn is_environment(strings: &[Vec<u8>]) -> bool {
    let Some((_, strings)) = strings.split_last().filter(|(last, _)| last.is_empty()) else {
        // It was cut, as nothing ends it: the beginning says enough.
        return strings.first().is_some_and(|it| is_variable(it));
    };
    let is_first = strings.first().is_none_or(|it| is_variable(it));
    is_first && !strings.iter().any(Vec::is_empty)
}

/// Whether a string is `KEY=value`, with a key that has no blanks.
fn is_variable(string: &[u8]) -> bool {
    let key = string.split(|&byte| byte == b'=').next();
    let is_key = |key: &[u8]| !key.is_empty() && key.iter().all(u8::is_ascii_graphic);
    key.is_some_and(|key| key.len() < string.len() && is_key(key))
}

/// Whether these strings are a command line as the kernel lays it out: each ends with a NUL, where a title is padded with
/// many, or runs on. Of an empty argument at the end nothing is known then, but that harms nobody.
fn is_command(strings: &[Vec<u8>]) -> bool {
    match strings {
        [.., before, last] => last.is_empty() && !before.is_empty(),
        _ => false,
    }
}

fn variable<'a>(environment: &'a [Vec<u8>], name: &str) -> Option<&'a [u8]> {
    environment
        .iter()
        .find_map(|it| it.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::{Origin, Started};

    fn started(command: &str, environment: &str) -> (Origin, Origin) {
        let strings = |text: &str| -> Vec<Vec<u8>> { text.split('\0').map(Into::into).collect() };
        let started = Started::new(&strings(command), &strings(environment), String::new);
        (started.command_origin, started.environment_origin)
    }

    /// What a process has written over is told by its shape, whether it pads with NULs or with blanks; what it was started
    /// with is not, however odd.
    #[test]
    fn overwriting_is_told() {
        let both = (Origin::Overwritten, Origin::Overwritten);
        for (command, environment) in [
            ("title\0\0\0", "\0\0\0"),
            ("a long title", "le\0\0\0\0"),
            ("a long title", "title with x=y\0\0\0"),
            ("title    ", "      \n"),
            ("title\0\0\0", "\0\0LANG=C\0"),
        ] {
            assert_eq!(
                started(command, environment),
                both,
                "{command:?} {environment:?}"
            );
        }
        let whole = (Origin::Kernel, Origin::Kernel);
        for (command, environment) in [
            ("python\0app.py\0", "LANG=C\0A=\0BASH_FUNC_x%%=() { a; }\0"),
            ("python\0\0app.py\0", ""),
            ("python\0", "LANG=C\0cut in the mid"),
        ] {
            assert_eq!(
                started(command, environment),
                whole,
                "{command:?} {environment:?}"
            );
        }
        let of_command = (Origin::Overwritten, Origin::Kernel);
        assert_eq!(started("title\0\0\0", "LANG=C\0"), of_command);
    }
}
