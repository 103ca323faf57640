//! The span programs on the sites of files, by the first of the kernel's ways that works.
//!
//! Which rights a kernel demands has changed with versions and fixes, and will again. So the agent tries each way, in
//! order, and if none works it reports the reasons of all.

mod file;
mod reason;
mod route;
mod tracefs;

use std::{
    collections::HashMap,
    error::Error,
    io,
    os::fd::{AsFd as _, BorrowedFd},
};

use aya::{
    Ebpf,
    programs::{
        Program, ProgramError, UProbe,
        uprobe::{UProbeLinkId, UProbeScope},
    },
    sys::{UProbeMultiFeature, is_uprobe_multi_supported},
};

pub(super) use self::{file::file_of_nops, tracefs::events_of_tracefs};
use self::{
    file::path_of,
    reason::{Reason, shortened},
    tracefs::TraceProbe,
};
pub use self::{reason::NoRoute, route::Route};
use super::{
    SpanProbeSites,
    error::{LoadError, error_chain},
    program::load_program,
};
use crate::arch::{Architecture as _, Machine};

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
