//! The kernel's ways to put a program on instructions of a file.

use std::fmt;

/// A way to put a program on instructions of a file, for all processes that map it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// Links of the kind `uprobe_multi`, from Linux 6.6 on: `CAP_BPF` and `CAP_PERFMON`.
    Multi,
    /// Events of perf's kind `uprobe`: `CAP_PERFMON`, and since CVE-2025-38466 `CAP_SYS_ADMIN`.
    Perf,
    /// Events that are made through tracefs: it must be mounted, and open for writing.
    Tracefs,
}

impl Route {
    /// Every one, in the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::Multi, Self::Perf, Self::Tracefs];

    /// The programs that go on starts and on ends.
    pub(super) fn programs(self) -> Programs {
        match self {
            Self::Multi => Programs {
                start: "span_start_multi",
                end: "span_end_multi",
            },
            Self::Perf | Self::Tracefs => Programs {
                start: "span_start",
                end: "span_end",
            },
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Multi => "uprobe_multi links",
            Self::Perf => "perf uprobes",
            Self::Tracefs => "tracefs uprobes",
        })
    }
}

/// Names of the programs of a route.
#[derive(Clone, Copy, Debug)]
pub(super) struct Programs {
    pub(super) start: &'static str,
    pub(super) end: &'static str,
}
