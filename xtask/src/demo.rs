//! The first ten minutes of a newcomer in one command.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::command::{self, say};
use crate::progress::Progress;
use crate::workspace::Workspace;
use crate::{build, setup};

/// Profile a small Flask shop and show which spans burn its CPU
///
/// Installs what is missing, builds the agent, starts the shop with its own traffic, records it and
/// prints the spans by CPU. The recording needs root: sudo is asked if you are not.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long to record
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
}

/// The port that the shop listens on if it is free.
const USUAL_PORT: u16 = 8000;
/// How long the shop may take to answer its first request.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long a process may take to end after it was asked to.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let workspace = Workspace::locate()?;
    let mut progress = Progress::new(4);
    progress.part("downloading crates, if some are missing");
    command::run(workspace.cargo()?.args(["fetch", "--quiet", "--locked"])).context(
        "cargo could not download crates: it says why above; this machine needs the network for it once",
    )?;
    progress.part("the shop: a virtual environment with Flask and the Python package");
    let python = setup::demo_environment(&workspace)?;
    progress.part("compiling the agent: about a minute at first");
    let agent = build::agent(&workspace, build::QUICK)?;
    progress.part("profiling the shop");
    let folder = workspace.target.join("demo");
    fs::create_dir_all(&folder)
        .with_context(|| format!("failed to create {}", folder.display()))?;

    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))
            .context("failed to listen to Ctrl-C")?;
    }

    let example = workspace.root.join("examples/flask");
    let port = free_port()?;
    let shop = Service::start(
        "the shop",
        &mut shop_command(&python, &example, port, &folder)?,
    )?;
    wait_until_answers(&shop, port, &folder, &interrupted)?;
    say(&format!("the shop answers on http://127.0.0.1:{port}"));
    let mut traffic = Command::new(&python);
    traffic
        .arg(example.join("traffic.py"))
        .args(["--url", &format!("http://127.0.0.1:{port}")]);
    let _traffic = Service::start("the traffic", &mut traffic)?;

    let files = ["profile.pb.gz", "flame.svg", "profile.folded"].map(|name| folder.join(name));
    let mut record = command::privileged(&agent, &[], "recording with spanprof")?;
    record.args(["record", "--duration", &format!("{}s", arguments.seconds)]);
    for pid in shop.family()? {
        record.args(["--pid", &pid.to_string()]);
    }
    for file in &files {
        record.arg("--output").arg(file);
    }
    say(&format!(
        "recording for {} s: {}",
        arguments.seconds,
        command::line(&record)
    ));
    let status = supervise(&mut record, &interrupted)?;
    give_to_the_user(&files)?;
    if !status.success() {
        bail!(
            "spanprof record ended with {status}; try: {} doctor",
            agent.display()
        );
    }
    explain(&agent, &folder);
    Ok(())
}

fn shop_command(python: &Path, example: &Path, port: u16, folder: &Path) -> Result<Command> {
    let log = folder.join("shop.log");
    let log =
        fs::File::create(&log).with_context(|| format!("failed to create {}", log.display()))?;
    let mut command = Command::new(python);
    command
        .args(["-m", "gunicorn", "--workers", "2", "--log-level", "warning"])
        .args(["--bind", &format!("127.0.0.1:{port}"), "app:app"])
        .current_dir(example)
        .env("OTEL_SERVICE_NAME", "shop")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stderr(log.try_clone().context("failed to share the shop's log")?)
        .stdout(log);
    Ok(command)
}

/// The usual port, or a free one if it is taken. Another process may still take the port before the shop
/// does; then the shop's log, which is shown, says so.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, USUAL_PORT))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .context("found no free port for the shop")?;
    Ok(listener
        .local_addr()
        .context("failed to ask for the port's number")?
        .port())
}

fn wait_until_answers(
    shop: &Service,
    port: u16,
    folder: &Path,
    interrupted: &AtomicBool,
) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < START_DEADLINE {
        if interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        if answers(port) {
            return Ok(());
        }
        if shop.family().map_or(0, |family| family.len()) == 0 {
            break;
        }
        thread::sleep(POLL_INTERVAL);
    }
    let log = fs::read_to_string(folder.join("shop.log")).unwrap_or_default();
    bail!("the shop does not answer on port {port}; its log:\n{log}");
}

fn answers(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else {
        return false;
    };
    let mut answer = [0_u8; 12];
    stream
        .set_read_timeout(Some(Duration::from_secs(1)))
        .is_ok()
        && stream
            .write_all(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
            .is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer.ends_with(b" 200")
}

/// Runs the recorder to its end; an interruption is passed on once, so that it still writes.
fn supervise(record: &mut Command, interrupted: &AtomicBool) -> Result<ExitStatus> {
    if command::is_root() {
        // In the same process group, Ctrl-C would reach the recorder twice. (sudo must stay in the
        // terminal's group to ask for a password.)
        record.process_group(0);
    }
    let mut child = record
        .spawn()
        .with_context(|| format!("failed to start {record:?}"))?;
    let mut told = !command::is_root();
    loop {
        if let Some(status) = child
            .try_wait()
            .context("failed to wait for the recorder")?
        {
            return Ok(status);
        }
        if interrupted.load(Ordering::Relaxed) && !told {
            told = true;
            if let Err(error) = rustix::process::kill_process(Pid::from_child(&child), Signal::INT)
            {
                say(&format!("failed to interrupt the recorder: {error}"));
            }
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Files written through sudo belong to root: gives them to the user, so that the user can remove them.
fn give_to_the_user(files: &[PathBuf]) -> Result<()> {
    if command::is_root() {
        return Ok(());
    }
    let owner = format!(
        "{}:{}",
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw()
    );
    let mut chown = command::privileged(Path::new("chown"), &[], "making the files yours")?;
    command::run(
        chown
            .arg(owner)
            .args(files.iter().filter(|file| file.exists())),
    )
}

fn explain(agent: &Path, folder: &Path) {
    let folder = command::quoted(folder.as_os_str());
    let agent = command::quoted(agent.as_os_str());
    println!(
        "\nThe profile is in {folder}:\n\
         \x20 flame.svg       flame graph; open it in a browser\n\
         \x20 profile.pb.gz   pprof, with span labels:\n\
         \x20                   go tool pprof -tags {folder}/profile.pb.gz\n\
         \x20                   go tool pprof -top -tagfocus='span_name=GET /search' {folder}/profile.pb.gz\n\
         \x20                   go tool pprof -http=: {folder}/profile.pb.gz\n\
         \x20 profile.folded  one line per stack, for other flame graph tools\n\
         \nTo profile all Python services of this host into Grafana Pyroscope, as root:\n\
         \x20 {agent} agent --pyroscope-url http://localhost:4040"
    );
}

/// A process of the demo with its children; ended when dropped.
struct Service {
    name: &'static str,
    child: Child,
}

impl Service {
    fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        // In a separate process group its workers end with it, and Ctrl-C reaches only the recording at first.
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("failed to start {name}: {command:?}"))?;
        Ok(Self { name, child })
    }

    /// The ids of the process and of its children that are alive.
    fn family(&self) -> Result<Vec<u32>> {
        let own = self.child.id();
        let mut family = Vec::new();
        for entry in fs::read_dir("/proc")
            .context("failed to list /proc")?
            .flatten()
        {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            // The status is gone if the process has ended meanwhile.
            let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
            let is_alive = field("State:").is_some_and(|state| !state.trim().starts_with('Z'));
            let parent = field("PPid:").and_then(|parent| parent.trim().parse::<u32>().ok());
            if is_alive && (pid == own || parent == Some(own)) {
                family.push(pid);
            }
        }
        Ok(family)
    }

    fn stop(&mut self) -> Result<()> {
        let group = Pid::from_child(&self.child);
        if self.child.try_wait()?.is_none() {
            rustix::process::kill_process_group(group, Signal::TERM)?;
        }
        let start = Instant::now();
        while start.elapsed() < STOP_DEADLINE {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(POLL_INTERVAL);
        }
        rustix::process::kill_process_group(group, Signal::KILL)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            say(&format!("failed to stop {}: {error:#}", self.name));
        }
    }
}
