//! Which hooks' probes are on.
//!
//! A probe costs its process more than the whole of the rest of a span's hook, and says nothing that a
//! readable context does not say better. So the probes of a file are on only while some process that
//! maps it needs them.

use std::{collections::HashMap, num::NonZeroUsize, os::fd::AsFd as _};

use lru::LruCache;

use super::{Known, Targets};
use crate::{
    health::Loss,
    id::Pid,
    kernel::{ControlError, SpanProbes},
    targets::{
        Mapping,
        elf::FileState,
        opentelemetry::looker::ProcessBlock,
        probe::{Hook, HookFacts},
        python::place::load_bias,
    },
    time::BootNanos,
};

/// How long probes stay on that nobody needs: who starts a worker often starts another.
const GRACE: u64 = 2_000_000_000;
/// How long a refusal is believed that may pass, in nanoseconds.
const RETRY: u64 = 60_000_000_000;
/// Files remembered whose probes the kernel or the agent has refused: the one met longest ago goes.
const MAX_REFUSED: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// The hooks of the host.
#[derive(Debug)]
pub(super) struct Hooks {
    /// Whether the probes of every hook are on, needed or not.
    always: bool,
    /// Whether something has happened that may change who needs what.
    pub(super) may_differ: bool,
    attached: HashMap<FileState, Attached>,
    /// Files whose probes were refused, and when to try again, if ever.
    refused: LruCache<FileState, Option<BootNanos>>,
    /// When to try the first of them again.
    retry_due: Option<BootNanos>,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            always: false,
            may_differ: false,
            attached: HashMap::new(),
            refused: LruCache::new(MAX_REFUSED),
            retry_due: None,
        }
    }
}

impl Hooks {
    /// Whether the probes of a file were refused, and are not to be tried again yet.
    fn is_refused(&mut self, state: &FileState, now: BootNanos) -> bool {
        match self.refused.get(state) {
            Some(None) => true,
            Some(&Some(again)) if again > now => {
                self.retry_by(again);
                true
            }
            None | Some(Some(_)) => false,
        }
    }

    fn retry_by(&mut self, due: BootNanos) {
        self.retry_due = Some(self.retry_due.map_or(due, |before| before.min(due)));
    }
}

/// Probes that are on.
#[derive(Debug)]
struct Attached {
    probes: SpanProbes,
    /// Since when nobody needs them.
    idle: Option<BootNanos>,
}

/// A hook's file in one process.
#[derive(Clone, Debug)]
pub(super) struct HookFile {
    state: FileState,
    mapping: Mapping,
    /// Where the process says who it is; `None` where it cannot be placed.
    pub(super) process_block: Option<ProcessBlock>,
}

impl HookFile {
    pub(super) fn new(state: FileState, mapping: &Mapping, facts: &HookFacts) -> Self {
        let bias = load_bias(&facts.segments, mapping);
        Self {
            state,
            mapping: mapping.clone(),
            process_block: bias.map(|bias| {
                let place = |address: u64| address.wrapping_add(bias);
                ProcessBlock {
                    address: place(facts.process_block),
                    attributes: facts.process_attributes.map(place),
                }
            }),
        }
    }
}

impl Known {
    /// Whether its spans are followed by the probes of its hook alone, or its local roots are.
    fn needs_probes(&self) -> bool {
        if !self.is_profiled() {
            return false;
        }
        match &self.recipe {
            // Once there are spans, the hook has left their local roots beside them.
            Some(Ok(recipe)) => recipe.has_recording_class() && recipe.local_root.class == 0,
            Some(Err(_)) | None => true,
        }
    }
}

impl Targets {
    /// From now on the probes of every hook are on.
    pub fn keep_probes(&mut self) {
        self.hooks.always = true;
        self.hooks.may_differ = true;
    }

    /// Puts probes on and takes them off as they are needed, and says when to call again.
    pub fn update_probes(&mut self, now: BootNanos) -> Option<BootNanos> {
        if self.hooks.retry_due.is_some_and(|due| due <= now) {
            self.hooks.retry_due = None;
            self.hooks.may_differ = true;
        }
        if std::mem::take(&mut self.hooks.may_differ) {
            self.note_needs(now);
        }
        let due = |attached: &Attached| {
            let idle = attached.idle?;
            Some(BootNanos(idle.0.saturating_add(GRACE)))
        };
        let over: Vec<FileState> = self
            .hooks
            .attached
            .iter()
            .filter(|(_, attached)| due(attached).is_some_and(|due| due <= now))
            .map(|(state, _)| *state)
            .collect();
        for state in over {
            if let Some(attached) = self.hooks.attached.remove(&state) {
                tracing::debug!("probes of a hook that nobody needs are taken off");
                self.control.detach_span_probes(attached.probes);
                self.forget_unfollowed_spans();
            }
        }
        let dues = self.hooks.attached.values().filter_map(due);
        dues.chain(self.hooks.retry_due).min()
    }

    /// Attaches what is needed and not on, and notes what is on and not needed.
    fn note_needs(&mut self, now: BootNanos) {
        let always = self.hooks.always;
        let mut needed: HashMap<FileState, (Pid, Mapping)> = HashMap::new();
        for known in self.processes.values() {
            if let Some(file) = &known.hook_file
                && (always || known.needs_probes())
            {
                let pid = known.target.process.pid;
                let first = || (pid, file.mapping.clone());
                needed.entry(file.state).or_insert_with(first);
            }
        }
        for (state, attached) in &mut self.hooks.attached {
            let is_needed = needed.remove(state).is_some();
            attached.idle = (!is_needed).then(|| attached.idle.unwrap_or(now));
        }
        for (state, (pid, mapping)) in needed {
            self.attach(state, pid, &mapping, now);
        }
    }

    fn attach(&mut self, state: FileState, pid: Pid, mapping: &Mapping, now: BootNanos) {
        if self.hooks.is_refused(&state, now) {
            return;
        }
        // By a process that lives: it has the file.
        let Some((facts, file)) = self.files.facts(pid, mapping) else {
            return;
        };
        let Hook::Present(facts) = &facts.hook else {
            return;
        };
        if file.state != state {
            return;
        }
        match self.control.attach_span_probes(file.as_fd(), &facts.sites) {
            Ok(probes) => {
                let attached = Attached { probes, idle: None };
                self.hooks.attached.insert(state, attached);
                if self.hooks.refused.pop(&state).is_some() {
                    tracing::info!(path = %mapping.path, "the span hook is used now");
                }
            }
            Err(error) => {
                let may_pass = matches!(&error, ControlError::Probe(reason) if reason.may_pass());
                let again = may_pass.then(|| BootNanos(now.0.saturating_add(RETRY)));
                if let Some(again) = again {
                    self.hooks.retry_by(again);
                }
                let loss = match &error {
                    ControlError::CallsCrashChildren => Loss::HookUnsupported,
                    _ => Loss::ProbeFailed,
                };
                self.refuse_hook(state, mapping, loss, &error.to_string(), again);
            }
        }
    }

    /// Says once, and counts, that a hook is not used; `again`: when to try it again, if ever.
    pub(super) fn refuse_hook(
        &mut self,
        state: FileState,
        mapping: &Mapping,
        loss: Loss,
        reason: &str,
        again: Option<BootNanos>,
    ) {
        if self.hooks.refused.put(state, again).is_some() {
            tracing::debug!(path = %mapping.path, %reason, "the span hook is still not used");
            return;
        }
        self.health.count(loss);
        tracing::warn!(path = %mapping.path, %reason, "the span hook is not used");
    }

    /// Forgets open spans whose ends nobody sees any more.
    fn forget_unfollowed_spans(&mut self) {
        let (processes, attached) = (&self.processes, &self.hooks.attached);
        let is_followed = |pid: Pid| {
            let file = processes.get(&pid).and_then(|it| it.hook_file.as_ref());
            file.is_some_and(|file| attached.contains_key(&file.state))
        };
        self.control.forget_spans(&is_followed);
    }
}
