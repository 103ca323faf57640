//! What is known of a process, for `spanprof doctor`.

use std::collections::BTreeSet;

use super::{
    Targets,
    hook::{Hook, HookInProcess},
    opentelemetry::Context,
    owner::Owner,
    pyroscope_sdk::Sdk,
    python::{
        Python,
        detect::{Facts, OffsetsSource},
        flavour::Flavour,
    },
    registry::Known,
};
use crate::id::{Pid, Service};

/// One Python process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which.
    pub pid: Pid,
    /// Version of its CPython, if it is known.
    pub version: Option<(u8, u8, u8)>,
    /// How that was built: `default`, `free-threaded`, `debug`.
    pub flavour: Option<Flavour>,
    /// How its offsets are known.
    pub offsets: Option<OffsetsSource>,
    /// The file that holds the interpreter, as the process sees it.
    pub path: String,
    /// How it was built: static or shared, stripped or not, and where its version was found.
    pub build: String,
    /// Why it is not profiled; `None` if it is.
    pub unsupported: Option<String>,
    /// The hook in it, in words.
    pub hook: String,
    /// Whether its probes are on the 5-byte nops of earlier packages.
    pub hook_on_long_nops: bool,
    /// Where its spans come from.
    pub span_source: &'static str,
    /// Of `pyroscope-io` in it: `absent`, `imported` or `running`.
    pub pyroscope_sdk: &'static str,
    /// Why its current span cannot be read from its context; `None` if it can.
    pub no_context: Option<String>,
    /// Why its threads' states are not known, so that their samples have native frames only; `None` if they are.
    pub no_thread_states: Option<&'static str>,
    /// How many interpreters it has beside the main one, and why the spans of some are not read.
    pub other_interpreters: (usize, BTreeSet<String>),
    /// The service that its CPU is counted for.
    pub service: Service,
    /// Where its name comes from, in a word.
    pub service_source: &'static str,
}

impl Report {
    /// `None` for a process that is not known to be a Python.
    pub(super) fn new(known: &Known) -> Option<Self> {
        let target = known.target();
        let interpreter = target.interpreter.as_ref();
        let python = known.kept::<Python>()?;
        if interpreter.is_none() && python.unsupported.is_none() {
            return None;
        }
        let facts = python.facts();
        let hook = known.kept::<HookInProcess>().map(|it| &it.hook);
        let context = known.kept::<Context>();
        let path = interpreter.map_or("", |it| &it.path);
        let (in_words, span_source) = hook_in_words(hook);
        let (span_source, no_context) = span_source_with(context, span_source);
        let others = || context.into_iter().flat_map(|it| it.others.values());
        let unread = others().filter_map(|it| it.as_ref().as_ref().err());
        Some(Self {
            no_context,
            no_thread_states: no_thread_states(python),
            other_interpreters: (others().count(), unread.map(ToString::to_string).collect()),
            pyroscope_sdk: Sdk::state(known.kept()),
            pid: known.pid(),
            version: interpreter.map(|it| it.version),
            flavour: facts.map(|facts| facts.flavour),
            offsets: facts.map(|facts| facts.offsets_source),
            path: path.to_owned(),
            build: facts.map_or_else(String::new, |facts| build(path, facts)),
            unsupported: python.unsupported.clone().filter(|_| interpreter.is_none()),
            hook: in_words,
            hook_on_long_nops: matches!(hook, Some(Hook::Present(it)) if it.sites.on_long_nops),
            span_source,
            service: Service::clone(&target.service),
            service_source: known.kept::<Owner>().map_or("", |it| it.source.name()),
        })
    }
}

/// How the file of an interpreter was built.
fn build(path: &str, facts: &Facts) -> String {
    let name = path.rsplit('/').next();
    let is_shared = name.is_some_and(|it| it.starts_with("libpython"));
    format!(
        "{}, {}, version by {}",
        if is_shared { "shared" } else { "static" },
        if facts.stripped {
            "stripped"
        } else {
            "not stripped"
        },
        facts.version_source.name()
    )
}

/// What the hook in a process is, in words, and where spans come from if nothing but the hook tells them.
fn hook_in_words(hook: Option<&Hook>) -> (String, &'static str) {
    match hook {
        None | Some(Hook::Absent) => ("absent".to_owned(), "none"),
        Some(Hook::Present(_)) => ("present, ABI version 1".to_owned(), "hook"),
        Some(Hook::Refused(reason)) => (reason.to_string(), "none"),
    }
}

/// Where spans come from, with the context taken into account, and why none are read from it.
fn span_source_with(
    context: Option<&Context>,
    span_source: &'static str,
) -> (&'static str, Option<String>) {
    match context.and_then(|it| it.recipe.as_ref()) {
        Some(Ok(_)) if span_source == "hook" => ("context and hook", None),
        Some(Ok(_)) => ("context", None),
        Some(Err(reason)) => (span_source, Some(reason.to_string())),
        None => (span_source, Some("nobody has looked".to_owned())),
    }
}

/// What is known of every Python process, by pid.
pub fn reports(targets: &Targets) -> Vec<Report> {
    let mut reports: Vec<Report> = targets.known().filter_map(Report::new).collect();
    reports.sort_by_key(|report| report.pid);
    reports
}

/// Why nothing tells which state a thread has attached. Before 3.12 that is told without a thread-local.
fn no_thread_states(python: &Python) -> Option<&'static str> {
    let facts = python.facts()?;
    if !python.has_globals() {
        return Some("where its loader has put the objects of the interpreter could not be read");
    }
    if facts.version < (3, 12, 0) || python.thread_local.is_some() {
        return None;
    }
    Some(match facts.thread_local {
        None => "how its code reaches the attached thread state is not understood",
        Some(_) => "its loader has not placed the interpreter's thread-locals yet",
    })
}
