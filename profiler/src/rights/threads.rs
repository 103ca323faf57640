//! Which thread may do what. Capabilities belong to threads, and a thread that never needs one again gives it up.
//!
//! This is no boundary inside one process: an attacker who makes one thread run other code can write into the stack
//! of another. It limits what a mistake can do, such as a path that leads where the user's own
//! rights do not.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use super::findings::stand_ins;

/// What a thread is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thread {
    /// Attaches programs, changes maps, reads the procfs.
    Control,
    /// Reads the memory of processes, or the symbols of their files.
    Looker,
    /// Reads counters, the ring, and symbols of the kernel.
    Data,
    /// Waits for the end, and reads counters.
    Waiting,
    /// Talks to a server, listens to signals, or computes.
    Plain,
}

/// What it takes to read the memory and the files of any process.
const LOOK: CapabilitySet = CapabilitySet::SYS_PTRACE
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::CHECKPOINT_RESTORE);

impl Thread {
    /// What it needs, if the process has it.
    fn needs(self) -> CapabilitySet {
        match self {
            // The last three for routes of probes on kernels before 6.6, if the process was given them.
            Self::Control => {
                LOOK | CapabilitySet::BPF
                    | CapabilitySet::PERFMON
                    | CapabilitySet::SYS_ADMIN
                    | CapabilitySet::SYS_RESOURCE
                    | CapabilitySet::DAC_OVERRIDE
            }
            Self::Looker => LOOK,
            // Before 5.19, where unprivileged_bpf_disabled is set, even a lookup in a map wants CAP_BPF.
            Self::Data => CapabilitySet::BPF | CapabilitySet::SYSLOG,
            Self::Waiting => CapabilitySet::BPF,
            Self::Plain => CapabilitySet::empty(),
        }
    }
}

/// Of what a thread has, what it needs: a substitute only if what it stands for is not there.
fn kept(had: CapabilitySet, needs: CapabilitySet) -> CapabilitySet {
    let stand_in = stand_ins(needs - had);
    had & (needs | stand_in)
}

/// From now on the calling thread, and whatever thread or process it starts, has what such a thread needs, of what
/// it has now.
pub fn keep_for(thread: Thread) {
    change(|had| kept(had, thread.needs()));
}

/// The calling thread gives these up.
pub fn give_up(these: CapabilitySet) {
    change(|had| had - these);
}

/// Of each of the calling thread's sets keeps what `of` makes of it.
fn change(of: impl Fn(CapabilitySet) -> CapabilitySet) {
    let changed = || -> io::Result<()> {
        let sets = capabilities(None)?;
        let fewer = CapabilitySets {
            effective: of(sets.effective),
            permitted: of(sets.permitted),
            inheritable: of(sets.inheritable),
        };
        if fewer != sets {
            set_capabilities(None, fewer)?;
        }
        Ok(())
    };
    if let Err(error) = changed() {
        // A seccomp profile may forbid it: then there is more than is needed, and nothing breaks.
        tracing::warn!(%error, "a thread cannot give up capabilities that it does not need");
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use rustix::thread::{CapabilitySet, capabilities};

    use super::{Thread, give_up, keep_for, kept};

    /// What stands in for a capability is kept by the threads that need that, and by no other.
    #[test]
    fn substitutes() {
        let docker = CapabilitySet::DAC_OVERRIDE | CapabilitySet::SYS_PTRACE | CapabilitySet::BPF;
        let expected = CapabilitySet::DAC_OVERRIDE | CapabilitySet::SYS_PTRACE;
        assert_eq!(kept(docker, Thread::Looker.needs()), expected);
        let both = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
        let expected = CapabilitySet::DAC_READ_SEARCH;
        assert_eq!(kept(both, Thread::Looker.needs()), expected);
        let all = CapabilitySet::SYS_ADMIN;
        assert_eq!(kept(all, Thread::Waiting.needs()), all);
        assert_eq!(kept(all, Thread::Plain.needs()), CapabilitySet::empty());
    }

    fn effective() -> CapabilitySet {
        capabilities(None).unwrap().effective
    }

    /// A thread keeps what it needs of what it had; its neighbours keep all.
    #[test]
    fn threads_differ() {
        let before = effective();
        let in_thread = thread::spawn(|| {
            keep_for(Thread::Data);
            let data = effective();
            give_up(CapabilitySet::SYSLOG);
            let later = effective();
            keep_for(Thread::Plain);
            let text = fs::read_to_string("/proc/thread-self/status").unwrap();
            let sets = ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"];
            for line in text
                .lines()
                .filter(|line| sets.iter().any(|it| line.starts_with(it)))
            {
                assert!(line.ends_with("\t0000000000000000"), "{line}");
            }
            (data, later)
        });
        let (data, later) = in_thread.join().unwrap();
        assert_eq!(data, before & Thread::Data.needs());
        assert_eq!(later, data - CapabilitySet::SYSLOG);
        assert_eq!(effective(), before);
    }
}
