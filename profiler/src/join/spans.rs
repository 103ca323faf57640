//! The spans that have started and not ended, bounded.

use std::{
    collections::{HashSet, VecDeque},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

use super::lineage::Lineage;
use crate::{
    by_process::ByProcess,
    events::{SpanEnd, SpanParent, SpanSeen, SpanStart},
    health::{Health, Loss},
    id::{Pid, SpanId, Tid},
    time::BootNanos,
};

/// How long a span that has ended can still be asked for. Records come in the order in which they
/// were reserved, which differs from the order of their times by a hair between CPUs.
const GRACE: Duration = Duration::from_secs(1);
/// Distinct names shared between spans; beyond, a name is kept by its span alone.
const MAX_NAMES: usize = 16_384;

/// Spans remembered that have ended on another thread than the one that has started them.
const MAX_ENDED: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// Ancestors followed to find a local root.
const MAX_ANCESTORS: usize = 64;

/// Live spans by process and id, and those that have just ended.
#[derive(Debug)]
pub(super) struct Spans {
    live: ByProcess<SpanId, Known>,
    ended: VecDeque<(BootNanos, Pid, SpanId)>,
    /// Spans that have ended on another thread than the one that has started them: they are still on that one's stack.
    ended_on_other_thread: ByProcess<SpanId, ()>,
    names: HashSet<Arc<str>>,
    lineage: Lineage,
    health: Health,
}

/// What is known of a span.
#[derive(Clone, Debug)]
struct Known {
    name: Option<Arc<str>>,
    /// Its topmost ancestor in its process, if that is known.
    local_root: Option<SpanId>,
    /// Its parent in its process, if that is known and the local root is not.
    parent: Option<SpanId>,
    /// The thread that has started it, if the hook has told the start: then it also tells the end. Those whose end is not
    /// told stay until others need the room.
    started_on: Option<Tid>,
}

impl Spans {
    pub(super) fn new(max: NonZeroUsize, health: Health) -> Self {
        Self {
            live: ByProcess::new(max),
            ended: VecDeque::new(),
            ended_on_other_thread: ByProcess::new(MAX_ENDED),
            names: HashSet::new(),
            lineage: Lineage::new(max),
            health,
        }
    }

    /// Remembers a span, and returns its name.
    pub(super) fn start(&mut self, start: &SpanStart) -> Option<Arc<str>> {
        self.forget_ended(start.time);
        let key = (start.pid, start.span);
        let name = start.name.as_deref().map(|name| self.shared(name));
        self.put(
            key,
            Known {
                name: name.clone(),
                local_root: Some(start.local_root),
                parent: None,
                started_on: Some(start.tid),
            },
        );
        name
    }

    /// Remembers a span that a sample has found, or the name that one has by now that was told before. What is known: its
    /// name, and whether it is its own local root.
    pub(super) fn seen(&mut self, seen: &SpanSeen) -> (Option<Arc<str>>, bool) {
        let key = (seen.pid, seen.span);
        let (local_root, parent) = match (seen.local_root, seen.parent) {
            (Some(local_root), _) => (Some(local_root), None),
            (None, SpanParent::None) => (Some(seen.span), None),
            // Its parent was begun before the fork, in another process.
            (None, SpanParent::Span(parent)) if self.is_of_ancestor(seen.pid, parent) => {
                (Some(seen.span), None)
            }
            (None, SpanParent::Span(parent)) => (self.local_root(seen.pid, parent), Some(parent)),
            (None, SpanParent::Unknown) => (None, None),
        };
        let name = seen.name.as_deref().map(|name| self.shared(name));
        if let Some(known) = self.live.get_mut(seen.pid, seen.span) {
            if name.is_some() {
                known.name.clone_from(&name);
            }
        } else {
            self.put(
                key,
                Known {
                    name: name.clone(),
                    local_root,
                    parent,
                    started_on: None,
                },
            );
        }
        (name, local_root == Some(seen.span))
    }

    /// A process was forked: it goes on in its parent's spans.
    pub(super) fn fork(&mut self, child: Pid, parent: Pid) {
        self.lineage.fork(child, parent);
    }

    /// Whether a span is known in a process that this one was forked from. A span has one process that has begun it; a
    /// child only shows those of its parent.
    fn is_of_ancestor(&self, pid: Pid, span: SpanId) -> bool {
        let mut ancestors = self.lineage.ancestors(pid);
        ancestors.any(|ancestor| self.live.contains(ancestor, span))
    }

    /// Whether a span has ended on another thread than the one that has started it.
    pub(super) fn has_ended_on_other_thread(&mut self, pid: Pid, span: SpanId) -> bool {
        self.ended_on_other_thread.get(pid, span).is_some()
    }

    /// Whether a span has ended in the process that this one was forked from.
    pub(super) fn has_ended_in_ancestor(&mut self, pid: Pid, span: SpanId) -> bool {
        self.lineage.has_ended(pid, span)
    }

    fn put(&mut self, key: (Pid, SpanId), known: Known) {
        let (pid, span) = key;
        if let Some(evicted) = self.live.put(pid, span, known) {
            self.health.count(if evicted.started_on.is_some() {
                Loss::SpanTableFull
            } else {
                Loss::SpanNameForgotten
            });
        }
    }

    /// The span's local root, if that is known: an ancestor may have been met after the span itself.
    pub(super) fn local_root(&mut self, pid: Pid, span: SpanId) -> Option<SpanId> {
        let mut ancestor = span;
        let mut found = None;
        // Bounded: what a process says of its spans may form a cycle.
        for _ in 0..MAX_ANCESTORS {
            let known = self.live.get(pid, ancestor)?;
            found = known.local_root;
            match (found, known.parent) {
                (None, Some(parent)) => ancestor = parent,
                _ => break,
            }
        }
        if let Some(known) = self.live.get_mut(pid, span) {
            known.local_root = found;
        }
        found
    }

    /// Notes that a span has ended. One that is not known is normal: it started before the agent.
    pub(super) fn end(&mut self, end: &SpanEnd) {
        self.lineage.end(end.pid, end.span);
        if let Some(known) = self.live.get(end.pid, end.span) {
            if known.started_on.is_some_and(|tid| tid != end.tid) {
                self.ended_on_other_thread.put(end.pid, end.span, ());
            }
            self.ended.push_back((end.time, end.pid, end.span));
        }
        self.forget_ended(end.time);
    }

    /// The span's name, if the span is known and has one.
    pub(super) fn name(&mut self, pid: Pid, span: SpanId) -> Option<Arc<str>> {
        self.live.get(pid, span)?.name.clone()
    }

    /// Forgets all spans of a process.
    pub(super) fn forget_process(&mut self, pid: Pid) {
        self.lineage.forget(pid);
        self.ended_on_other_thread.forget(pid);
        // Those that have ended are known, too, until they are forgotten.
        if self.live.forget(pid) {
            self.ended.retain(|(_, of, _)| *of != pid);
        }
    }

    fn forget_ended(&mut self, now: BootNanos) {
        while let Some(&(time, pid, span)) = self.ended.front()
            && now.since(time) > GRACE
        {
            self.ended.pop_front();
            self.live.pop(pid, span);
        }
    }

    /// One allocation for equal names.
    fn shared(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        if self.names.len() >= MAX_NAMES {
            // Names built from data: what is shared now says little about what comes.
            self.names.clear();
        }
        self.names.insert(Arc::clone(&name));
        name
    }
}
