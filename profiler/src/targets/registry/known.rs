//! What is known of one process: which it is, what it maps, and what facilities keep of it.

use std::{collections::HashSet, sync::Arc};

use http::Extensions;

use super::{due::Due, looks::Looks};
use crate::{
    id::{Pid, ProcessKey},
    targets::{FileId, Program, SpansSeen, Target},
    time::BootNanos,
};

/// One process in scope.
#[derive(Clone)]
pub struct Known {
    /// Shared with the snapshots: another one only if it has changed.
    target: Arc<Target>,
    /// The process that it was forked from, if it runs that one's program.
    pub(super) parent: Option<ProcessKey>,
    /// What facilities keep, by its type.
    kept: Extensions,
    /// Files that were looked at in it.
    pub(super) seen: HashSet<FileId>,
    /// When to look at its files.
    pub(super) due: Due,
    /// When to look at its memory.
    pub(super) looks: Looks,
    /// When its mappings were read last.
    pub(super) refreshed: BootNanos,
    /// Which program it runs: another one after each exec.
    program: Program,
}

impl Known {
    /// A process of which nothing is known yet.
    pub(super) fn new(process: ProcessKey) -> Self {
        Self {
            target: Arc::new(Target {
                process,
                // Its owner matters only once it is profiled.
                service: Arc::default(),
                container: None,
                mappings: Arc::from([]),
                interpreter: None,
                spans: SpansSeen::NotYet,
                unread_spans: [].into(),
            }),
            parent: None,
            kept: Extensions::new(),
            seen: HashSet::new(),
            due: Due::default(),
            looks: Looks::default(),
            refreshed: BootNanos(0),
            program: Program::default(),
        }
    }

    /// Which program it runs.
    pub(super) fn program(&self) -> &Program {
        &self.program
    }

    /// What the data plane reads of it.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// The same, to change it.
    pub fn change(&mut self) -> &mut Target {
        Arc::make_mut(&mut self.target)
    }

    /// Which process it is.
    pub fn process(&self) -> ProcessKey {
        self.target.process
    }

    /// Its pid.
    pub fn pid(&self) -> Pid {
        self.target.process.pid
    }

    /// Whether it runs a CPython that is profiled.
    pub fn is_profiled(&self) -> bool {
        self.target.interpreter.is_some()
    }

    /// What a facility keeps of it, if it keeps anything.
    pub fn kept<T: Clone + Send + Sync + 'static>(&self) -> Option<&T> {
        self.kept.get()
    }

    /// The same, to change it.
    pub fn kept_mut<T: Clone + Send + Sync + 'static>(&mut self) -> Option<&mut T> {
        self.kept.get_mut()
    }

    /// Has a facility keep this instead of what it kept.
    pub fn put<T: Clone + Send + Sync + 'static>(&mut self, kept: T) {
        self.kept.insert(kept);
    }

    /// The same, made if there is none.
    pub fn keep<T: Clone + Default + Send + Sync + 'static>(&mut self) -> &mut T {
        self.kept.get_or_insert_default()
    }

    /// When to look at its files or its memory next, if at all.
    pub(in crate::targets) fn next_look(&self) -> Option<BootNanos> {
        self.due.at().into_iter().chain(self.looks.due()).min()
    }

    /// Whether its files have been looked at, and there was room for it.
    pub(super) fn looked(&self) -> bool {
        !self.seen.is_empty()
    }
}
