//! The span programs on the sites of files, by the first of the kernel's ways that works.
//!
//! Which rights a kernel demands has changed with versions and fixes, and will again. So the agent tries each way, in
//! order, and if none works it reports the reasons of all.

mod tracefs;

use std::{
    collections::HashMap,
    error::Error,
    fmt,
    io::{self, Write as _},
    iter,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use aya::{
    Ebpf,
    programs::{
        Program, ProgramError, UProbe,
        uprobe::{UProbeLinkId, UProbeScope},
    },
    sys::{UProbeMultiFeature, is_uprobe_multi_supported},
};
use rustix::{
    fs::{MemfdFlags, memfd_create},
    io::Errno,
};

use self::tracefs::TraceProbe;
pub(super) use self::tracefs::events_of_tracefs;
use super::{
    SpanProbeSites,
    error::{LoadError, error_chain},
    program::load_program,
};
use crate::arch::{Architecture as _, Machine};

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
    fn programs(self) -> Programs {
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
struct Programs {
    start: &'static str,
    end: &'static str,
}

/// Why no route puts probes on a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", told(.0))]
pub struct NoRoute(Vec<(Route, Reason)>);

impl NoRoute {
    /// Nothing but this route was tried.
    pub(crate) fn by(route: Route, error: &io::Error) -> Self {
        Self(vec![(route, Reason::of(route, error))])
    }

    /// Whether one of the routes may work a moment later.
    pub fn may_pass(&self) -> bool {
        self.0.iter().any(|(_, reason)| reason.may_pass)
    }
}

fn told(refused: &[(Route, Reason)]) -> String {
    let each = refused
        .iter()
        .map(|(route, reason)| format!("{route}: {reason}"));
    each.collect::<Vec<_>>().join("; ")
}

/// Why a route does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reason {
    words: String,
    /// Whether it is want of something, such as memory or descriptors, and not a matter of rights or of the kernel.
    may_pass: bool,
}

impl Reason {
    /// What has kept a route from working, and what would help.
    fn of(route: Route, error: &(dyn Error + 'static)) -> Self {
        let number = os_error(error);
        let lasts = [
            Errno::ACCESS,
            Errno::PERM,
            Errno::INVAL,
            Errno::OPNOTSUPP,
            // What the verifier says of a program that is too much for it.
            Errno::TOOBIG,
        ];
        Self {
            words: in_words(route, &error_chain(error), number),
            // What has no number the agent says itself, and will again.
            may_pass: number.is_some_and(|number| !lasts.contains(&number)),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.words)
    }
}

/// The span programs.
#[derive(Debug)]
pub(super) struct Probes {
    routes: Vec<Route>,
    /// Routes that are not tried again: this kernel does not have them, or refuses their programs.
    never: HashMap<Route, Reason>,
    /// The route that has worked last.
    worked: Option<Route>,
    /// Events made so far, each of which needs a name.
    next_event: u64,
}

/// What is on one file; the programs' links stay until they are taken off.
#[derive(Debug)]
pub(super) struct Attached(Vec<Link>);

#[derive(Debug)]
enum Link {
    /// By a program of the object.
    Program {
        program: &'static str,
        id: UProbeLinkId,
    },
    /// By an event of tracefs, which is removed when this is dropped.
    Event { _probe: TraceProbe },
}

impl Probes {
    /// By these routes alone.
    pub(super) fn new(routes: &[Route]) -> Self {
        Self {
            routes: routes.to_vec(),
            never: HashMap::new(),
            worked: None,
            next_event: 0,
        }
    }

    /// Loads the programs of the first route that the kernel takes, so that it is told at the start what it refuses.
    /// Samples are taken without them, too.
    pub(super) fn load(&mut self, ebpf: &mut Ebpf) {
        for route in self.routes.clone() {
            if self.ask_for(route).is_err() {
                continue;
            }
            match self.load_programs(ebpf, route) {
                Ok(()) => return,
                Err(reason) => {
                    tracing::warn!(%reason, "the span programs for {route} cannot be loaded");
                }
            }
        }
    }

    /// Puts the programs on the sites of a file, by the first route that works.
    pub(super) fn attach(
        &mut self,
        ebpf: &mut Ebpf,
        file: BorrowedFd<'_>,
        sites: &SpanProbeSites,
    ) -> Result<Attached, NoRoute> {
        let mut refused = Vec::new();
        for route in self.routes.clone() {
            match self.attach_by(route, ebpf, file, sites) {
                Ok(attached) => {
                    if self.worked.replace(route) != Some(route) {
                        tracing::info!("span probes are put on by {route}");
                    }
                    return Ok(attached);
                }
                Err(reason) => refused.push((route, reason)),
            }
        }
        Err(NoRoute(refused))
    }

    /// Which route works, tried on a file of our own that no process executes.
    pub(super) fn find_route(&mut self, ebpf: &mut Ebpf) -> Result<Route, NoRoute> {
        let (file, _path) = file_of_nops().map_err(|error| {
            let reason = format!("there is no file to try it on: {error}");
            NoRoute::by(Route::Multi, &io::Error::new(error.kind(), reason))
        })?;
        let sites = SpanProbeSites {
            span_start: vec![0],
            span_end: vec![Machine::NOP.len() as u64],
            on_long_nops: false,
        };
        let attached = self.attach(ebpf, file.as_fd(), &sites)?;
        detach(ebpf, attached);
        // The first probe that was attached has decided the route.
        Ok(self.worked.unwrap_or(Route::Multi))
    }

    /// Whether the kernel has a route, as far as it must be asked; only that it has none is a lasting answer.
    fn ask_for(&mut self, route: Route) -> Result<(), Reason> {
        if let Some(reason) = self.never.get(&route) {
            return Err(reason.clone());
        }
        if route != Route::Multi {
            return Ok(());
        }
        match is_uprobe_multi_supported(UProbeMultiFeature::LinkCreation) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let reason = Reason {
                    words: "the kernel has none: Linux 6.6 and later do".to_owned(),
                    may_pass: false,
                };
                self.never.insert(route, reason.clone());
                Err(reason)
            }
            Err(error) => Err(Reason::of(route, &error)),
        }
    }

    /// Loads the programs of a route, unless they are; those that the kernel refuses are not shown to it again.
    fn load_programs(&mut self, ebpf: &mut Ebpf, route: Route) -> Result<(), Reason> {
        load(ebpf, route).map_err(|error| {
            tracing::debug!("{}", error_chain(&error));
            let mut reason = Reason::of(route, &error);
            reason.words = shortened(&reason.words);
            if !reason.may_pass {
                self.never.insert(route, reason.clone());
            }
            reason
        })
    }

    /// By one route; on an error nothing is on.
    fn attach_by(
        &mut self,
        route: Route,
        ebpf: &mut Ebpf,
        file: BorrowedFd<'_>,
        sites: &SpanProbeSites,
    ) -> Result<Attached, Reason> {
        self.ask_for(route)?;
        self.load_programs(ebpf, route)?;
        let programs = route.programs();
        let mut attached = Attached(Vec::new());
        // Ends first: a start without its end would stay open.
        for (program, sites) in [
            (programs.end, &sites.span_end),
            (programs.start, &sites.span_start),
        ] {
            let done = match route {
                Route::Multi | Route::Perf => link(ebpf, program, file, sites, &mut attached),
                Route::Tracefs => self.trace(ebpf, program, file, sites, &mut attached),
            };
            if let Err(error) = done {
                detach(ebpf, attached);
                return Err(Reason::of(route, &*error));
            }
        }
        Ok(attached)
    }

    fn trace(
        &mut self,
        ebpf: &mut Ebpf,
        program: &'static str,
        file: BorrowedFd<'_>,
        sites: &[u64],
        attached: &mut Attached,
    ) -> Result<(), Box<dyn Error>> {
        let program = uprobe(ebpf, program)?.fd()?.as_fd();
        for &site in sites {
            let number = self.next_event;
            self.next_event += 1;
            let probe = TraceProbe::put_on(program, file, site, number)?;
            attached.0.push(Link::Event { _probe: probe });
        }
        Ok(())
    }
}

/// Takes programs off again, the last attached first.
pub(super) fn detach(ebpf: &mut Ebpf, attached: Attached) {
    for link in attached.0.into_iter().rev() {
        if let Link::Program { program, id } = link
            && let Some(Program::UProbe(probe)) = ebpf.program_mut(program)
            && let Err(error) = probe.detach(id)
        {
            tracing::warn!(%error, "cannot take off the probe {program}");
        }
    }
}

/// Takes the programs off all their sites, starts first: an end that is seen without its start is harmless.
pub(super) fn unload(ebpf: &mut Ebpf, attached: impl Iterator<Item = Attached>) {
    let programs = Route::ALL.map(Route::programs);
    let starts = programs.iter().map(|it| it.start);
    for program in starts.chain(programs.iter().map(|it| it.end)) {
        if let Some(Program::UProbe(probe)) = ebpf.program_mut(program) {
            // Not loaded: then it is nowhere.
            let _ = probe.unload();
        }
    }
    // Events are not the programs'.
    for mut attached in attached {
        while attached.0.pop().is_some() {}
    }
}

/// Loads the programs of a route, unless they are.
fn load(ebpf: &mut Ebpf, route: Route) -> Result<(), LoadError> {
    let programs = route.programs();
    for program in [programs.start, programs.end] {
        match load_program::<UProbe>(ebpf, program, UProbe::load) {
            Ok(_)
            | Err(LoadError::Program {
                error: ProgramError::AlreadyLoaded,
                ..
            }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn uprobe<'a>(ebpf: &'a mut Ebpf, program: &'static str) -> Result<&'a mut UProbe, Box<dyn Error>> {
    let program = ebpf
        .program_mut(program)
        .ok_or(LoadError::Missing(program))?;
    Ok(program.try_into()?)
}

/// One link, or one event a site, as the program's kind has it.
fn link(
    ebpf: &mut Ebpf,
    program: &'static str,
    file: BorrowedFd<'_>,
    sites: &[u64],
    attached: &mut Attached,
) -> Result<(), Box<dyn Error>> {
    let probe = uprobe(ebpf, program)?;
    let path = path_of(file);
    let id = probe.attach(sites.iter().copied(), path, UProbeScope::AllProcesses)?;
    attached.0.push(Link::Program { program, id });
    Ok(())
}

/// The verifier's words are as long as the program that it has followed; what it refuses stands at their end.
fn shortened(words: &str) -> String {
    const MOST: usize = 300;
    let count = words.chars().count();
    if count <= 2 * MOST {
        return words.to_owned();
    }
    let (start, end) = (words.chars().take(MOST), words.chars().skip(count - MOST));
    start.chain(" … ".chars()).chain(end).collect()
}

/// What was said, and what would help.
fn in_words(route: Route, said: &str, number: Option<Errno>) -> String {
    let is_refused = matches!(number, Some(Errno::ACCESS | Errno::PERM));
    match route {
        Route::Perf if is_refused => {
            format!(
                "{said}: kernels mended for CVE-2025-38466 (since July 2025) want CAP_SYS_ADMIN for them"
            )
        }
        Route::Tracefs if is_refused => {
            format!("{said}: they want tracefs mounted writable, and CAP_DAC_OVERRIDE or its owner")
        }
        _ => said.to_owned(),
    }
}

/// The number of the system's error behind an error.
fn os_error(error: &(dyn Error + 'static)) -> Option<Errno> {
    let chain = iter::successors(Some(error), |error| (*error).source());
    chain
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .find_map(Errno::from_io_error)
}

/// A path that leads to this very file as long as the descriptor is open: the kernel's ways to put on probes take
/// nothing but paths, and follow them.
fn path_of(file: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Nops in a file that probes are tried on: more than one for each program.
const NOPS: usize = 1024;

/// A file in memory that is all nops, and a path to it.
pub(super) fn file_of_nops() -> io::Result<(OwnedFd, PathBuf)> {
    let name = "spanprof-probe";
    // Where files in memory that may be executed are forbidden, others are not; older kernels do not know them.
    let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_unknown| memfd_create(name, MemfdFlags::CLOEXEC))?;
    let path = path_of(fd.as_fd());
    let mut file = std::fs::File::from(fd);
    file.write_all(&Machine::NOP.repeat(NOPS))?;
    Ok((file.into(), path))
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustix::io::Errno;

    use super::{NoRoute, Route, shortened};

    /// Want of descriptors passes, want of a right does not, and one route that may work is enough.
    #[test]
    fn what_may_pass() {
        let by = |errno: Errno| NoRoute::by(Route::Multi, &io::Error::from(errno));
        assert!(by(Errno::MFILE).may_pass());
        assert!(by(Errno::NOMEM).may_pass());
        for lasts in [Errno::PERM, Errno::ACCESS, Errno::INVAL, Errno::OPNOTSUPP] {
            assert!(!by(lasts).may_pass(), "{lasts}");
        }
        assert!(!NoRoute::by(Route::Tracefs, &io::Error::other("not mounted")).may_pass());
        let both = [by(Errno::PERM).0, by(Errno::MFILE).0].concat();
        assert!(NoRoute(both).may_pass());
    }

    /// Of a long story both ends are kept, whatever it is written in.
    #[test]
    fn long_words_are_shortened() {
        assert_eq!(shortened("short"), "short");
        let long = format!("é{}ü", "x".repeat(100_000));
        let short = shortened(&long);
        assert_eq!(short.chars().count(), 603);
        assert!(short.starts_with('é') && short.ends_with('ü'));
    }
}
