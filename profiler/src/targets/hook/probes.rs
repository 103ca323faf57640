//! Which probes are on: those that some process needs, and for a moment longer.

use std::{collections::HashMap, num::NonZeroUsize, os::fd::AsFd as _};

use lru::LruCache;

use super::{HookFile, HookInProcess, Need, ProbesOn};
use crate::{
    health::Loss,
    id::{Pid, ProcessKey},
    kernel::{ControlError, SpanProbes},
    targets::{
        elf::{FileState, OpenFile},
        facility::{Desk, Processes},
        mappings,
    },
    time::{BootNanos, SECOND},
};

/// How long probes stay on that no process needs, in nanoseconds: an application that starts a worker often starts
/// another.
const GRACE: u64 = 2 * SECOND;
/// How long a refusal is believed that may pass, in nanoseconds.
const RETRY: u64 = 60 * SECOND;
/// A process is idle that has used no CPU time for this long, in nanoseconds.
const IDLE: u64 = 10 * SECOND;
/// Files remembered whose probes the kernel or the agent has refused: the one met longest ago goes.
const MAX_REFUSED: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// The probes of all hooks.
#[derive(Debug)]
pub(super) struct Probes {
    /// Whether those of every hook are on, needed or not.
    always: bool,
    /// Whether something has happened that may change what is needed.
    pub(super) may_differ: bool,
    attached: HashMap<FileState, Attached>,
    /// Files that were opened to attach their probes, until the next turn.
    opened: HashMap<FileState, OpenFile>,
    /// Files whose probes were refused, and when to try again, if ever.
    refused: LruCache<FileState, Option<BootNanos>>,
    /// When to try the first of them again.
    retry_due: Option<BootNanos>,
    /// When the first process may be idle that needs probes while it runs.
    idle_due: Option<BootNanos>,
}

/// Whether a process is idle that has last run then.
pub(super) fn is_idle(ran: BootNanos, now: BootNanos) -> bool {
    idle_from(ran) <= now
}

fn idle_from(ran: BootNanos) -> BootNanos {
    BootNanos(ran.0.saturating_add(IDLE))
}

/// A file that an errand has opened, if it could.
pub(super) struct Opened(pub(super) Option<OpenFile>);

/// Probes that are on.
#[derive(Debug)]
struct Attached {
    probes: SpanProbes,
    since: BootNanos,
    /// Since when no process needs them.
    idle: Option<BootNanos>,
}

impl Attached {
    /// When to take them off.
    fn due(&self) -> Option<BootNanos> {
        let idle = self.idle?;
        Some(BootNanos(idle.0.saturating_add(GRACE)))
    }
}

impl Probes {
    pub(super) fn new(always: bool) -> Self {
        Self {
            always,
            may_differ: false,
            attached: HashMap::new(),
            opened: HashMap::new(),
            refused: LruCache::new(MAX_REFUSED),
            retry_due: None,
            idle_due: None,
        }
    }

    /// Puts probes on and takes them off as they are needed, and says when to call again.
    pub(super) fn update(
        &mut self,
        processes: &mut Processes,
        now: BootNanos,
        desk: &mut Desk<'_>,
    ) -> Option<BootNanos> {
        for due in [&mut self.retry_due, &mut self.idle_due] {
            self.may_differ |= due.take_if(|due| *due <= now).is_some();
        }
        if std::mem::take(&mut self.may_differ) {
            self.note_needs(processes, now, desk);
            self.show(processes, desk);
        }
        let is_over =
            |_: &FileState, attached: &mut Attached| attached.due().is_some_and(|due| due <= now);
        let over: Vec<Attached> = self
            .attached
            .extract_if(is_over)
            .map(|(_, attached)| attached)
            .collect();
        if !over.is_empty() {
            self.show(processes, desk);
        }
        for attached in over {
            tracing::debug!("probes of a hook that no process needs are taken off");
            desk.control.detach_span_probes(attached.probes);
            self.forget_unfollowed_spans(processes, desk);
        }
        let dues = self.attached.values().filter_map(Attached::due);
        dues.chain(self.retry_due).chain(self.idle_due).min()
    }

    /// Attaches what is needed and not on, and notes what is on and not needed.
    fn note_needs(&mut self, processes: &Processes, now: BootNanos, desk: &mut Desk<'_>) {
        let mut needed: HashMap<FileState, (ProcessKey, &HookFile)> = HashMap::new();
        self.idle_due = None;
        for known in processes.values() {
            let Some(hook) = known.kept::<HookInProcess>() else {
                continue;
            };
            let is_needed = match hook.need {
                Need::Always => true,
                Need::WhileItRuns if is_idle(hook.ran, now) => false,
                Need::WhileItRuns => {
                    let idle = idle_from(hook.ran);
                    self.idle_due = Some(self.idle_due.map_or(idle, |due| due.min(idle)));
                    true
                }
                Need::No => false,
            };
            if let Some(file) = &hook.file
                && (self.always || is_needed)
            {
                // Opened by way of a process that does not block, if there is one.
                needed
                    .entry(file.state)
                    .and_modify(|first| {
                        if desk.errands.has(first.0) {
                            *first = (known.process(), file);
                        }
                    })
                    .or_insert((known.process(), file));
            }
        }
        for (state, attached) in &mut self.attached {
            let is_needed = needed.remove(state).is_some();
            attached.idle = (!is_needed).then(|| attached.idle.unwrap_or(now));
        }
        for (process, file) in needed.into_values() {
            self.attach(process, file, now, desk);
        }
        self.opened.clear();
    }

    /// Shows each process whether the probes of its hook are on, and has told on what depends on that.
    fn show(&self, processes: &mut Processes, desk: &mut Desk<'_>) {
        for known in processes.values_mut() {
            let (pid, Some(hook)) = (known.pid(), known.kept_mut::<HookInProcess>()) else {
                continue;
            };
            let Some(file) = &hook.file else { continue };
            let probes = match self.attached.get(&file.state) {
                Some(attached) => ProbesOn::Since(attached.since),
                None if self.refused.contains(&file.state) => ProbesOn::Refused,
                None => ProbesOn::No,
            };
            if std::mem::replace(&mut hook.probes, probes) != probes {
                desk.tell_again(pid);
            }
        }
    }

    /// Takes over a file that was not opened at once.
    pub(super) fn take_opened(&mut self, file: OpenFile) {
        self.opened.insert(file.state, file);
        self.may_differ = true;
    }

    /// The file of a hook, opened by a process that lives: it has the file.
    fn open(
        &mut self,
        process: ProcessKey,
        hook: &HookFile,
        desk: &mut Desk<'_>,
    ) -> Option<OpenFile> {
        if let Some(file) = self.opened.remove(&hook.state) {
            return Some(file);
        }
        let mapping = hook.mapping.clone();
        let opened = desk.send(process, move || {
            Box::new(Opened(mappings::open(process.pid, &mapping).ok()))
        });
        let Opened(file) = *opened?.downcast().ok()?;
        file.filter(|file| file.state == hook.state)
    }

    fn attach(
        &mut self,
        process: ProcessKey,
        hook: &HookFile,
        now: BootNanos,
        desk: &mut Desk<'_>,
    ) {
        let state = hook.state;
        if self.is_refused(&state, now) {
            return;
        }
        let Some(file) = self.open(process, hook, desk) else {
            return;
        };
        let path = &hook.mapping.path;
        match desk
            .control
            .attach_span_probes(file.as_fd(), &hook.facts.sites)
        {
            Ok(probes) => {
                let attached = Attached {
                    probes,
                    since: BootNanos::now(),
                    idle: None,
                };
                self.attached.insert(state, attached);
                if self.refused.pop(&state).is_some() {
                    tracing::info!(%path, "the span hook is used now");
                }
            }
            Err(error) => {
                let may_pass = matches!(&error, ControlError::Probe(reason) if reason.may_pass());
                let again = may_pass.then(|| BootNanos(now.0.saturating_add(RETRY)));
                if let Some(again) = again {
                    self.retry_by(again);
                }
                let loss = match &error {
                    ControlError::CallsCrashChildren => Loss::HookCrashes,
                    _ => Loss::ProbeFailed,
                };
                self.refuse(state, path, loss, &error.to_string(), again, desk);
            }
        }
    }

    /// Says once, and counts, that a hook is not used; `again`: when to try it again, if ever.
    pub(super) fn refuse(
        &mut self,
        state: FileState,
        path: &str,
        loss: Loss,
        reason: &str,
        again: Option<BootNanos>,
        desk: &Desk<'_>,
    ) {
        if self.refused.put(state, again).is_some() {
            tracing::debug!(%path, %reason, "the span hook is still not used");
            return;
        }
        desk.health.count(loss);
        tracing::warn!(%path, %reason, "the span hook is not used");
    }

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

    /// Forgets open spans whose ends are not seen any more.
    fn forget_unfollowed_spans(&self, processes: &Processes, desk: &mut Desk<'_>) {
        let is_followed = |pid: Pid| {
            let hook = processes
                .get(&pid)
                .and_then(|it| it.kept::<HookInProcess>());
            let file = hook.and_then(|it| it.file.as_ref());
            file.is_some_and(|file| self.attached.contains_key(&file.state))
        };
        desk.control.forget_spans(&is_followed);
    }
}
