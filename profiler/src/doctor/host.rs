//! What is said of the host, a line each.

use anyhow::Result;

use crate::{
    kernel::{NoRoute, Route, Support},
    rights::{Finding, Weight, findings},
};

/// One line about the host.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) state: State,
    pub(super) says: String,
    /// What fixes it, if that is known.
    pub(super) remedy: Option<String>,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// As it should be.
    Good,
    /// Something is lost, and the rest works.
    Less,
    /// Nothing works.
    Bad,
}

impl Check {
    fn new(name: &'static str, state: State, says: impl Into<String>) -> Self {
        Self {
            name,
            state,
            says: says.into(),
            remedy: None,
        }
    }

    /// What is missing or in the way.
    fn lack(finding: &Finding) -> Self {
        Self {
            name: finding.name(),
            state: match finding.weight {
                Weight::Stops => State::Bad,
                Weight::Costs => State::Less,
            },
            says: format!("{}: {}", finding.found(), finding.costs),
            remedy: Some(finding.remedy()),
        }
    }
}

/// Whether the host has all without which nothing works.
pub(super) fn host_works(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.state != State::Bad)
}

/// What can be said without loading anything.
pub(super) fn checks(support: &Support) -> Vec<Check> {
    let Support {
        release,
        btf,
        calls_crash_children: _,
        rights,
    } = support;
    let lacks = findings(rights);
    let mut checks = vec![
        Check::new("kernel", State::Good, release.clone()),
        if *btf {
            Check::new("BTF", State::Good, "yes")
        } else {
            let needs = "no: needs a kernel built with CONFIG_DEBUG_INFO_BTF=y";
            Check::new("BTF", State::Bad, needs)
        },
    ];
    if lacks.is_empty() {
        checks.push(Check::new("rights", State::Good, "all that is needed"));
    }
    checks.extend(lacks.iter().map(Check::lack));
    if rights.perf_events {
        checks.push(Check::new("perf events", State::Good, "software CPU clock"));
    }
    checks
}

/// Whether the kernel has taken the programs.
pub(super) fn programs<T>(taken: &Result<T>) -> Check {
    let name = "kernel programs";
    match taken {
        Ok(_) => Check::new(name, State::Good, "loaded, and taken off again"),
        Err(error) => Check::new(name, State::Bad, format!("{error:#}")),
    }
}

/// How the probes of the package's hook are put on.
pub(super) fn span_probes(route: &Result<Route, NoRoute>) -> Check {
    let name = "span probes";
    match route {
        Ok(route) => Check::new(name, State::Good, format!("by {route}")),
        Err(reason) => Check::new(
            name,
            State::Less,
            format!("none, so spans that the package alone can tell are not seen: {reason}"),
        ),
    }
}
