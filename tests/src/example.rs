//! `examples/grafana` without containers: its services, a real Collector with its configuration, the agent, and in
//! place of Tempo and Pyroscope those of the tests. `grafana` makes the requests that Grafana would make.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use profiler::time::monotonic_now;
use serde_json::Value;

use crate::{
    grafana::{self, FlameGraph, Provisioned},
    pretend_pyroscope::PretendPyroscope,
    process::Running,
    python::forget_the_caller,
    traces::{PretendTempo, Span},
};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(90);
/// Lines of a process that are shown if something fails.
const LAST_LINES: usize = 5;
/// How many of the newest spans are looked at.
const NEWEST: usize = 500;
/// What precedes the address in the line by which Uvicorn says that it listens.
const LISTENS: &str = "Uvicorn running on http://";

/// What it is made of.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The folder `examples/grafana`.
    pub folder: PathBuf,
    /// An interpreter with `shop/requirements.txt`.
    pub python: PathBuf,
    /// The Collector of `tests/collector`.
    pub collector: PathBuf,
}

/// All of it, running; ended when it is dropped.
pub struct Example {
    /// The stand-in for Tempo.
    pub tempo: PretendTempo,
    /// The stand-in for Pyroscope.
    pub pyroscope: PretendPyroscope,
    /// The address of the shop.
    pub shop: String,
    link: Provisioned,
    processes: Vec<(&'static str, Running)>,
}

/// A click on a span, and what it shows.
#[derive(Clone, Debug)]
pub struct Clicked {
    /// The span.
    pub span: Span,
    /// What Grafana asks Pyroscope for.
    pub request: Value,
    /// What Pyroscope answers.
    pub flame_graph: FlameGraph,
}

impl Example {
    /// Starts all of it; `agent` makes the agent's command, given the address of Pyroscope.
    ///
    /// # Errors
    /// If something does not start: what, and its output.
    pub fn start(programs: &Programs, agent: impl FnOnce(&str) -> Command) -> Result<Self, String> {
        let tempo = PretendTempo::start();
        let pyroscope = PretendPyroscope::start();
        let datasources = programs.folder.join("grafana/datasources.yaml");
        let datasources = fs::read_to_string(&datasources)
            .map_err(|error| format!("{}: {error}", datasources.display()))?;
        let mut example = Self {
            link: Provisioned::parse(&datasources)?,
            shop: String::new(),
            processes: Vec::new(),
            tempo,
            pyroscope,
        };
        let otlp = format!("127.0.0.1:{}", free_port()?);
        let mut collector = Command::new(&programs.collector);
        collector
            .arg("--config")
            .arg(programs.folder.join("collector.yaml"))
            .env("OTLP_ENDPOINT", &otlp)
            .env("TEMPO_URL", example.tempo.url())
            .env("TEMPO_ENCODING", "json");
        example.run("the Collector", &mut collector, "Everything is ready")?;
        let url = example.pyroscope.url();
        example.run("the agent", &mut agent(&url), "profiling")?;
        let mut warehouse = service(programs, "warehouse", &otlp);
        let line = example.run("the warehouse", &mut warehouse, LISTENS)?;
        let warehouse = format!("http://{}", address(&line)?);
        let mut shop = service(programs, "shop", &otlp);
        let line = example.run("the shop", shop.env("WAREHOUSE_URL", warehouse), LISTENS)?;
        example.shop = format!("http://{}", address(&line)?);
        let mut load = Command::new(&programs.python);
        forget_the_caller(&mut load);
        load.arg(programs.folder.join("shop/load.py"))
            .arg(&example.shop);
        example
            .processes
            .push(("the load", Running::start(&mut load)));
        Ok(example)
    }

    /// Starts a program, and waits for the line on stderr by which it says that it is there.
    fn run(
        &mut self,
        name: &'static str,
        command: &mut Command,
        says: &str,
    ) -> Result<String, String> {
        let running = Running::start(command);
        if !running.stderr.has(says) {
            let said = running.stderr.so_far();
            return Err(format!(
                "{name} does not start: {command:?} has said: {said}"
            ));
        }
        let line = running.stderr.wait_for(says);
        self.processes.push((name, running));
        Ok(line)
    }

    /// Clicks on spans of this service and name until some have a flame graph with this function; the one of them
    /// with the most CPU time.
    ///
    /// # Errors
    /// If none has in time: what there is instead.
    pub fn click(&self, service: &str, name: &str, function: &str) -> Result<Clicked, String> {
        let start = monotonic_now();
        let (mut clicks, mut links) = (0, 0);
        while start.elapsed() < DEADLINE {
            let mut largest: Option<Clicked> = None;
            for span in self.tempo.spans().into_iter().rev().take(NEWEST) {
                let its_service = span.attributes.get("service.name").map(String::as_str);
                if its_service != Some(service) || span.name != name {
                    continue;
                }
                clicks += 1;
                let Some(clicked) = self.click_on(&span)? else {
                    continue;
                };
                links += 1;
                let most = largest.as_ref().map_or(0, |it| it.flame_graph.total);
                if clicked.flame_graph.has(function) && clicked.flame_graph.total > most {
                    largest = Some(clicked);
                }
            }
            if let Some(clicked) = largest {
                return Ok(clicked);
            }
            thread::sleep(Duration::from_millis(500));
        }
        let spans = self.tempo.spans().len();
        Err(format!(
            "no span {name:?} of {service:?} shows {function}: {spans} spans came in, of these {clicks} times one \
             of that name was clicked on, {links} times it had a link; the processes have said:\n{}",
            self.said()
        ))
    }

    /// Clicks on a span; `None` if it has no link.
    ///
    /// # Errors
    /// If Pyroscope does not answer with a flame graph.
    pub fn click_on(&self, span: &Span) -> Result<Option<Clicked>, String> {
        let Some(request) = self.link.click(span) else {
            return Ok(None);
        };
        let flame_graph = grafana::ask(self.pyroscope.address(), &request)?;
        Ok(Some(Clicked {
            span: span.clone(),
            request,
            flame_graph,
        }))
    }

    /// The last lines of each process.
    fn said(&self) -> String {
        let mut text = String::new();
        for (name, running) in &self.processes {
            let said = running.stderr.so_far();
            let lines = said.lines().count();
            let _ = writeln!(text, "{name}:");
            for line in said.lines().skip(lines.saturating_sub(LAST_LINES)) {
                let _ = writeln!(text, "  {line}");
            }
        }
        text
    }
}

/// A service of the shop, on a free port.
fn service(programs: &Programs, name: &str, otlp: &str) -> Command {
    let bin = programs.python.parent().unwrap_or(Path::new("."));
    let mut command = Command::new(bin.join("opentelemetry-instrument"));
    forget_the_caller(&mut command);
    command
        .arg(&programs.python)
        .args(["-m", "uvicorn", &format!("{name}:app"), "--port", "0"])
        .current_dir(programs.folder.join("shop"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("OTEL_SERVICE_NAME", name)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{otlp}"))
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        .env("OTEL_METRICS_EXPORTER", "none")
        .env("OTEL_LOGS_EXPORTER", "none");
    command
}

/// The address in Uvicorn's line.
fn address(line: &str) -> Result<String, String> {
    let after = line.split(LISTENS).nth(1).unwrap_or_default();
    match after.split_whitespace().next() {
        Some(address) => Ok(address.to_owned()),
        None => Err(format!("no address in {line:?}")),
    }
}

/// A port that no process listens on now.
///
/// # Errors
/// If there is none.
pub fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address
        .map(|it| it.port())
        .map_err(|error| format!("no free port: {error}"))
}
