//! Which container a process runs in, by the path of its control group.

use std::{path::Path, sync::Arc};

use crate::id::Pid;
use crate::targets::mappings::read_bounded;

/// Bytes of `/proc/PID/cgroup` that are read.
const MAX_CGROUP: u64 = 64 << 10;
/// Hexadecimal digits of a container's id (Docker, containerd, CRI-O, Podman).
const DIGITS: usize = 64;

/// The id of a process's container; `None` if it runs in none that is known by its control group.
pub fn id(pid: Pid) -> Option<Arc<str>> {
    let text = read_bounded(Path::new(&format!("/proc/{pid}/cgroup")), MAX_CGROUP).ok()?;
    parse(&String::from_utf8_lossy(&text)).map(Arc::from)
}

/// The id in the text of `/proc/PID/cgroup`: a line `number:controllers:path` for each hierarchy of
/// version 1, and one with no controllers for version 2. Within a path the innermost counts: a container
/// may run in another.
fn parse(cgroup: &str) -> Option<&str> {
    cgroup
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .find_map(|path| path.rsplit('/').find_map(in_name))
}

/// The id in the name of one group: alone, or as `docker-ID.scope`, `cri-containerd-ID.scope`,
/// `crio-ID.scope`, `libpod-ID.scope`, `…:cri-containerd:ID`.
fn in_name(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let start = name.rfind(['-', ':']).map_or(0, |at| at + 1);
    let id = name.get(start..)?;
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (id.len() == DIGITS && id.bytes().all(is_digit)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::parse;

    /// As container runtimes name their groups, under both versions; the innermost container counts.
    #[test]
    fn groups_of_container_runtimes() {
        let id = "0123456789abcdef".repeat(4);
        let outer = "f".repeat(64);
        for path in [
            format!("0::/system.slice/docker-{id}.scope"),
            format!(
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-{id}.scope"
            ),
            format!("12:memory:/kubepods/burstable/pod0a1b-2c/{id}\n1:name=systemd:/x\n0::/"),
            format!("0::/machine.slice/libpod-{id}.scope/container"),
            format!("3:cpu:/docker/{outer}/docker/{id}"),
            format!("0::/kubelet.slice/x.slice:cri-containerd:{id}"),
        ] {
            assert_eq!(parse(&path), Some(id.as_str()), "{path}");
        }
    }

    /// Anything else is no container.
    #[test]
    fn other_groups() {
        let upper = "A".repeat(64);
        for path in [
            "0::/user.slice/user-0.slice/session-1.scope",
            "0::/",
            "",
            "no colon",
            &format!("0::/{upper}"),
            &format!("0::/{}", "a".repeat(63)),
        ] {
            assert_eq!(parse(path), None, "{path}");
        }
    }
}
