//! What is known of a process, for `spanprof doctor`.

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
    /// Where its spans come from.
    pub span_source: &'static str,
    /// Of `pyroscope-io` in it: `absent`, `imported` or `running`.
    pub pyroscope_sdk: &'static str,
    /// Why its current span cannot be read from its context; `None` where it can.
    pub no_context: Option<String>,
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
        Some(Self {
            no_context,
            pyroscope_sdk: known.sdk_state(),
            pid: known.target.process.pid,
            version: interpreter.map(|it| it.version),
            flavour: known.facts.as_ref().map(|facts| facts.flavour),
            offsets: known.facts.as_ref().map(|facts| facts.offsets_source),
            path: path.to_owned(),
            build,
            unsupported: known.unsupported.clone().filter(|_| interpreter.is_none()),
            hook,
            span_source,
            service: Service::clone(&known.target.service),
        })
    }
}
