//! What is known of a process, for `spanprof doctor`.

use std::collections::BTreeSet;

use super::{
    Service,
    probe::Hook,
    python::{detect::OffsetsSource, flavour::Flavour},
    registry::Known,
};
use crate::id::Pid;

/// One Python process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which.
    pub pid: Pid,
    /// Version of its CPython, where it is known.
    pub version: Option<(u8, u8, u8)>,
    /// How that was built: `default`, `free-threaded`, `debug`.
    pub flavour: Option<Flavour>,
    /// How its offsets are known.
    pub offsets: Option<OffsetsSource>,
    /// The file that holds the interpreter, as the process sees it.
    pub path: String,
    /// How it was built: static or shared, stripped or not, and where its version was found.
    pub build: String,
    /// Why it is not profiled; `None` where it is.
    pub unsupported: Option<String>,
    /// The hook in it, in words.
    pub hook: String,
    /// Whether its probes are on the 5-byte nops of earlier packages.
    pub hook_on_long_nops: bool,
    /// Where its spans come from.
    pub span_source: &'static str,
    /// Of `pyroscope-io` in it: `absent`, `imported` or `running`.
    pub pyroscope_sdk: &'static str,
    /// Why its current span cannot be read from its context; `None` where it can.
    pub no_context: Option<String>,
    /// Why its threads' states are not known, so that their samples have native frames only; `None` where they are.
    pub no_thread_states: Option<&'static str>,
    /// How many interpreters it has beside the main one, and why the spans of some are not read.
    pub other_interpreters: (usize, BTreeSet<String>),
    /// Who owns its CPU.
    pub service: Service,
}

impl Report {
    /// `None` for a process that is not known to be a Python.
    pub(super) fn new(known: &Known) -> Option<Self> {
        let interpreter = known.target.interpreter.as_ref();
        if interpreter.is_none() && known.unsupported.is_none() {
            return None;
        }
        let path = interpreter.map_or("", |it| &it.path);
        let shared = path
            .rsplit('/')
            .next()
            .is_some_and(|it| it.starts_with("libpython"));
        let build = known.facts.as_ref().map_or_else(String::new, |facts| {
            format!(
                "{}, {}, version by {}",
                if shared { "shared" } else { "static" },
                if facts.stripped {
                    "stripped"
                } else {
                    "not stripped"
                },
                facts.version_source.name()
            )
        });
        let (hook, span_source) = match &known.hook {
            None | Some(Hook::Absent) => ("absent".to_owned(), "none"),
            Some(Hook::Present(_)) => ("present, ABI version 1".to_owned(), "hook"),
            Some(Hook::Refused(reason)) => (reason.to_string(), "none"),
        };
        let (span_source, no_context) = match &known.recipe {
            Some(Ok(_)) if span_source == "hook" => ("context and hook", None),
            Some(Ok(_)) => ("context", None),
            Some(Err(reason)) => (span_source, Some(reason.to_string())),
            None => (span_source, Some("nobody has looked".to_owned())),
        };
        let unread = known
            .others
            .values()
            .filter_map(|it| it.as_ref().as_ref().err());
        Some(Self {
            no_context,
            no_thread_states: no_thread_states(known),
            other_interpreters: (
                known.others.len(),
                unread.map(ToString::to_string).collect(),
            ),
            pyroscope_sdk: known.sdk_state(),
            pid: known.target.process.pid,
            version: interpreter.map(|it| it.version),
            flavour: known.facts.as_ref().map(|facts| facts.flavour),
            offsets: known.facts.as_ref().map(|facts| facts.offsets_source),
            path: path.to_owned(),
            build,
            unsupported: known.unsupported.clone().filter(|_| interpreter.is_none()),
            hook,
            hook_on_long_nops: matches!(&known.hook, Some(Hook::Present(it)) if it.sites.on_long_nops),
            span_source,
            service: Service::clone(&known.target.service),
        })
    }
}

/// Why nothing tells which state a thread has attached, from 3.12 on; before, that is told without a thread-local.
fn no_thread_states(known: &Known) -> Option<&'static str> {
    let facts = known.facts.as_ref()?;
    if facts.version < (3, 12, 0) || known.thread_local.is_some() {
        return None;
    }
    Some(match facts.thread_local {
        None => "how its code reaches the attached thread state is not understood",
        Some(_) => "its loader has not placed the interpreter's thread-locals yet",
    })
}
