//! What the host is called.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::fd::{AsFd as _, OwnedFd},
    thread,
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    system::uname,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use super::{is_namespace, open_below, root_of_first_process, sees_processes};

/// The namespace of names that the host starts with: `PROC_UTS_INIT_INO` of the kernel's
/// `include/linux/proc_ns.h`.
const FIRST_NAMESPACE: &str = "uts:[4026531838]";
/// Bytes of `/etc/hostname` that are read.
const MAX_FILE: u64 = 4_096;
/// What the kernel calls a host without a name, and names that many hosts share.
const NO_NAMES: [&str; 2] = ["", "(none)"];

/// One way to the host's name: what it is, whether what it finds is the host's for certain, and the way.
type Way = (&'static str, bool, fn() -> io::Result<String>);

/// The host's name as its first process sees it, and not as the agent does: in a container that is the
/// container's. `None` if nothing tells it. What was found, and how, goes to the log.
pub fn host_name() -> Option<String> {
    let ways: [Way; 4] = [
        ("the host name, which the agent shares", true, shared),
        (
            "the host name that the first process sees",
            true,
            of_first_process,
        ),
        ("the file /etc/hostname of the first process", true, of_file),
        ("the host name that the agent sees", false, || Ok(own())),
    ];
    for (from, is_certain, way) in ways {
        match way() {
            Ok(name) if NO_NAMES.contains(&name.as_str()) => {
                tracing::debug!(from, "the host has no name here");
            }
            Ok(name) => {
                tell(&name, from, is_certain);
                return Some(name);
            }
            Err(error) => tracing::debug!(from, %error, "does not tell what the host is called"),
        }
    }
    None
}

fn tell(name: &str, from: &str, is_certain: bool) {
    tracing::info!(host_name = name, from, "the label host_name");
    if !sees_processes() {
        tracing::warn!(
            host_name = name,
            "the host's processes are not in sight (hostPID), so this may be the name of a container: give --host-name"
        );
    } else if !is_certain {
        tracing::warn!(
            host_name = name,
            "the host's first process cannot be asked, so this may be the name of a container: give --host-name"
        );
    }
    if name == "localhost" {
        tracing::warn!(
            "this host is called localhost, as others may be, whose profiles would be taken for its own: give --host-name"
        );
    }
}

/// The agent's own, if that is the host's.
fn shared() -> io::Result<String> {
    let own_namespace = fs::read_link("/proc/self/ns/uts")?;
    let is_first = || is_namespace("/proc/self/ns/uts", FIRST_NAMESPACE);
    if fs::read_link("/proc/1/ns/uts").map_or_else(|_| is_first(), |it| it == own_namespace) {
        return Ok(own());
    }
    Err(io::Error::other("the agent has another than the host"))
}

fn own() -> String {
    uname().nodename().to_string_lossy().into_owned()
}

/// As seen by a thread that joins the namespace of the first process and ends there; needs
/// `CAP_SYS_ADMIN`.
fn of_first_process() -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = openat(CWD, "/proc/1/ns/uts", flags, Mode::empty())?;
    let joined = thread::Builder::new()
        .name("host-name".to_owned())
        .spawn(move || name_in(&namespace))?
        .join();
    joined.unwrap_or_else(|_| Err(io::Error::other("the thread that asks has panicked")))
}

/// Moves this thread.
fn name_in(namespace: &OwnedFd) -> io::Result<String> {
    let kind = LinkNameSpaceType::HostNameAndNISDomainName;
    move_into_link_name_space(namespace.as_fd(), Some(kind))?;
    Ok(own())
}

fn of_file() -> io::Result<String> {
    let root = root_of_first_process()?;
    let file = open_below(&root, "etc/hostname", OFlags::RDONLY, true)?;
    let mut text = Vec::new();
    File::from(file).take(MAX_FILE).read_to_end(&mut text)?;
    Ok(parse(&String::from_utf8_lossy(&text)))
}

/// The name in the text of `/etc/hostname` (`hostname(5)`): its first line that is no comment.
fn parse(text: &str) -> String {
    let mut lines = text.lines().map(str::trim);
    lines
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::{own, parse};

    /// Comments and empty lines of `/etc/hostname` are no names.
    #[test]
    fn file() {
        assert_eq!(parse("# by us\n\n node-1 \nx\n"), "node-1");
        assert_eq!(parse("# by us\n"), "");
        assert_eq!(parse(""), "");
    }

    /// The kernel says the same in its own file.
    #[test]
    fn own_name() {
        let told = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(own(), told.trim_end());
    }
}
