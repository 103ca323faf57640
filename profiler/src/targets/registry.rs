//! The table of processes: who is profiled, since when, and what the kernel was told.

mod discover;
mod due;
mod examine;
mod hooks;
mod sdk;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use profiler_common::{context::SpanRecipe, python::PythonLayout};

use super::{
    FileId, Snapshot, SpansSeen, Target, container,
    files::Files,
    labels,
    opentelemetry::{
        looker::{Answer, Request},
        others::OtherRecipe,
        recipe::NoRecipe,
    },
    probe::Hook,
    procfs,
    python::{
        detect::Facts,
        thread_local::{Place, is_musl},
    },
    report::Report,
};
use crate::{
    events::Resource,
    health::{Health, Loss},
    id::{Pid, ProcessKey, ServiceAttribute},
    kernel::{Control, ControlError, InterpreterId},
    time::BootNanos,
};

/// Processes kept at once that are not profiled.
const MAX_OTHERS: usize = 65_536;
/// A recipe that does not fit is looked for again at most this often, in nanoseconds, but for each
/// new class of spans at once.
const ASK_AGAIN: u64 = 90_000_000;
/// What is not there yet is looked for again after this long, and then twice as long up to the
/// last, in nanoseconds.
const LOOK_FIRST: u64 = 20_000_000;
const LOOK_LAST: u64 = 5_000_000_000;
/// Classes of spans remembered per process.
const MAX_WANTED: usize = 16;
/// Mappings of one process are read anew at most this often, in nanoseconds.
const REFRESH: u64 = 500_000_000;

/// Which processes are profiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every CPython of the host.
    Host,
    /// These, Python or not.
    Processes {
        /// Their pids.
        pids: Vec<Pid>,
        /// Whether what they start is profiled too.
        follow: bool,
    },
}

/// The control plane's state. Driven by one thread.
pub struct Targets {
    scope: Scope,
    control: Box<dyn Control>,
    health: Health,
    files: Files,
    layouts: Vec<PythonLayout>,
    hooks: hooks::Hooks,
    processes: HashMap<Pid, Known>,
    requests: Vec<Request>,
    discovery: discover::Discovery,
    /// What tells the profiles of a service apart.
    told_apart: BTreeSet<ServiceAttribute>,
    sdks: sdk::Told,
    /// Processes that may be profiled, and that are.
    most_profiled: usize,
    profiled: usize,
    /// Whether a snapshot would be another than the last.
    has_changed: bool,
}

/// One process in scope.
#[derive(Clone)]
pub(super) struct Known {
    /// Shared with the snapshots: another one only where it has changed.
    pub(super) target: Arc<Target>,
    /// The facts of its interpreter's file.
    pub(super) facts: Option<Arc<Facts>>,
    /// Why its interpreter is not profiled.
    pub(super) unsupported: Option<String>,
    /// What its hook is: `None` while none was seen.
    pub(super) hook: Option<Hook>,
    /// The file of a hook that may be used.
    hook_file: Option<hooks::HookFile>,
    /// `pyroscope-io`, if it has loaded that.
    sdk: Option<sdk::Sdk>,
    /// How its current span is read, or why it is not; `None` until somebody has looked.
    pub(super) recipe: Option<Result<Arc<SpanRecipe>, NoRecipe>>,
    /// Classes of spans that were met and not known.
    wanted: Vec<u64>,
    asked_again: BootNanos,
    /// Whether it has run since it was asked what it has imported, and when that was.
    has_run: bool,
    imports_asked: BootNanos,
    /// When to look again, where something is not there yet, and after how long the time before.
    look_due: Option<BootNanos>,
    look_after: u64,
    bias: u64,
    runtime: u64,
    code_type: u64,
    code_count: u64,
    main_interpreter: u64,
    /// Its other interpreters, as of the last look, and when an unknown one was last asked for.
    pub(super) others: HashMap<InterpreterId, OtherRecipe>,
    others_asked: BootNanos,
    /// Where its interpreter keeps the state that a thread has attached, and whether that was checked in its threads.
    pub(super) thread_local: Option<Place>,
    is_thread_local_checked: bool,
    layout: u32,
    seen: HashSet<FileId>,
    /// When to look at its files.
    due: due::Due,
    refreshed: BootNanos,
    by_hook: ByHook,
    counted: Counted,
}

/// Which losses of a process were counted: each is one however often it shows again.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    not_profiled: bool,
    no_recipe: bool,
}

impl Counted {
    /// There is no room for the process.
    fn not_profiled(&mut self, health: &Health) {
        if !std::mem::replace(&mut self.not_profiled, true) {
            health.count(Loss::ProcessTableFull);
        }
    }

    /// There is no room for its recipe.
    fn no_recipe(&mut self, health: &Health) {
        if !std::mem::replace(&mut self.no_recipe, true) {
            health.count(Loss::RecipeNotKept);
        }
    }
}

/// Why a recipe is not used that was found.
const NO_ROOM: NoRecipe = NoRecipe::Missing("room for it in the kernel's map");

/// What the hook has told of who owns a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum ByHook {
    /// Nothing yet.
    #[default]
    Nothing,
    /// Name and namespace.
    Name,
    /// The attributes, too.
    Attributes,
}

impl Known {
    fn new(process: ProcessKey) -> Self {
        Self {
            target: Arc::new(Target {
                process,
                // Who it is matters only once it is profiled.
                service: Arc::default(),
                container: None,
                mappings: Arc::from([]),
                interpreter: None,
                spans: SpansSeen::NotYet,
            }),
            facts: None,
            unsupported: None,
            hook: None,
            hook_file: None,
            sdk: None,
            recipe: None,
            wanted: Vec::new(),
            asked_again: BootNanos(0),
            has_run: false,
            imports_asked: BootNanos(0),
            look_due: None,
            look_after: LOOK_FIRST,
            bias: 0,
            runtime: 0,
            code_type: 0,
            code_count: 0,
            main_interpreter: 0,
            others: HashMap::new(),
            others_asked: BootNanos(0),
            thread_local: None,
            is_thread_local_checked: false,
            layout: 0,
            seen: HashSet::new(),
            due: due::Due::default(),
            refreshed: BootNanos(0),
            by_hook: ByHook::Nothing,
            counted: Counted::default(),
        }
    }

    /// Whether its files have been looked at, and there was room for it.
    fn looked(&self) -> bool {
        !self.seen.is_empty()
    }

    fn is_profiled(&self) -> bool {
        self.target.interpreter.is_some()
    }

    /// Whether what it has not imported yet would make its spans known.
    fn lacks_imports(&self) -> bool {
        let has_recipe = matches!(self.recipe, Some(Ok(_)));
        self.is_profiled() && (!has_recipe || self.lacks_resource())
    }

    /// Whether its hook has more to tell than it has told.
    fn lacks_resource(&self) -> bool {
        let Some(file) = &self.hook_file else {
            return false;
        };
        let tells_attributes = file.process_block.is_some_and(|it| it.attributes.is_some());
        self.by_hook
            < if tells_attributes {
                ByHook::Attributes
            } else {
                ByHook::Name
            }
    }

    /// Whether it may have imported something that is worth a look, and was not asked just now.
    fn may_have_imported(&self, now: BootNanos) -> bool {
        let asked = self.imports_asked.0;
        self.has_run
            && self.is_profiled()
            && (self.lacks_imports() || now.0 >= asked.saturating_add(discover::REPLACED_EVERY))
    }

    /// Whether where its interpreter keeps the state that a thread has attached can be found out, and is not known or
    /// was not checked.
    fn lacks_thread_local(&self) -> bool {
        let can_be_found = |facts: &Arc<Facts>| facts.thread_local.is_some();
        !self.is_thread_local_checked && self.facts.as_ref().is_some_and(can_be_found)
    }

    /// Has it looked at once more, after twice the time of the last look.
    fn look_again_later(&mut self) {
        let due = BootNanos::now().0.saturating_add(self.look_after);
        self.look_due = Some(BootNanos(due));
        self.look_after = (2 * self.look_after).min(LOOK_LAST);
    }

    /// Its target, to change it.
    fn change(&mut self) -> &mut Target {
        Arc::make_mut(&mut self.target)
    }

    fn refuse_for_want_of_room(&mut self) {
        self.change().interpreter = None;
        self.facts = None;
        self.runtime = 0;
        // There may be room for it later.
        self.seen.clear();
        self.unsupported = Some("more processes than --max-processes allows".to_owned());
    }

    /// Finds out who owns its CPU, unless the hook has said so.
    fn name_owner(&mut self, told_apart: &BTreeSet<ServiceAttribute>) {
        let pid = self.target.process.pid;
        self.change().container = container::id(pid);
        if self.by_hook == ByHook::Nothing {
            self.change().service = Arc::new(labels::service(pid, told_apart));
        }
    }
}

impl Targets {
    /// An empty table: call [`Self::scan`] to fill it.
    pub fn new(scope: Scope, control: Box<dyn Control>, health: Health) -> Self {
        Self {
            scope,
            control,
            health,
            files: Files::default(),
            layouts: Vec::new(),
            hooks: hooks::Hooks::default(),
            processes: HashMap::new(),
            requests: Vec::new(),
            discovery: discover::Discovery::default(),
            told_apart: BTreeSet::new(),
            sdks: sdk::Told::default(),
            most_profiled: usize::MAX,
            profiled: 0,
            has_changed: true,
        }
    }

    /// Profiles so many processes at most.
    pub fn limit(&mut self, processes: u32) {
        self.most_profiled = usize::try_from(processes).unwrap_or(usize::MAX);
    }

    /// Tells the profiles of a service apart by these attributes; by no others, so that those split
    /// nothing.
    pub fn tell_apart(&mut self, attributes: BTreeSet<ServiceAttribute>) {
        self.told_apart = attributes;
    }

    /// Starts the sampling clock. `period` is in nanoseconds of CPU time.
    pub fn start_sampling(&mut self, period: u64) -> Result<(), ControlError> {
        self.control.start_sampling(period)
    }

    /// Takes over the resource that a process has told.
    pub fn resource(&mut self, resource: &Resource) {
        if let Some(known) = self.processes.get_mut(&resource.pid) {
            self.has_changed = true;
            let service = labels::with_resource(&known.target.service, resource, &self.told_apart);
            known.change().service = Arc::new(service);
            let told = match resource.attributes {
                Some(_) => ByHook::Attributes,
                None => ByHook::Name,
            };
            known.by_hook = known.by_hook.max(told);
            if known.lacks_resource() {
                // Written it is, now that somebody has told a part of it.
                self.ask_for_recipe(resource.pid, None);
            }
        }
    }

    /// Does what is due, and says when to call again.
    pub fn due(&mut self, now: BootNanos) -> Option<BootNanos> {
        let due: Vec<ProcessKey> = self
            .processes
            .values()
            .filter(|known| known.due.at().is_some_and(|due| due <= now))
            .map(|known| known.target.process)
            .collect();
        for process in due {
            if procfs::stat(process.pid).is_none_or(|stat| stat.process != process) {
                self.forget(process.pid);
                continue;
            }
            if let Some(known) = self.processes.get_mut(&process.pid) {
                known.due.done(now);
            }
            self.examine(process, now);
        }
        let looks: Vec<Pid> = self
            .processes
            .values_mut()
            .filter(|known| known.look_due.is_some_and(|due| due <= now))
            .map(|known| {
                known.look_due = None;
                known.target.process.pid
            })
            .collect();
        for pid in looks {
            self.ask_for_recipe(pid, Some(0));
        }
        self.look_for_imports(now);
        let probes = self.update_probes(now);
        let sdks = self.tell_of_new_sdks(now);
        let dues = |known: &Known| [known.due.at(), known.look_due].into_iter().flatten().min();
        let dues = self.processes.values().filter_map(dues);
        dues.chain(self.imports_due())
            .chain(probes)
            .chain(sdks)
            .min()
    }

    /// What is known now, if that has changed since this was last called.
    pub fn changes(&mut self) -> Option<Snapshot> {
        std::mem::take(&mut self.has_changed).then(|| self.snapshot())
    }

    /// What is known now, for the data plane.
    pub fn snapshot(&self) -> Snapshot {
        let all = matches!(self.scope, Scope::Processes { .. });
        Snapshot::new(
            self.processes
                .values()
                .filter(|known| all || known.target.interpreter.is_some())
                .map(|known| Arc::clone(&known.target)),
        )
    }

    /// Reads the mappings of a process anew, unless that was done just now.
    pub fn refresh_mappings(&mut self, pid: Pid) {
        let now = BootNanos::now();
        if let Some(known) = self.processes.get(&pid)
            && now.0.saturating_sub(known.refreshed.0) >= REFRESH
        {
            self.examine(known.target.process, now);
        }
    }

    /// Processes that somebody must look at, because a hostile one could make the looking block.
    pub fn take_requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }

    /// Takes over what a look has found.
    pub fn answer(&mut self, answer: Answer) {
        let pid = answer.process.pid;
        let Some(known) = self.processes.get_mut(&pid) else {
            return;
        };
        if known.target.process != answer.process {
            return;
        }
        let mut has_news = false;
        if known.code_count != answer.code_count && answer.recipe.is_some() {
            known.code_count = answer.code_count;
            has_news = true;
        }
        if known.main_interpreter != answer.main_interpreter && answer.main_interpreter != 0 {
            known.main_interpreter = answer.main_interpreter;
            has_news = true;
        }
        if let Some(place) = answer.thread_local {
            let place = place.inspect_err(|reason| {
                tracing::debug!(%pid, %reason, "looked for the attached thread state");
            });
            let place = place.ok();
            known.is_thread_local_checked = place.is_some();
            has_news |= known.thread_local != place;
            known.thread_local = place;
        }
        if has_news {
            self.tell(pid);
        }
        self.tell_others(pid, answer.others);
        if let Some(resource) = answer.resource {
            self.resource(&resource);
        }
        let Some(known) = self.processes.get_mut(&pid) else {
            return;
        };
        let Some(recipe) = answer.recipe else {
            if known.lacks_thread_local() {
                known.look_again_later();
            }
            return;
        };
        let had = matches!(known.recipe, Some(Ok(_)));
        let classes = recipe.as_ref().map(|recipe| recipe.class_count);
        let took_us = answer.took.as_micros();
        tracing::debug!(%pid, ?classes, took_us, "looked for the current span");
        let is_not_yet = match &recipe {
            // Its hook will have left local roots once there are more spans.
            Ok(recipe) => known.hook_file.is_some() && recipe.local_root.class == 0,
            Err(reason) => matches!(reason, NoRecipe::NotYet | NoRecipe::Missing(_)),
        };
        if is_not_yet || known.lacks_thread_local() {
            known.look_again_later();
        } else {
            known.look_due = None;
        }
        let recipe = recipe.map(Arc::new);
        known.recipe = Some(recipe.clone());
        let is_new = !had && recipe.is_ok();
        if had || recipe.is_ok() {
            self.tell_recipe(pid, recipe.ok().as_deref());
        }
        self.hooks.may_differ = true;
        self.note_spans_seen(pid, is_new);
    }

    /// Notes whether the spans of a process are seen; `anew`: only from now on. After the kernel was
    /// told: samples taken later go by what it was told.
    pub(super) fn note_spans_seen(&mut self, pid: Pid, anew: bool) {
        let Some(known) = self.processes.get_mut(&pid) else {
            return;
        };
        let are_seen = match &known.recipe {
            None => return,
            Some(Ok(_) | Err(NoRecipe::NoOpenTelemetry | NoRecipe::NotYet)) => true,
            Some(Err(_)) => matches!(known.hook, Some(Hook::Present(_))),
        };
        let before = known.target.spans;
        let spans = match before {
            _ if !are_seen => SpansSeen::Never,
            since @ SpansSeen::Since(_) if !anew => since,
            _ => SpansSeen::Since(BootNanos::now()),
        };
        if spans != before {
            known.change().spans = spans;
            self.has_changed = true;
        }
    }

    fn tell_recipe(&mut self, pid: Pid, recipe: Option<&SpanRecipe>) {
        if let Err(error) = self.control.set_span_recipe(pid, recipe) {
            tracing::warn!(%pid, %error, "cannot tell the kernel how to read spans");
            if let Some(known) = self.processes.get_mut(&pid)
                && recipe.is_some()
            {
                known.counted.no_recipe(&self.health);
                // Then its probes are needed.
                known.recipe = Some(Err(NO_ROOM));
            }
        }
    }

    /// Tells the kernel how to read the spans of the interpreters beside the main one, as far as they can be read.
    fn tell_others(&mut self, pid: Pid, others: Vec<(InterpreterId, OtherRecipe)>) {
        let Some(known) = self.processes.get_mut(&pid) else {
            return;
        };
        let others: HashMap<InterpreterId, OtherRecipe> = others.into_iter().collect();
        let before = std::mem::replace(&mut known.others, others.clone());
        let is_readable = |recipe: &OtherRecipe| recipe.is_ok();
        for (&interpreter, recipe) in &before {
            if is_readable(recipe) && !others.get(&interpreter).is_some_and(is_readable) {
                self.forget_other(pid, interpreter);
            }
        }
        for (&interpreter, recipe) in &others {
            let (Ok(readable), false) = (recipe.as_ref(), before.get(&interpreter) == Some(recipe))
            else {
                continue;
            };
            let told = self
                .control
                .set_interpreter_recipe(pid, interpreter, Some(readable));
            if let Err(error) = told {
                let no_room: OtherRecipe = Arc::new(Err(NO_ROOM));
                // At the next look it is tried again, and not counted again.
                if before.get(&interpreter) != Some(&no_room) {
                    self.health.count(Loss::OtherRecipeNotKept);
                    tracing::warn!(%pid, %error, "cannot tell the kernel how to read a sub-interpreter's spans");
                }
                if let Some(known) = self.processes.get_mut(&pid) {
                    known.others.insert(interpreter, no_room);
                }
            }
        }
    }

    fn forget_other(&mut self, pid: Pid, interpreter: InterpreterId) {
        if let Err(error) = self.control.set_interpreter_recipe(pid, interpreter, None) {
            tracing::debug!(%pid, %error, "cannot forget an interpreter");
        }
    }

    /// A thread runs in an interpreter that the kernel knows nothing of.
    pub fn refresh_interpreters(&mut self, pid: Pid) {
        let now = BootNanos::now();
        let Some(known) = self.processes.get_mut(&pid) else {
            return;
        };
        if now.0.saturating_sub(known.others_asked.0) >= ASK_AGAIN {
            known.others_asked = now;
            self.ask_for_recipe(pid, None);
        }
    }

    /// The recipe of a process does not fit, perhaps for want of a class of spans.
    pub fn refresh_recipe(&mut self, pid: Pid, class: Option<u64>) {
        self.ask_for_recipe(pid, Some(class.unwrap_or(0)));
    }

    /// Asks for a look: a first one, one after imports, or `again` for a class (0: any other reason).
    pub(super) fn ask_for_recipe(&mut self, pid: Pid, again: Option<u64>) {
        let now = BootNanos::now();
        let Some(known) = self.processes.get_mut(&pid) else {
            return;
        };
        if let Some(class) = again {
            let is_new = class != 0 && !known.wanted.contains(&class);
            if !is_new && now.0.saturating_sub(known.asked_again.0) < ASK_AGAIN {
                return;
            }
            known.asked_again = now;
            if is_new {
                if known.wanted.len() >= MAX_WANTED {
                    known.wanted.remove(0);
                }
                known.wanted.push(class);
            }
        }
        if let (Some(facts), Some(interpreter)) = (&known.facts, &known.target.interpreter) {
            self.requests.push(Request {
                process: known.target.process,
                file: interpreter.file,
                facts: Arc::clone(facts),
                bias: known.bias,
                wanted: known.wanted.clone(),
                // After an exec the looker remembers what is forgotten here.
                again: again.is_some() || known.recipe.is_none(),
                has_hook: known.hook_file.is_some(),
                process_block: match &known.hook_file {
                    Some(file) if known.lacks_resource() => file.process_block,
                    _ => None,
                },
                thread_local: facts
                    .thread_local
                    .filter(|_| known.lacks_thread_local())
                    .map(|it| (it, is_musl(&known.target.mappings))),
                has_others: !known.others.is_empty(),
            });
        }
    }

    /// What is known of one process, for people.
    pub fn report(&self, pid: Pid) -> Option<Report> {
        self.processes.get(&pid).and_then(Report::new)
    }

    /// What is known of every Python process, by pid.
    pub fn reports(&self) -> Vec<Report> {
        let mut reports: Vec<Report> = self.processes.values().filter_map(Report::new).collect();
        reports.sort_by_key(|report| report.pid);
        reports
    }

    fn insert(&mut self, pid: Pid, mut known: Known) {
        let before = self.processes.get(&pid);
        let is_other = before.is_none();
        let was_profiled = before.is_some_and(Known::is_profiled);
        let is_gone = |it: &&InterpreterId| !known.others.contains_key(it);
        let gone: Vec<InterpreterId> = before.map_or_else(Vec::new, |before| {
            let told = before.others.iter().filter(|(_, recipe)| recipe.is_ok());
            told.map(|(it, _)| it).filter(is_gone).copied().collect()
        });
        // An exec makes another of it that is still the same process.
        known.counted.not_profiled |= before.is_some_and(|before| {
            before.counted.not_profiled && before.target.process == known.target.process
        });
        if known.is_profiled() && !was_profiled && self.profiled >= self.most_profiled {
            known.counted.not_profiled(&self.health);
            known.refuse_for_want_of_room();
        }
        let others = self.processes.len() - self.profiled;
        if is_other && !known.is_profiled() && others >= MAX_OTHERS {
            self.health.count(Loss::OthersFull);
            return;
        }
        for interpreter in gone {
            self.forget_other(pid, interpreter);
        }
        self.profiled += usize::from(known.is_profiled());
        self.profiled -= usize::from(was_profiled);
        self.has_changed = true;
        self.hooks.may_differ = true;
        self.processes.insert(pid, known);
    }

    fn forget(&mut self, pid: Pid) {
        if let Some(gone) = self.processes.remove(&pid) {
            self.profiled -= usize::from(gone.is_profiled());
            self.has_changed = true;
            self.hooks.may_differ = true;
            for &interpreter in gone.others.keys() {
                self.forget_other(pid, interpreter);
            }
        }
        if let Scope::Processes { pids, .. } = &mut self.scope {
            // The next process with this pid is not the one that was asked for.
            pids.retain(|it| *it != pid);
        }
        if let Err(error) = self.control.remove_process(pid) {
            tracing::debug!(%pid, %error, "cannot forget a process");
        }
    }
}
