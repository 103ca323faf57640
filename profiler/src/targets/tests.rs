//! The registry over real processes, with a control that records; files that lie.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    os::{fd::BorrowedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use profiler_common::{
    context::SpanRecipe,
    python::{Process, PythonLayout},
    walk::code_version,
};
use proptest::prelude::{any, proptest};
use rustix::io::Errno;

use super::{
    FileId, Report, Scope, Search, SpansSeen, Targets,
    elf::{Elf, OpenFile},
    errands::Errands,
    facilities,
    facility::Word,
    hook::notes::{self, Hook, HookFacts, Refused},
    look::{Looker, Request, Seen, memory::Memory},
    opentelemetry::{look::ContextSeen, recipe::NoRecipe},
    procfs,
    python::detect::{Detection, detect},
    python::live::interpreters,
    python::look::{PythonLook, PythonSeen},
    python::thread_local::Unresolved,
    registry::Known,
    report::reports,
};
use crate::{
    events::{ProcessChange, ProcessNotice, Resource},
    health::{Health, Loss},
    id::Pid,
    kernel::{Control, ControlError, InterpreterId, NoRoute, Route, SpanProbeSites, SpanProbes},
    time::{BootNanos, monotonic_now},
};

/// How long a test waits for files that do not come at once.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, PartialEq)]
enum Call {
    Layout(u32),
    Process(Pid, Process),
    Remove(Pid),
    /// To the file of this inode.
    Attach(u64, SpanProbeSites),
    Detach(SpanProbes),
    ForgetSpans(bool),
}

/// Calls, and why the next probes are refused, if they are.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Call>>>, Arc<Mutex<Option<Errno>>>);

impl Recorder {
    fn push(&self, call: Call) {
        self.0.lock().unwrap().push(call);
    }

    /// Inodes of the files that were to get probes.
    fn attached(&self) -> Vec<u64> {
        let calls = self.0.lock().unwrap();
        let inode = |call: &Call| match call {
            Call::Attach(inode, _) => Some(*inode),
            _ => None,
        };
        calls.iter().filter_map(inode).collect()
    }

    /// The last entry set for a process, unless it was removed since.
    fn process(&self, pid: Pid) -> Option<Process> {
        self.0
            .lock()
            .unwrap()
            .iter()
            .fold(None, |last, call| match call {
                Call::Process(it, process) if *it == pid => Some(*process),
                Call::Remove(it) if *it == pid => None,
                _ => last,
            })
    }
}

impl Control for Recorder {
    fn start_sampling(&mut self) -> Result<(), ControlError> {
        Ok(())
    }

    fn set_layout(&mut self, index: u32, _: &PythonLayout) -> Result<(), ControlError> {
        self.push(Call::Layout(index));
        Ok(())
    }
    fn set_process(&mut self, pid: Pid, process: &Process) -> Result<(), ControlError> {
        self.push(Call::Process(pid, *process));
        Ok(())
    }
    fn set_interpreter_recipe(
        &mut self,
        _: Pid,
        _: InterpreterId,
        _: Option<&SpanRecipe>,
    ) -> Result<(), ControlError> {
        Ok(())
    }

    fn set_span_recipe(
        &mut self,
        _pid: Pid,
        _recipe: Option<&SpanRecipe>,
    ) -> Result<(), ControlError> {
        match *self.1.lock().unwrap() {
            None => Ok(()),
            Some(errno) => Err(ControlError::Map {
                map: "SPAN_RECIPES",
                reason: errno.to_string(),
            }),
        }
    }

    fn remove_process(&mut self, pid: Pid) -> Result<(), ControlError> {
        self.push(Call::Remove(pid));
        Ok(())
    }
    fn attach_span_probes(
        &mut self,
        file: BorrowedFd<'_>,
        sites: &SpanProbeSites,
    ) -> Result<SpanProbes, ControlError> {
        let file = File::from(file.try_clone_to_owned().unwrap());
        let inode = file.metadata().unwrap().ino();
        self.push(Call::Attach(inode, sites.clone()));
        if let Some(errno) = *self.1.lock().unwrap() {
            let reason = NoRoute::by(Route::Multi, &std::io::Error::from(errno));
            return Err(ControlError::Probe(reason));
        }
        Ok(SpanProbes(7))
    }

    fn detach_span_probes(&mut self, probes: SpanProbes) {
        self.push(Call::Detach(probes));
    }

    fn forget_spans(&mut self, keep: &dyn Fn(Pid) -> bool) {
        self.push(Call::ForgetSpans(keep(Pid(std::process::id()))));
    }
}

/// A line in one piece: nothing follows before it is asked for.
fn wait_for_line(child: &mut Child) {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
}

pub(super) struct Spawned(Child);

impl Drop for Spawned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Spawned {
    pub(super) fn python(python: &PathBuf) -> Self {
        Self::running(python, "import time; print(1, flush=True); time.sleep(60)")
    }

    /// One of another service.
    pub(super) fn other(python: &PathBuf) -> Self {
        let script = "import time; print(1, flush=True); time.sleep(60)";
        let mut command = Command::new(python);
        command.env("OTEL_SERVICE_NAME", "other");
        Self::started(command.args(["-c", script]))
    }

    /// A script that has written its first line.
    fn running(python: &PathBuf, script: &str) -> Self {
        let mut command = Command::new(python);
        command
            .env("OTEL_SERVICE_NAME", "shop")
            .env("OTEL_RESOURCE_ATTRIBUTES", "service.version=7");
        Self::started(command.args(["-c", script]))
    }

    /// A command that has written its first line.
    pub(super) fn started(command: &mut Command) -> Self {
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        wait_for_line(&mut child);
        Self(child)
    }

    /// A process that has mapped a library.
    fn loading(python: &PathBuf, library: &Path) -> Self {
        let script = format!(
            "import ctypes, sys; kept = ctypes.CDLL({library:?}); print(1, flush=True); sys.stdin.read()"
        );
        Self::running(python, &script)
    }

    /// Writes a line, and waits for one.
    fn tell(&mut self, line: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{line}").unwrap();
        wait_for_line(&mut self.0);
    }

    pub(super) fn pid(&self) -> Pid {
        Pid(self.0.id())
    }
}

fn targets(scope: Scope) -> (Targets, Recorder) {
    let recorder = Recorder::default();
    let targets = search(all_of(scope), &recorder, &Health::default());
    (targets, recorder)
}

pub(super) fn all_of(scope: Scope) -> Search {
    Search {
        scope,
        most: usize::MAX,
        has_mapping_notices: false,
    }
}

pub(super) fn errands(health: &Health) -> Errands {
    Errands::start(|| {}, health.clone()).unwrap()
}

/// Has done what is due, with all that does not come at once.
fn turn(targets: &mut Targets, now: BootNanos) -> Option<BootNanos> {
    targets.due(now);
    targets.take_all_news(PATIENCE);
    targets.due(now)
}

fn scan(targets: &mut Targets) {
    targets.scan();
    targets.take_all_news(PATIENCE);
}

fn search(search: Search, recorder: &Recorder, health: &Health) -> Targets {
    let facilities = facilities::all(facilities::Settings::default());
    Targets::new(
        search,
        facilities,
        Box::new(recorder.clone()),
        health.clone(),
        errands(health),
    )
}

fn report(targets: &Targets, pid: Pid) -> Report {
    let mut reports = reports(targets).into_iter();
    reports.find(|report| report.pid == pid).unwrap()
}

pub(super) fn only(pids: Vec<Pid>) -> Scope {
    Scope::Processes { pids, follow: true }
}

pub(super) fn notice(pid: Pid, what: ProcessChange) -> ProcessNotice {
    ProcessNotice {
        time: BootNanos::now(),
        pid,
        what,
    }
}

/// The notice that a process was forked from another.
pub(super) fn fork(child: Pid, parent: Pid) -> ProcessNotice {
    let start_time = procfs::stat(child).unwrap().process.start_time;
    notice(child, ProcessChange::Fork { parent, start_time })
}

/// Each interpreter asked for is found with its service, renamed by its resource, and dropped
/// when it exits.
#[test]
fn interpreters_are_found_named_and_dropped() {
    for python in interpreters() {
        let child = Spawned::python(&python);
        let pid = child.pid();
        let (mut targets, recorder) = targets(only(vec![pid]));
        assert_ne!(recorder.process(pid).unwrap().runtime, 0);
        let snapshot = targets.snapshot();
        let target = snapshot.iter().next().unwrap();
        assert_eq!(target.service.name, "shop");
        let evaluation = target.interpreter.as_ref().unwrap().evaluation_loop.start;
        assert!(target.mapping(evaluation).is_some());
        let report = report(&targets, pid);
        assert_eq!(
            (report.unsupported.as_deref(), report.span_source),
            (None, "none")
        );
        let resource = Resource {
            pid,
            service_name: "cart".to_owned(),
            service_namespace: String::new(),
            attributes: None,
        };
        targets.changes();
        assert!(targets.changes().is_none());
        targets.hear(pid, &Word::Resource(&resource));
        let changes = targets.changes().unwrap();
        assert_eq!(changes.iter().next().unwrap().service.name, "cart");
        targets.notice(notice(pid, ProcessChange::Exit));
        assert_eq!(recorder.process(pid), None);
        assert_eq!(targets.snapshot().len(), 0);
    }
}

/// A child takes over its parent's facts; an exec forgets them and looks again on the schedule;
/// what is not Python keeps an entry without a runtime only if it was asked for.
#[test]
fn forks_and_execs_are_followed() {
    let Some(python) = interpreters().into_iter().next() else {
        return;
    };
    let (parent, child) = (Spawned::python(&python), Spawned::python(&python));
    let sleeper = Spawned(Command::new("sleep").arg("60").spawn().unwrap());
    let (mut targets, recorder) = targets(only(vec![parent.pid(), sleeper.pid()]));
    assert_eq!(recorder.process(sleeper.pid()).unwrap().runtime, 0);
    targets.notice(fork(child.pid(), parent.pid()));
    let runtime = recorder.process(parent.pid()).unwrap().runtime;
    assert_eq!(recorder.process(child.pid()).unwrap().runtime, runtime);
    let exec = notice(child.pid(), ProcessChange::Exec);
    targets.notice(exec);
    assert_eq!(recorder.process(child.pid()).unwrap().runtime, 0);
    let next = next_look(&targets, child.pid()).unwrap();
    assert_eq!(next.0 - exec.time.0, 5_000_000);
    turn(&mut targets, next);
    assert!(next_look(&targets, child.pid()).unwrap() > next);
    // If a worker is still on its way for the process, its files are looked at after that.
    let start = monotonic_now();
    while recorder.process(child.pid()).unwrap().runtime == 0 {
        assert!(start.elapsed() < PATIENCE);
        turn(&mut targets, BootNanos::now());
    }
}

/// When a process is looked at next: other tests start processes, too.
fn next_look(targets: &Targets, pid: Pid) -> Option<BootNanos> {
    let known = targets.known().find(|known| known.pid() == pid);
    known.and_then(Known::next_look)
}

/// If the kernel reports mappings, a process that runs nothing new is not looked at, and one that maps something new
/// is looked at soon.
#[test]
fn what_is_mapped_is_looked_at() {
    let Some(python) = interpreters().into_iter().next() else {
        return;
    };
    let sleeper = Spawned(Command::new("sleep").arg("60").spawn().unwrap());
    let recorder = Recorder::default();
    let with_notices = Search {
        has_mapping_notices: true,
        ..all_of(Scope::Host)
    };
    let mut targets = search(with_notices, &recorder, &Health::default());
    let exec = notice(sleeper.pid(), ProcessChange::Exec);
    targets.notice(exec);
    turn(&mut targets, exec.time);
    assert_eq!(next_look(&targets, sleeper.pid()), None);
    // A process whose exec is reported later is found by what it maps.
    let child = Spawned::python(&python);
    let file = |inode| FileId { device: 1, inode };
    targets.mapped(child.pid(), file(1));
    turn(&mut targets, exec.time);
    let due = next_look(&targets, child.pid()).unwrap();
    assert!(due.0 <= BootNanos::now().0 + 2_000_000);
    let now = BootNanos(BootNanos::now().0 + 10_000_000);
    turn(&mut targets, now);
    assert_ne!(recorder.process(child.pid()).unwrap().runtime, 0);
}

/// On a whole host a Python is found and what is not Python has no entry.
#[test]
fn the_host_is_searched() {
    let Some(python) = interpreters().into_iter().next() else {
        return;
    };
    let child = Spawned::python(&python);
    let sleeper = Spawned(Command::new("sleep").arg("60").spawn().unwrap());
    let (targets, recorder) = targets(Scope::Host);
    assert!(recorder.process(child.pid()).is_some());
    assert!(recorder.process(sleeper.pid()).is_none());
    assert!(targets.snapshot().iter().all(|it| it.interpreter.is_some()));
}

/// Makes code objects, and a sub-interpreter, when it is told to.
const MAKES_CODE: &str = "
import sys
print(1, flush=True)
for line in sys.stdin:
    if line == 'code\\n':
        exec('def made(): pass')
    else:
        try:
            import _interpreters
        except ImportError:
            import _xxsubinterpreters as _interpreters
        kept = _interpreters.create()
    print(2, flush=True)
";

/// From 3.12 on the kernel is told where code objects are counted: the count stands still as long as none
/// is made, and says nothing once there is a second interpreter. (3.12's own has no name in a stripped file.)
#[test]
fn code_objects_are_counted() {
    for python in interpreters() {
        let mut child = Spawned::running(&python, MAKES_CODE);
        let pid = child.pid();
        let (mut targets, recorder) = targets(only(vec![pid]));
        let requests = targets.take_requests();
        let facts = &requests[0].part::<PythonLook>().unwrap().facts;
        let layout = facts.layout;
        let has_symbols = !facts.stripped;
        targets.answer(Looker::default().look(&requests[0]).unwrap());
        let target = targets.snapshot().iter().next().unwrap().clone();
        let (_, minor, _) = target.interpreter.as_ref().unwrap().version;
        let process = recorder.process(pid).unwrap();
        let is_counted = minor >= 13 || minor == 12 && has_symbols;
        assert_eq!(
            process.code_version != 0,
            is_counted,
            "{}",
            python.display()
        );
        if !is_counted {
            continue;
        }
        let memory = Memory::open(target.process).unwrap();
        let count = || code_version(&memory, &layout, &process);
        let before = count();
        assert_ne!(before, 0);
        assert_eq!(count(), before);
        child.tell("code");
        assert!(count() > before);
        child.tell("interpreter");
        assert_eq!(count(), 0);
    }
}

/// A process that was not sampled is not asked what it has imported. If the kernel reports mappings, the next scan
/// leaves known processes alone; after a notice was lost, it looks at all again.
#[test]
fn idle_processes_are_left_alone() {
    let python = interpreters().pop().unwrap();
    let child = Spawned::running(&python, MAKES_CODE);
    let with_notices = Search {
        has_mapping_notices: true,
        ..all_of(only(vec![child.pid()]))
    };
    let mut targets = search(with_notices, &Recorder::default(), &Health::default());
    let request = targets.take_requests().swap_remove(0);
    targets.answer(Looker::default().look(&request).unwrap());
    let later = |seconds: u64| BootNanos(BootNanos::now().0 + seconds * 1_000_000_000);
    turn(&mut targets, later(10));
    assert!(targets.take_requests().is_empty());
    targets.sampled([child.pid()]);
    turn(&mut targets, later(20));
    assert_eq!(targets.take_requests().len(), 1);
    turn(&mut targets, later(30));
    assert!(targets.take_requests().is_empty());
    scan(&mut targets);
    assert!(targets.take_requests().is_empty());
    targets.note_loss();
    scan(&mut targets);
    assert!(!targets.take_requests().is_empty());
}

/// What a look finds, but for a recipe.
fn with_recipe(request: &Request) -> Seen {
    with(request, Ok(bytemuck::Zeroable::zeroed()))
}

/// What a look would have found if this were how the current span is read.
fn with(request: &Request, recipe: Result<SpanRecipe, NoRecipe>) -> Seen {
    let mut seen = Looker::default().look(request).unwrap();
    let context = seen.answer_mut::<ContextSeen>().unwrap();
    context.recipe = Some(recipe);
    seen
}

/// A process beyond those that may be profiled is one loss, however often it is looked at, and so is a recipe that the
/// kernel has no room for; its process is profiled.
#[test]
fn want_of_room_is_counted_once() {
    let python = interpreters().pop().unwrap();
    let children = [(); 2].map(|()| Spawned::python(&python));
    let (recorder, health) = (Recorder::default(), Health::default());
    let scope = only(children.iter().map(Spawned::pid).collect());
    let only_one = Search {
        most: 1,
        ..all_of(scope)
    };
    let mut targets = search(only_one, &recorder, &health);
    for _ in 0..2 {
        scan(&mut targets);
    }
    let counted = || [Loss::ProcessTableFull, Loss::RecipeNotKept].map(|loss| health.get(loss));
    assert_eq!(counted(), [1, 0]);
    let request = targets.take_requests().swap_remove(0);
    *recorder.1.lock().unwrap() = Some(Errno::TOOBIG);
    for _ in 0..3 {
        targets.answer(with_recipe(&request));
    }
    assert_eq!(counted(), [1, 1]);
    let report = report(&targets, request.process.pid);
    assert_eq!(report.unsupported, None);
    assert!(report.no_context.unwrap().contains("room"));
}

/// A child is looked at by itself if its parent lacked something when it was forked, though the parent's spans could be
/// read: the look that the parent is still to have is not the child's.
#[test]
fn a_child_does_not_wait_for_its_parents_look() {
    for python in interpreters() {
        let (parent, child) = (Spawned::python(&python), Spawned::python(&python));
        let (mut targets, _) = targets(only(vec![parent.pid()]));
        let request = targets.take_requests().swap_remove(0);
        let mut seen = with_recipe(&request);
        let thread_local = request.part::<PythonLook>().unwrap().thread_local;
        let lacks_something = thread_local.is_some();
        let found = seen.answer_mut::<PythonSeen>().unwrap();
        found.thread_local = thread_local.map(|_| Err(Unresolved::Misfit));
        targets.answer(seen);
        targets.notice(fork(child.pid(), parent.pid()));
        let asked = targets.take_requests();
        let is_asked = asked.iter().any(|it| it.process.pid == child.pid());
        assert_eq!(is_asked, lacks_something, "{}", python.display());
    }
}

/// A hook of another release is counted as one that is not supported, once, and is not tried.
#[test]
fn hooks_of_other_releases_are_counted() {
    let python = interpreters().pop().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("hook.so");
    compile_hook(&library, "spanprof_abi_v2", "nop", START, "");
    let children = [(); 2].map(|()| Spawned::loading(&python, &library));
    let (recorder, health) = (Recorder::default(), Health::default());
    let scope = only(children.iter().map(Spawned::pid).collect());
    let mut targets = search(all_of(scope), &recorder, &health);
    turn(&mut targets, BootNanos::now());
    assert!(recorder.attached().is_empty());
    let counted = [Loss::HookUnsupported, Loss::ProbeFailed].map(|loss| health.get(loss));
    assert_eq!(counted, [1, 0]);
}

fn hook(version: &str, nop: &str, arguments: &str) -> Hook {
    hook_with(version, nop, arguments, "")
}

/// The same with more symbols in its data: `,name`.
fn hook_with(version: &str, nop: &str, arguments: &str, more: &str) -> Hook {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("hook.so");
    compile_hook(&library, version, nop, arguments, more);
    let data = OpenFile::open(&library).unwrap().data();
    notes::find(&Elf::parse(&data).unwrap())
}

fn compile_hook(library: &Path, version: &str, nop: &str, arguments: &str, more: &str) {
    let note = |name: &str, site: &str, arguments: &str| {
        format!(
            ".balign 4\n.4byte 8,9f-8f,3\n.asciz \"stapsdt\"\n8: .8byte {site}\n.8byte base\n\
             .8byte 0\n.asciz \"spanprof\"\n.asciz \"{name}\"\n.asciz \"{arguments}\"\n9: .balign 4\n"
        )
    };
    let text = format!(
        ".globl {version},spanprof_process_block{more}\n.type {version},@object\n\
         .type spanprof_process_block,@object\n.data\nspanprof_process_block: .8byte 0\n\
         spanprof_process_attributes: .space 2048\n.text\n{version}: nop\none: {nop}\ntwo: nop\n\
         .section .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\nbase: .space 1\n\
         .section .note.stapsdt,\"\",\"note\"\n{}{}.section .note.GNU-stack,\"\"\n",
        note("span_start", "one", arguments),
        note("span_end", "two", "8@%rdi 8@%rsi 8@%rdx"),
    );
    let source = library.with_extension("s");
    std::fs::write(&source, text).unwrap();
    let mut compiler = Command::new("cc");
    compiler
        .args(["-shared", "-nostdlib", "-o"])
        .arg(library)
        .arg(&source);
    assert!(compiler.status().unwrap().success());
}

/// Arguments of `span_start` as the ABI has them.
const START: &str = "8@%rdi 8@%rsi 8@%rdx 8@%rcx 8@%r8 8@%r9 8@%r10 8@%r12 8@%r13";

/// Probes are put on the very file that a process has mapped, though its path leads to another by now.
#[test]
fn probes_are_put_on_the_file_that_was_read() {
    let python = interpreters().pop().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("hook.so");
    compile_hook(&library, "spanprof_abi_v1", "nop", START, "");
    let mapped = std::fs::metadata(&library).unwrap().ino();
    let child = Spawned::loading(&python, &library);
    let (mut targets, recorder) = targets(only(vec![child.pid()]));
    let other = folder.path().join("other.so");
    compile_hook(&other, "spanprof_abi_v1", "nop;nop", START, "");
    std::fs::rename(&other, &library).unwrap();
    turn(&mut targets, BootNanos::now());
    assert_eq!(recorder.attached(), [mapped]);
}

/// A file that was refused for want of descriptors gets its probes a minute later, and is counted once; one for
/// which a right is missing is not tried again.
#[test]
fn refusals_that_may_pass_are_forgotten() {
    let python = interpreters().pop().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("hook.so");
    compile_hook(&library, "spanprof_abi_v1", "nop", START, "");
    let child = Spawned::loading(&python, &library);
    let start = BootNanos::now();
    let later = |seconds: u64| BootNanos(start.0 + seconds * 1_000_000_000);
    for (errno, tries) in [(Errno::MFILE, [1, 1, 2, 3]), (Errno::PERM, [1, 1, 1, 1])] {
        let recorder = Recorder::default();
        let health = Health::default();
        let scope = only(vec![child.pid()]);
        let mut targets = search(all_of(scope), &recorder, &health);
        *recorder.1.lock().unwrap() = Some(errno);
        let mut tried = Vec::new();
        for seconds in [0, 59, 60, 120] {
            if seconds == 120 {
                *recorder.1.lock().unwrap() = None;
            }
            // Something else may have changed what is needed.
            scan(&mut targets);
            turn(&mut targets, later(seconds));
            tried.push(recorder.attached().len());
        }
        assert_eq!(tried, tries, "{errno}");
        assert_eq!(health.get(Loss::ProbeFailed), 1);
    }
}

/// Spans that only the hook tells of are seen once its probes are on, and never if those are refused.
#[test]
fn spans_of_the_hook_are_seen_by_its_probes() {
    let python = interpreters().pop().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("hook.so");
    compile_hook(&library, "spanprof_abi_v1", "nop", START, "");
    let child = Spawned::loading(&python, &library);
    for refused in [None, Some(Errno::PERM)] {
        let (mut targets, recorder) = targets(only(vec![child.pid()]));
        let request = targets.take_requests().swap_remove(0);
        let unreadable = NoRecipe::RuntimeContext("Own".to_owned());
        targets.answer(with(&request, Err(unreadable)));
        let seen = |targets: &Targets| targets.snapshot().iter().next().unwrap().spans;
        assert_eq!(seen(&targets), SpansSeen::NotYet);
        *recorder.1.lock().unwrap() = refused;
        let before = BootNanos::now();
        turn(&mut targets, before);
        match (seen(&targets), refused) {
            (SpansSeen::Since(time), None) => assert!(time >= before),
            (SpansSeen::Never, Some(_)) => {}
            (other, _) => panic!("{other:?}"),
        }
    }
}

/// A hook of this ABI is found; another version, other arguments and a slow site are refused.
#[test]
fn hooks_are_told_apart() {
    const NOP: &str = "nop";
    const LONG_NOP: &str = ".byte 0x0f,0x1f,0x44,0,0";
    let present = |more: &str| match hook_with("spanprof_abi_v1", NOP, START, more) {
        Hook::Present(facts) => facts,
        other => panic!("{other:?}"),
    };
    let facts = present("");
    let HookFacts {
        sites,
        process_attributes,
        ..
    } = &*facts;
    assert_eq!(sites.span_end[0] - sites.span_start[0], 1);
    assert!(!sites.on_long_nops);
    // Of a release that tells no attributes.
    assert_eq!(*process_attributes, None);
    let newer = present(",spanprof_process_attributes");
    assert!(newer.process_attributes.is_some());
    assert_eq!(
        hook("spanprof_abi_v2", NOP, START),
        Hook::Refused(Refused::Version)
    );
    let arguments = Refused::Arguments("span_start".to_owned());
    assert_eq!(
        hook("spanprof_abi_v1", NOP, "8@%rdi"),
        Hook::Refused(arguments)
    );
    match hook("spanprof_abi_v1", LONG_NOP, START) {
        Hook::Present(earlier) => assert!(earlier.sites.on_long_nops),
        other => panic!("{other:?}"),
    }
    // A longer nop of another form, too: those are not tested.
    for other in ["push %rbp; sub $8,%rsp", ".byte 0x66,0x66,0x66,0x66,0x90"] {
        let slow = Refused::SlowSite("span_start".to_owned());
        assert_eq!(hook("spanprof_abi_v1", other, START), Hook::Refused(slow));
    }
}

/// The version that is found in a file, whose hook is looked for, too.
fn version(path: &Path) -> Option<(u8, u8)> {
    let data = OpenFile::open(path).unwrap().data();
    let elf = Elf::parse(&data).ok()?;
    notes::find(&elf);
    match detect(&elf) {
        Detection::Found(facts) => Some((facts.version.0, facts.version.1)),
        _ => None,
    }
}

/// A file that ends in the middle of any of its headers, or right behind one, is answered.
#[test]
fn files_cut_at_every_header_are_survived() {
    for python in interpreters() {
        let bytes = std::fs::read(python).unwrap();
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let half = |at: usize| u64::from(u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()));
        // `e_phoff`, `e_phnum` entries of 56 bytes; `e_shoff`, `e_shnum` entries of 64 bytes.
        let (segments, sections) = (word(0x20), word(0x28));
        let mut cuts: Vec<u64> = (0..=64).step_by(4).collect();
        cuts.extend((0..=half(0x38) * 8).map(|at| segments + at * 7));
        cuts.extend((0..=half(0x3c) * 4).map(|at| sections + at * 16));
        for section in (0..half(0x3c)).map(|at| usize::try_from(sections + at * 64).unwrap()) {
            let (start, size) = (word(section + 0x18), word(section + 0x20));
            cuts.extend([start, start + size / 2, start + size.saturating_sub(1)]);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let whole = version(file.path());
        cuts.sort_unstable();
        for cut in cuts.into_iter().rev() {
            if cut > bytes.len() as u64 {
                continue;
            }
            file.as_file().set_len(cut).unwrap();
            // What of it is still found is what is in the whole file.
            let found = version(file.path());
            assert!(found.is_none() || found == whole, "cut at {cut}: {found:?}");
        }
    }
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]
    /// A damaged or cut interpreter is answered, never a panic.
    #[test]
    fn damaged_files_are_survived(
        cut in 0usize..=4 << 20,
        changes in proptest::collection::vec((0usize..4096, any::<u8>()), 0..40),
        tail in proptest::collection::vec((0usize..4096, any::<u8>()), 0..40),
    ) {
        let Some(python) = interpreters().into_iter().next() else { return Ok(()) };
        let mut bytes = std::fs::read(python).unwrap();
        if cut % 2 == 0 { bytes.truncate(cut); }
        let size = bytes.len();
        for (at, value) in changes { if let Some(byte) = bytes.get_mut(at) { *byte = value; } }
        for (at, value) in tail {
            if let Some(byte) = size.checked_sub(at + 1).and_then(|at| bytes.get_mut(at)) { *byte = value; }
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        // Whatever is damaged, the version among it, may be found or not: that it ends is what is tested.
        version(file.path());
    }
}
