//! What the agent reports about itself: to a real Prometheus, to probes, to systemd.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{Metric, Sum, metric::Data, number_data_point::Value as Number},
};
use profiler::{telemetry::page, time::monotonic_now};
use prost::Message as _;
use serde_json::Value;
use tests::{
    agent::{self, Agent},
    example, http,
    pretend_pyroscope::PretendPyroscope,
    process::{Running, Signal, eventually},
    python::{Python, with_newest},
    spanprof,
    stopped::Stopped,
};

const SECONDS: &str = "2.0";

/// Runs the workload to its end under an agent.
fn run(python: &Python) {
    let mut workload = python.start("nested.py", &[SECONDS]);
    workload.begin();
    workload.facts("cpu");
}

/// An agent that listens, and its address.
fn listening(flags: &[&str]) -> (Agent, String) {
    let mut all = vec!["--listen", "127.0.0.1:0"];
    all.extend(flags);
    let agent = Agent::start(&all);
    let address = address(&agent);
    (agent, address)
}

fn address(agent: &Agent) -> String {
    let line = agent.wait_for("listening for");
    let address = line.split("address=").nth(1).unwrap();
    let end = |it: char| !it.is_ascii_digit() && it != '.' && it != ':';
    address.split(end).next().unwrap().to_owned()
}

/// Values by name, over all labels.
fn scrape(address: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for line in http::get(address, "/metrics").lines() {
        if line.starts_with('#') {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        *sums.entry(name.to_owned()).or_default() += value.parse::<f64>().unwrap();
    }
    sums
}

/// Status and body of a path.
fn ask(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nhost: a\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, words) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, words.trim_end().to_owned())
}

/// Both sums add up: while the agent runs, as soon as nothing is in transit, and whatever the server does.
#[test]
fn everything_is_accounted_for() {
    with_newest(|python| {
        let (agent, address) = listening(&[]);
        agent.server.refuse_service("nested", 400);
        run(python);
        agent.server.take_service("nested");
        run(python);
        let of = |metrics: &BTreeMap<String, f64>, name: &str| {
            *metrics
                .get(&format!("spanprof_{name}"))
                .unwrap_or_else(|| panic!("{name} in {metrics:#?}"))
        };
        eventually("both identities", || {
            let metrics = scrape(&address);
            let of = |name| of(&metrics, name);
            let taken = of("samples_taken_total");
            let samples = of("samples_attributed_total")
                + of("samples_unattributed_total")
                + of("samples_lost_total");
            let encoded = of("profiles_encoded_total");
            let profiles = of("profiles_stored_total")
                + of("profiles_refused_total")
                + of("profiles_dropped_total")
                + of("profiles_waiting");
            let is_whole = of("samples_attributed_total") > 100.0
                && of("profiles_refused_total") > 0.0
                && of("profiles_stored_total") > 0.0
                && of("push_requests_total") > 1.0
                && of("push_size_bytes_total") > 100.0;
            (is_whole && taken.total_cmp(&samples).is_eq() && encoded.total_cmp(&profiles).is_eq())
                .then_some(())
        });
        let metrics = scrape(&address);
        assert!(of(&metrics, "ring_used_bytes") > 0.0);
        assert!(of(&metrics, "map_entries") <= of(&metrics, "map_capacity"));
        assert!(of(&metrics, "push_time_seconds_total") > 0.0);
        let known = page::names();
        let unknown: Vec<_> = metrics.keys().filter(|it| !known.contains(it)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        let (_, losses) = ask(&address, "/debug/losses");
        assert!(
            spanprof::count(&losses, "samples_attributed") > 100,
            "{losses}"
        );
        agent.stop();
    });
}

/// The agent reports a failure to probes and systemd if its data thread is stuck, but not if the server is down. It
/// also reports its end.
#[test]
fn health() {
    with_newest(|python| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        systemd
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let server = PretendPyroscope::start();
        let mut command = agent::command(&["--pyroscope-url", &server.url()]);
        command
            .args(["--upload-interval", "1s", "--listen", "127.0.0.1:0"])
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "2000000");
        let agent = Agent::run(server, &mut command);
        let address = address(&agent);
        run(python);
        let said = heard_until(&systemd, |said| said.matches("WATCHDOG=1").count() >= 2);
        assert!(said.contains("READY=1"), "{said}");
        assert!(said.contains("STATUS=profiling"), "{said}");
        assert_eq!(ask(&address, "/healthz"), (200, "well".to_owned()));
        assert_eq!(ask(&address, "/readyz"), (200, "ready".to_owned()));
        let probe = |flags: &[&str]| {
            let mut all = vec!["health", "--listen", &address];
            all.extend(flags);
            spanprof::run(&all)
        };
        assert!(probe(&[]).status.success());
        assert!(probe(&["--ready"]).status.success());

        agent.server.shut();
        run(python);
        agent.wait_for("wait to be pushed");
        thread::sleep(Duration::from_secs(6));
        assert_eq!(ask(&address, "/healthz").0, 200);
        assert_eq!(ask(&address, "/readyz").0, 200);

        let stuck = Stopped::thread(agent.pid(), "data");
        heard(&systemd, Duration::from_millis(1500));
        let said = heard(&systemd, Duration::from_secs(5));
        assert!(!said.contains("WATCHDOG=1"), "{said}");
        let (status, words) = ask(&address, "/healthz");
        assert_eq!(status, 503, "{words}");
        assert!(words.contains("thread data is stuck"), "{words}");
        let probed = probe(&[]);
        assert_eq!(probed.status.code(), Some(1), "{probed:#?}");
        assert!(probed.stderr.contains("data is stuck"), "{probed:#?}");
        drop(stuck);
        eventually("the agent to be well", || {
            (ask(&address, "/healthz").0 == 200).then_some(())
        });
        heard_until(&systemd, |said| said.contains("WATCHDOG=1"));

        agent.server.reopen();
        agent.stop();
        let said = heard(&systemd, Duration::from_secs(1));
        assert!(said.contains("STOPPING=1"), "{said}");
        assert!(said.contains("EXTEND_TIMEOUT_USEC="), "{said}");
        let probed = spanprof::run(&["health", "--listen", &address]);
        assert_eq!(probed.status.code(), Some(1), "{probed:#?}");
        assert!(probed.stderr.contains("no agent answers"), "{probed:#?}");
    });
}

/// What systemd receives in this time.
fn heard(socket: &UnixDatagram, time: Duration) -> String {
    let start = monotonic_now();
    let mut said = String::new();
    let mut buffer = [0; 4096];
    while start.elapsed() < time {
        if let Ok(size) = socket.recv(&mut buffer) {
            said += &String::from_utf8_lossy(&buffer[..size]);
            said.push('\n');
        }
    }
    said
}

/// What systemd receives until it has received enough.
fn heard_until(socket: &UnixDatagram, is_enough: impl Fn(&str) -> bool) -> String {
    let mut said = String::new();
    eventually("what systemd is told", || {
        said += &heard(socket, Duration::from_millis(100));
        is_enough(&said).then_some(())
    });
    said
}

/// If the address is taken, the error says what to change.
#[test]
fn address_in_use() {
    if !spanprof::is_ready() {
        return;
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let arguments = [
        "--pyroscope-url",
        "http://127.0.0.1:1",
        "--listen",
        &address,
    ];
    let ended = Running::start(&mut agent::command(&arguments)).wait();
    assert!(!ended.status.success());
    assert!(ended.stderr.contains("--listen"), "{}", ended.stderr);
}

/// A real Prometheus accepts the agent's metrics: promtool finds no fault, the alerts are evaluated
/// and none fires, and every query of the dashboard has an answer.
#[test]
fn prometheus() {
    with_newest(|python| {
        let programs = PathBuf::from(env::var_os("SPANPROF_PROMETHEUS").unwrap());
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
        let rules = deploy.join("prometheus/spanprof.rules.yaml");
        promtool(&programs, &["check", "rules", rules.to_str().unwrap()], "");
        let tests = deploy.join("prometheus/spanprof.rules.test.yaml");
        promtool(&programs, &["test", "rules", tests.to_str().unwrap()], "");

        let (agent, address) = listening(&[]);
        run(python);
        promtool(
            &programs,
            &["check", "metrics"],
            &http::get(&address, "/metrics"),
        );
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: ['{}']\n\
             scrape_configs: [{{job_name: spanprof, static_configs: [{{targets: ['{address}']}}]}}]\n",
            rules.display()
        );
        fs::write(&config, text).unwrap();
        promtool(
            &programs,
            &["check", "config", config.to_str().unwrap()],
            "",
        );
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        let mut command = Command::new(programs.join("prometheus"));
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={port}"));
        let server = Running::start(&mut command);
        server.stderr.wait_for("Server is ready");
        let url = port.to_string();
        eventually("a scrape", || {
            let up = query(&url, "up{job=\"spanprof\"}");
            let value = up["data"]["result"][0]["value"][1].as_str()?.to_owned();
            (value == "1").then_some(())
        });
        run(python);
        // Before its first evaluation a rule has no health.
        let rules = eventually("an evaluation of all rules", || {
            let rules: Value = serde_json::from_str(&http::get(&url, "/api/v1/rules")).unwrap();
            let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap();
            let are_evaluated = rules.iter().all(|rule| rule["health"] != "unknown");
            // Samples on their way are accounted for a moment later: no alert stays pending.
            let is_active = |rule: &Value| rule["health"] == "ok" && rule["state"] != "inactive";
            (are_evaluated && !rules.iter().any(is_active)).then(|| rules.clone())
        });
        assert!(rules.len() >= 10, "{rules:#?}");
        for rule in &rules {
            assert_eq!(rule["health"], "ok", "{rule:#}");
        }
        let dashboard = deploy.join("grafana/spanprof-agents.json");
        let dashboard: Value =
            serde_json::from_str(&fs::read_to_string(dashboard).unwrap()).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            let has_answer = || {
                panel["targets"].as_array().unwrap().iter().any(|target| {
                    let query_text = target["expr"].as_str().unwrap();
                    let query_text = query_text
                        .replace("$job", ".*")
                        .replace("$instance", ".*")
                        .replace("$__rate_interval", "10s");
                    let answer = query(&url, &query_text);
                    assert_eq!(answer["status"], "success", "{query_text}: {answer}");
                    !answer["data"]["result"].as_array().unwrap().is_empty()
                })
            };
            // Whether there is something depends on the kernel.
            if title == "CPU of the BPF programs" {
                has_answer();
                continue;
            }
            // Rates need two scrapes.
            eventually(title, || has_answer().then_some(()));
        }
        server.signal(Signal::TERM);
        server.wait();
        agent.stop();
    });
}

/// Runs promtool, which must find no fault.
fn promtool(programs: &Path, arguments: &[&str], stdin: &str) {
    let mut child = Command::new(programs.join("promtool"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(stdin.as_bytes())
        .unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(
        ended.status.success() && said.is_empty(),
        "{arguments:?}: {ended:?}"
    );
}

/// An instant query.
fn query(address: &str, query: &str) -> Value {
    let mut encoded = String::new();
    for byte in query.bytes() {
        write!(encoded, "%{byte:02X}").unwrap();
    }
    serde_json::from_str(&http::get(
        address,
        &format!("/api/v1/query?query={encoded}"),
    ))
    .unwrap()
}

/// The same metrics come by OTLP: names, units, descriptions and reasons, cumulative, from the service `spanprof`.
#[test]
fn otlp() {
    with_newest(|python| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = PretendPyroscope::start();
        let mut command = agent::command(&["--pyroscope-url", &server.url()]);
        command
            .args(["--telemetry-otlp-endpoint", &endpoint])
            .env("OTEL_METRIC_EXPORT_INTERVAL", "500")
            .env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=test");
        let agent = Agent::run(server, &mut command);
        run(python);
        let metrics = eventually("attributed samples by OTLP", || {
            let (head, body) = pushed(&listener);
            assert!(head.starts_with("POST /v1/metrics "), "{head}");
            assert!(
                head.contains("content-type: application/x-protobuf"),
                "{head}"
            );
            assert!(head.contains("x-tenant: test"), "{head}");
            let request = ExportMetricsServiceRequest::decode(body.as_slice()).unwrap();
            let [resource] = request.resource_metrics.as_slice() else {
                panic!("{request:?}")
            };
            let of = resource.resource.as_ref().unwrap();
            let service = of.attributes.iter().find(|it| it.key == "service.name");
            let service = format!("{:?}", service.unwrap().value);
            assert!(service.contains("\"spanprof\""), "{service}");
            let metrics = resource.scope_metrics[0].metrics.clone();
            let attributed = sum(&metrics, "spanprof.samples_attributed");
            matches!(attributed.data_points[0].value, Some(Number::AsInt(101..))).then_some(metrics)
        });
        let sum = sum(&metrics, "spanprof.samples_unattributed");
        assert!(sum.is_monotonic);
        // Cumulative.
        assert_eq!(sum.aggregation_temporality, 2);
        let reasons = sum
            .data_points
            .iter()
            .map(|it| it.attributes[0].key.as_str());
        assert!(reasons.clone().count() > 10 && reasons.clone().all(|it| it == "reason"));
        let names: Vec<_> = metrics.iter().map(|it| it.name.as_str()).collect();
        for metric in profiler::health::COUNTS {
            let name = format!("spanprof.{}", metric.name);
            let found = metrics.iter().find(|it| it.name == name);
            let found = found.unwrap_or_else(|| panic!("{name}: {names:?}"));
            assert_eq!(
                (&*found.unit, &*found.description),
                (metric.unit, metric.words)
            );
        }
        // systemd no longer listens: the agent says so, and ends nevertheless.
        drop(listener);
        agent.wait_for("metrics cannot be pushed");
        agent.stop();
    });
}

/// What a Collector does with the metrics that come in: it prints them.
const PRINTING: &str = "\
receivers: {otlp: {protocols: {http: {endpoint: '${env:OTLP_ENDPOINT}'}}}}
exporters: {debug: {verbosity: detailed}}
service:
  pipelines: {metrics: {receivers: [otlp], exporters: [debug]}}
  telemetry: {metrics: {level: none}}
";

/// A real Collector accepts the pushed metrics, and understands them.
#[test]
fn real_collector() {
    let Some(program) = env::var_os("SPANPROF_COLLECTOR") else {
        tests::skip("SPANPROF_COLLECTOR names no Collector: run `cargo xtask test`");
        return;
    };
    with_newest(|python| {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("collector.yaml");
        fs::write(&config, PRINTING).unwrap();
        let address = format!("127.0.0.1:{}", example::free_port().unwrap());
        let mut collector = Command::new(&program);
        collector
            .arg("--config")
            .arg(&config)
            .env("OTLP_ENDPOINT", &address);
        let collector = Running::start(&mut collector);
        collector.stderr.wait_for("Everything is ready");
        let server = PretendPyroscope::start();
        let mut command = agent::command(&["--pyroscope-url", &server.url()]);
        command
            .args(["--telemetry-otlp-endpoint", &format!("http://{address}")])
            .env("OTEL_METRIC_EXPORT_INTERVAL", "500");
        let agent = Agent::run(server, &mut command);
        run(python);
        for line in [
            "-> service.name: Str(spanprof)",
            "-> Name: spanprof.samples_attributed",
            "-> Unit: {sample}",
            "-> IsMonotonic: true",
            "-> AggregationTemporality: Cumulative",
            "-> reason: Str(no_span)",
        ] {
            collector.stderr.wait_for(line);
        }
        agent.stop();
        let said = collector.stderr.so_far();
        assert!(!said.contains("error"), "{said}");
    });
}

/// One request: its head, and its body. It is answered.
fn pushed(listener: &TcpListener) -> (String, Vec<u8>) {
    let (stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    reader.get_mut().write_all(answer.as_bytes()).unwrap();
    (head, body)
}

fn sum(metrics: &[Metric], name: &str) -> Sum {
    let metric = metrics.iter().find(|it| it.name == name);
    let sum = metric.and_then(|it| match it.data.as_ref()? {
        Data::Sum(sum) => Some(sum.clone()),
        _ => None,
    });
    sum.unwrap()
}

/// The cost of probes and scrapes: with a scrape every 15 seconds and a probe every 10, at most a thousandth of a
/// core, and 6 MiB more than an agent that does not listen. `cargo xtask test telemetry::cost --show-output` prints it.
#[test]
fn cost() {
    const ASKED: u32 = 200;
    with_newest(|python| {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("lock");
        let beside = Agent::start(&["--lock-file", lock.to_str().unwrap()]);
        let (agent, address) = listening(&[]);
        run(python);
        let spent = |path: &str| {
            let (before, idle) = (nanoseconds(agent.pid()), nanoseconds(beside.pid()));
            for _ in 0..ASKED {
                assert_eq!(ask(&address, path).0, 200);
            }
            let idle = nanoseconds(beside.pid()) - idle;
            let spent = nanoseconds(agent.pid()) - before;
            Duration::from_nanos(spent.saturating_sub(idle)).as_secs_f64() / f64::from(ASKED)
        };
        let (scrape, probe) = (spent("/metrics"), spent("/healthz"));
        let share = scrape / 15.0 + probe / 10.0;
        let memory = resident(agent.pid()) - resident(beside.pid());
        eprintln!(
            "telemetry: {:.2} ms of CPU a scrape, {:.2} ms a probe: {:.4} % of a core; {memory} KiB",
            1e3 * scrape,
            1e3 * probe,
            100.0 * share
        );
        assert!(share <= 0.001, "{share}");
        assert!(memory <= 6 * 1024, "{memory}");
        agent.stop();
        beside.stop();
    });
}

/// CPU time of all living threads of a process.
fn nanoseconds(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let times = tasks.flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    times.sum()
}

/// Resident memory of a process, in KiB.
fn resident(pid: u32) -> i64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().split_whitespace().next().unwrap();
    number.parse().unwrap()
}
