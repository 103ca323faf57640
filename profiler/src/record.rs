//! `spanprof record`: one shot, like `perf record`.

mod outputs;

use std::{
    collections::BTreeSet,
    io::IsTerminal as _,
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, ExitCode, ExitStatus},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use profiler_common::{counter::Counter, python::Process};

use self::outputs::Outputs;
use crate::{
    config::{RecordConfig, Subject},
    health::Health,
    id::Pid,
    kernel::Control as _,
    output::{complain, out},
    profile::Coverage,
    run::{self, Armed, Finished, Session, SessionSettings},
    runtime, signals,
    targets::{self, Scope},
    time::monotonic_now,
};

/// How often the wait looks whether it is over.
const LOOK: Duration = Duration::from_millis(20);

/// Records, writes the files and prints the table of spans.
pub fn record(config: &RecordConfig) -> Result<ExitCode> {
    let mut outputs = Outputs::new(config)?;
    let records = config.keep_records.as_deref();
    let records = records.map(outputs::create).transpose()?;
    let runtime = runtime::start()?;
    let interrupted = signals::on_interrupt(runtime.handle())?;
    let health = Health::default();
    let mut armed = run::arm(&config.sampling)?;
    armed.tell_lacks();
    let mut child = start_command(&config.subject, &mut armed)?;
    let scope = scope(&config.subject, child.as_ref())?;
    let settings = SessionSettings {
        scope,
        told_apart: BTreeSet::new(),
        profile: SessionSettings::profile(&config.sampling),
        windows: None,
        records,
    };
    let session = Session::start(armed, settings, &health)?;
    tracing::info!(processes = session.snapshot().len(), "recording");
    let status = wait(config, &session, child.as_mut(), interrupted, &health)?;
    let mut finished = session.stop();
    let written = outputs.write(&std::mem::take(&mut finished.profiles).into());
    let written = report(config, &finished, &health).and(written);
    let covers = covers(config, &finished.coverage);
    let status = match (&mut child, status) {
        // A recording that ended first leaves the command running: its exit code is ours.
        (Some(child), None) => Some(child.wait().context("cannot wait for the command")?),
        (_, status) => status,
    };
    written?;
    Ok(match status {
        Some(status) if covers || !status.success() => exit_code(status),
        _ if covers => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Whether as many samples are in spans as were asked for; says so where not.
fn covers(config: &RecordConfig, coverage: &Coverage) -> bool {
    let Some(percent) = config.min_coverage else {
        return true;
    };
    let total = coverage.total();
    let covers = total.reaches(percent);
    if !covers {
        let not_recorded = total.share_not_recorded();
        let not_recorded = not_recorded.map_or_else(String::new, |share| {
            format!(
                "; {share} are in spans that are not recorded, such as those that are sampled out"
            )
        });
        complain(&format!(
            "error: {} of {} samples of Python's threads are in a span, and --min-coverage asks for {percent} \
             %{not_recorded}",
            total.share_in_spans(),
            total.samples()
        ));
    }
    covers
}

/// Starts the command, if there is one. For the moment of the fork this very process is on the
/// kernel's map: the child inherits its entry, and is sampled from its first instruction.
fn start_command(subject: &Subject, armed: &mut Armed) -> Result<Option<Child>> {
    let Subject::Command { program, arguments } = subject else {
        return Ok(None);
    };
    armed.start_sampling()?;
    let control = &mut armed.control;
    let own = Pid(std::process::id());
    let nothing_known: Process = bytemuck::Zeroable::zeroed();
    control.set_process(own, &nothing_known)?;
    let child = Command::new(program).args(arguments).spawn();
    control.remove_process(own)?;
    child
        .map(Some)
        .with_context(|| format!("cannot start {}", program.display()))
}

fn scope(subject: &Subject, child: Option<&Child>) -> Result<Scope> {
    let pids = match (subject, child) {
        (_, Some(child)) => vec![Pid(child.id())],
        (Subject::Processes(pids), None) => pids.clone(),
        (Subject::Host | Subject::Command { .. }, None) => return Ok(Scope::Host),
    };
    // What was started is not yet what it becomes.
    if child.is_none() {
        for &pid in &pids {
            targets::inspect(pid).with_context(|| format!("cannot record process {pid}"))?;
        }
    }
    Ok(Scope::Processes { pids, follow: true })
}

/// Waits until the recording is over; the command's status if it has ended.
fn wait(
    config: &RecordConfig,
    session: &Session,
    mut child: Option<&mut Child>,
    interrupted: &AtomicBool,
    health: &Health,
) -> Result<Option<ExitStatus>> {
    let limit = config.duration;
    let progress = progress(limit);
    let start = monotonic_now();
    loop {
        thread::sleep(LOOK);
        let elapsed = start.elapsed();
        show(&progress, elapsed, health);
        if let Some(child) = &mut child
            && let Some(status) = child.try_wait().context("cannot wait for the command")?
        {
            progress.finish_and_clear();
            return Ok(Some(status));
        }
        let is_over = limit.is_some_and(|limit| elapsed >= limit)
            || interrupted.load(Ordering::Relaxed)
            || all_gone(&config.subject, session);
        if is_over {
            progress.finish_and_clear();
            return Ok(None);
        }
    }
}

/// Whether every process asked for has exited.
fn all_gone(subject: &Subject, session: &Session) -> bool {
    let gone = matches!(subject, Subject::Processes(_)) && session.snapshot().is_empty();
    if gone {
        tracing::warn!("every process that was asked for has exited: the recording ends early");
    }
    gone
}

fn progress(limit: Option<Duration>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match limit {
        Some(limit) => (
            ProgressBar::new(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
            "recording {wide_bar} {elapsed} {msg}",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} recording {elapsed} {msg}",
        ),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn show(progress: &ProgressBar, elapsed: Duration, health: &Health) {
    progress.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
    progress.set_message(format!("{} samples", health.kernel(Counter::SampleTaken)));
}

fn report(config: &RecordConfig, finished: &Finished, health: &Health) -> Result<()> {
    let width = table_width();
    let mut parts = vec![finished.table.render(width)];
    if finished.table.samples() > 0 {
        parts.push(finished.coverage.render(width));
    }
    let losses = health.table();
    if !losses.is_empty() {
        parts.push(format!("What was counted, and what was lost:\n{losses}"));
    }
    let text = parts.join("\n") + "\n";
    out(&text)?;
    if finished.table.samples() == 0 {
        complain(
            "no samples: the processes used no CPU, or none runs a CPython that is supported (`spanprof doctor` says)",
        );
    } else if config.outputs.is_empty() {
        complain("nothing was written: give --output profile.pb.gz or --output flame.svg");
    }
    Ok(())
}

/// Columns of the terminal, or enough for most names.
fn table_width() -> usize {
    let (_rows, columns) = console_size().unwrap_or((0, 100));
    columns.clamp(60, 160)
}

fn console_size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some((usize::from(size.ws_row), usize::from(size.ws_col)))
}

/// The command's exit code; 128 and the signal's number if a signal ended it, as shells do.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
