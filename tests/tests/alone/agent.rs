//! `spanprof agent`: what a server gets, under which names, when, and from which processes.

use std::{collections::BTreeSet, fs};

use tests::{
    agent::{self, Agent, at_least, at_most, counted, samples, seconds, time_in},
    pretend_pyroscope::PretendPyroscope,
    process::{Running, Signal},
    python::{Python, Workload, program, with_newest},
};

/// Starts the workload of nested spans with a service name in its environment.
fn start(python: &Python, environment: &[(&str, &str)]) -> Workload {
    let mut command = python.program("nested.py", &["1.0"]);
    command.envs(environment.iter().copied());
    Workload::start(&mut command)
}

/// A query for a span returns its CPU, and nothing for an unknown span; ids are labels of samples, and the rest are
/// labels of series.
#[test]
fn spans_reach_pyroscope() {
    with_newest(|python| {
        let agent = Agent::start(&["--tag", "region=eu"]);
        let mut workload = start(python, &[]);
        workload.begin();
        let cpu = workload.facts("cpu");
        let since = agent.since;
        let (server, ended) = agent.stop();
        assert!(ended.status.success(), "{ended:#?}");
        let samples = samples(&server, "nested");
        let ids: Vec<&str> = samples
            .iter()
            .filter_map(|it| it.span_id.as_deref())
            .collect();
        assert!(!ids.is_empty());
        let spans: i64 = samples
            .iter()
            .filter(|it| it.span_id.is_some())
            .map(|it| it.value)
            .sum();
        let functions = server.select_merge_span_profile("nested", &ids);
        assert_eq!(functions.values().sum::<i64>(), spans);
        let first: i64 = server
            .select_merge_span_profile("nested", &ids[..1])
            .values()
            .sum();
        assert!(first > 0 && first < spans, "{first} of {spans}");
        let unknown = server.select_merge_span_profile("nested", &["0000000000000001"]);
        assert!(unknown.is_empty());
        assert!(samples.iter().all(|it| it.trace_id.is_none()));
        // What the app has counted in its requests, and a little that they do besides.
        let told = cpu["cpu"].as_object().into_iter().flatten();
        let told: f64 = told
            .filter(|(name, _)| name.as_str() != "none")
            .filter_map(|(_, seconds)| seconds.as_f64())
            .sum();
        let found = seconds(time_in(&samples, "request"));
        let right = at_least(told, since)..at_most(1.05 * told);
        assert!(right.contains(&found), "{found} of {told}: {right:?}");
        for profile in server.profiles() {
            assert_eq!(profile.label("region"), Some("eu"));
            assert_eq!(profile.label("trace_id"), None);
        }
        assert_eq!(server.refusals(), []);
    });
}

/// Without the names of spans a service is one series, and a query for a span still returns its CPU.
#[test]
fn span_names_on_request() {
    with_newest(|python| {
        let agent = Agent::start(&["--span-name-label", "off"]);
        let mut workload = python.start("labelled.py", &["nameless", "1"]);
        workload.begin();
        let used = workload.facts("used")["used"].as_f64().unwrap();
        let since = agent.since;
        let (server, _) = agent.stop();
        let profiles = server.profiles().into_iter();
        let series: BTreeSet<_> = profiles
            .filter(|it| it.label("service_name") == Some("nameless"))
            .map(|it| it.labels)
            .collect();
        assert_eq!(series.len(), 1, "{series:#?}");
        assert!(
            series
                .iter()
                .flat_map(|it| it.iter())
                .all(|(name, _)| name != "span_name")
        );
        let samples = samples(&server, "nameless");
        let ids: Vec<&str> = samples
            .iter()
            .filter_map(|it| it.span_id.as_deref())
            .collect();
        let functions = server.select_merge_span_profile("nameless", &ids);
        let found = seconds(functions.values().sum());
        // But for the first samples.
        let least = at_least(used - 0.2, since);
        assert!(found > least, "{found} of {used}: {functions:?}");
        assert_eq!(server.refusals(), []);
    });
}

/// Samples have the id of their trace only with the option for it.
#[test]
fn trace_id_on_request() {
    with_newest(|python| {
        let agent = Agent::start(&["--trace-id-label"]);
        let mut workload = start(python, &[]);
        workload.begin();
        workload.facts("cpu");
        let (server, _) = agent.stop();
        let samples = samples(&server, "nested");
        let with_span = samples.iter().filter(|it| it.span_id.is_some());
        let mut traces = with_span.map(|it| it.trace_id.as_deref().map(str::len));
        assert!(traces.clone().count() > 0);
        assert!(traces.all(|length| length == Some(32)), "{samples:#?}");
        assert_eq!(server.refusals(), []);
    });
}

/// Every option can be set in a file, a flag wins over the file, and the agent refuses to start if the file has an
/// unknown key.
#[test]
fn config_file() {
    with_newest(|python| {
        let server = PretendPyroscope::start();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("spanprof.toml");
        let password = folder.path().join("password");
        let lock = folder.path().join("lock");
        fs::write(&password, "secret\n").expect("it can be written");
        let text = format!(
            "pyroscope_url = {:?}\nfrequency = 199\nupload_interval = \"1s\"\ntenant_id = \"file\"\n\
             basic_auth_user = \"me\"\nbasic_auth_password_file = {password:?}\ntrace_id_label = true\n\
             span_label = \"active\"\nnative = \"python-only\"\nhost_name = \"filed\"\nhost_name_label = \"on\"\nlock_file = {lock:?}\n\
             service_labels = [\"instance-id\"]\nspan_name_label = \"off\"\n[tags]\nregion = \"eu\"\nzone = \"a\"\n",
            server.url()
        );
        fs::write(&path, &text).expect("it can be written");
        let file = path.to_str().expect("a path of text");
        let flags = ["--config", file, "--tenant-id", "flag", "--tag", "zone=b"];
        let mut command = agent::command(&flags);
        let agent = Agent::run(server, command.env_remove("SPANPROF_LOCK_FILE"));
        assert!(lock.exists());
        let attributes = "service.version=1,service.instance.id=7";
        let mut workload = start(python, &[("OTEL_RESOURCE_ATTRIBUTES", attributes)]);
        workload.begin();
        workload.facts("cpu");
        let (server, _) = agent.stop();
        let pushes = server.pushes();
        assert!(!pushes.is_empty());
        for push in pushes {
            assert_eq!(push.headers["x-scope-orgid"], "flag");
            assert_eq!(push.headers["authorization"], "Basic bWU6c2VjcmV0");
        }
        for profile in server.profiles() {
            let labels = ["region", "zone"].map(|name| profile.label(name));
            assert_eq!(labels, [Some("eu"), Some("b")]);
            assert_eq!(profile.label("host_name"), Some("filed"));
            assert_eq!(profile.label("span_name"), None);
            if profile.label("service_name") == Some("nested") {
                let labels = ["service_instance_id", "service_version"];
                let labels = labels.map(|name| profile.label(name));
                assert_eq!(labels, [Some("7"), None]);
            }
        }
        let samples = samples(&server, "nested");
        assert!(samples.iter().any(|it| it.trace_id.is_some()));
        // It is busy in Python, and asks the kernel for the time.
        let requests = samples
            .iter()
            .filter(|it| time_in(std::slice::from_ref(it), "request") > 0);
        let mut frames = requests.flat_map(|it| &it.stack);
        assert!(frames.all(|name| !name.ends_with("_[k]") && !name.starts_with("_Py")));

        fs::write(&path, format!("{text}\"a-b c\" = \"x\"\n")).expect("it can be written");
        let ended = Running::start(&mut agent::command(&["--config", file])).wait();
        assert!(!ended.status.success());
        assert!(ended.stderr.contains("a-b c"), "{}", ended.stderr);

        fs::write(&path, format!("colour = 1\n{text}")).expect("it can be written");
        let ended = Running::start(&mut agent::command(&["--config", file])).wait();
        assert!(!ended.status.success());
        assert!(ended.stderr.contains("colour"), "{}", ended.stderr);
    });
}

/// SIGUSR1 prints the table of losses, and the agent goes on; SIGTERM sends what it has.
#[test]
fn signals() {
    with_newest(|python| {
        // A window that hardly ends before the agent: the first one may be as short as a tenth.
        let server = PretendPyroscope::start();
        let url = server.url();
        let arguments = ["--pyroscope-url", &url, "--upload-interval", "30s"];
        let agent = Agent::run(server, &mut agent::command(&arguments));
        let mut workload = start(python, &[]);
        // It works until the test ends, so that there always is something that was not sent.
        let mut busy = python.start("labelled.py", &["busy", "1000"]);
        workload.begin();
        busy.begin();
        workload.facts("cpu");
        agent.signal(Signal::USR1);
        agent.wait_for("samples_taken");
        assert!(counted(&agent.said(), "samples_taken") > 0);
        let sent = agent.server.total("busy");
        let (server, ended) = agent.stop();
        assert!(ended.status.success(), "{ended:#?}");
        assert!(server.total("busy") > sent, "{ended:#?}");
        assert!(time_in(&samples(&server, "nested"), "request") > 300_000_000);
    });
}

/// A process that starts while the agent runs is profiled from its first second on, without any
/// configuration.
#[test]
fn new_process() {
    const SECONDS: f64 = 2.0;
    const MOST_MISSED: f64 = 0.5;
    const PROGRAM: &str = "
import time
def early():
    while time.thread_time() < 2:
        pass
early()
";
    with_newest(|python| {
        let agent = Agent::start(&[]);
        let mut command = python.command();
        command
            .args(["-c", PROGRAM])
            .env("OTEL_SERVICE_NAME", "new");
        let ended = Running::start(&mut command).wait();
        assert!(ended.status.success(), "{ended:#?}");
        let since = agent.since;
        let (server, _) = agent.stop();
        // The start of the interpreter is part of its time, too.
        let early = seconds(time_in(&samples(&server, "new"), "early"));
        let least = at_least(SECONDS - MOST_MISSED, since);
        assert!(early > least, "{early} of {SECONDS}");
    });
}

/// The resource that is made in code wins over the environment, `OTEL_SERVICE_NAME` over the attributes there, those
/// over the script's name: with the package and without.
#[test]
fn service_names() {
    with_newest(|python| {
        let agent = Agent::start(&[]);
        let attributes = (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.name=by%20attributes,service.namespace=prod",
        );
        let by_environment = [("WITHOUT_PACKAGE", "1"), ("NAMED_BY_ENVIRONMENT", "1")];
        let environments: [(&str, Vec<(&str, &str)>); 4] = [
            // `nested.py` names its service in code.
            (
                "nested",
                vec![("OTEL_SERVICE_NAME", "not this"), attributes],
            ),
            (
                "by name",
                [
                    &by_environment[..],
                    &[("OTEL_SERVICE_NAME", "by name"), attributes],
                ]
                .concat(),
            ),
            (
                "by attributes",
                [&by_environment[..], &[attributes]].concat(),
            ),
            // It names no service.
            ("shapes", vec![]),
        ];
        for (name, environment) in environments {
            let mut workload = if name == "shapes" {
                python.start("shapes.py", &[])
            } else {
                start(python, &environment)
            };
            workload.begin();
            agent.wait_for_service(name);
        }
        let (server, _) = agent.stop();
        let namespaces: Vec<_> = server
            .profiles()
            .into_iter()
            .filter(|it| it.label("service_name") == Some("by attributes"))
            .map(|it| it.label("service_namespace").map(str::to_owned))
            .collect();
        assert!(!namespaces.is_empty());
        assert!(namespaces.iter().all(|it| it.as_deref() == Some("prod")));
    });
}

/// With `--bpf-log` the agent logs what the kernel programs log.
#[test]
fn bpf_log() {
    with_newest(|python| {
        let server = PretendPyroscope::start();
        let url = server.url();
        let mut command = tests::spanprof::command(&[
            "--log",
            "debug",
            "agent",
            "--pyroscope-url",
            &url,
            "--bpf-log",
            "--span-probes",
            "always",
        ]);
        let agent = Agent::run(server, &mut command);
        // It works until the test ends, however long it takes to put the probes on.
        let mut workload = python.start("nested.py", &["1000"]);
        workload.begin();
        agent.wait_for("sample tgid ");
        agent.wait_for("span_start tgid ");
        agent.stop();
    });
}

/// Settings that cannot work are refused at once, with an error that says what to do.
#[test]
fn refusals() {
    let refused = |arguments: &[&str]| {
        let ended = Running::start(&mut agent::command(arguments)).wait();
        assert!(!ended.status.success(), "{ended:#?}");
        ended.stderr
    };
    with_newest(|_| {
        let said = refused(&[]);
        assert!(said.contains("pyroscope-url"), "{said}");
        let said = refused(&["--pyroscope-url", "localhost:4040"]);
        assert!(said.contains("http://"), "{said}");
        let url = ["--pyroscope-url", "http://127.0.0.1:1"];
        let said = refused(&[&url[..], &["--tenant-id", "a|b"]].concat());
        assert!(
            said.contains("--tenant-id") && said.contains("'|'"),
            "{said}"
        );
        let said = refused(&[&url[..], &["--tag", "service_name=x"]].concat());
        assert!(
            said.contains("service_name") && said.contains("own"),
            "{said}"
        );
        let said = refused(&[&url[..], &["--service-labels", "none,version"]].concat());
        assert!(said.contains("--service-labels"), "{said}");
        let said = refused(&[&url[..], &["--service-labels", "pod"]].concat());
        assert!(said.contains("instance-id"), "{said}");
        let said = refused(&[&url[..], &["--upload-interval", "5m"]].concat());
        assert!(said.contains("30s"), "{said}");
        let missing = [
            "--basic-auth-user",
            "me",
            "--basic-auth-password-file",
            "/nonexistent",
        ];
        let said = refused(&[&url[..], &missing].concat());
        assert!(said.contains("/nonexistent"), "{said}");
        let said = refused(&[&url[..], &["--basic-auth-user", "me"]].concat());
        assert!(said.contains("basic-auth-password-file"), "{said}");
    });
}

/// Version and environment of a service label its profiles, under the names that the process gave: those
/// of the package, else those of the environment. An attribute that is off is no label, and splits no profile.
#[test]
fn service_labels() {
    let labels = |server: &PretendPyroscope, service: &str| {
        let of_service = server.profiles().into_iter();
        let of_service = of_service.filter(|it| it.label("service_name") == Some(service));
        let all: BTreeSet<Vec<(String, String)>> = of_service
            .map(|it| {
                it.labels
                    .iter()
                    .filter(|(name, _)| is_of_service(name))
                    .cloned()
                    .collect()
            })
            .collect();
        all
    };
    let expect = |labels: &[(&str, &str)]| -> Vec<(String, String)> {
        labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    let attributes = |instance: &str| {
        format!(
            "service.name=env,service.version=1.0,deployment.environment=prod,service.instance.id={instance}"
        )
    };
    let run = |python: &Python, arguments: &[&str]| {
        let agent = Agent::start(arguments);
        let resource = [
            "service.version=2.0",
            "deployment.environment.name=stage",
            "service.instance.id=7",
        ];
        let arguments = [&["told", "2"], &resource[..]].concat();
        let mut command = python.program("labelled.py", &arguments);
        // The package wins over the environment.
        let before = "service.name=before,service.version=1.0";
        command.env("OTEL_RESOURCE_ATTRIBUTES", before);
        let mut workloads = vec![Workload::start(&mut command)];
        for instance in ["1", "2"] {
            let attributes = attributes(instance);
            let environment = [
                ("WITHOUT_PACKAGE", "1"),
                ("NAMED_BY_ENVIRONMENT", "1"),
                ("OTEL_RESOURCE_ATTRIBUTES", &attributes),
            ];
            workloads.push(start(python, &environment));
        }
        for workload in &mut workloads {
            workload.begin();
        }
        workloads[0].facts("used");
        workloads[1].facts("cpu");
        workloads[2].facts("cpu");
        let (server, _) = agent.stop();
        assert_eq!(server.refusals(), []);
        server
    };
    with_newest(|python| {
        let server = run(python, &[]);
        let of_environment = [
            ("deployment_environment", "prod"),
            ("service_version", "1.0"),
        ];
        let of_environment = BTreeSet::from([expect(&of_environment)]);
        assert_eq!(labels(&server, "env"), of_environment);
        let of_package = [
            ("deployment_environment_name", "stage"),
            ("service_version", "2.0"),
        ];
        let found = labels(&server, "told");
        assert!(found.contains(&expect(&of_package)), "{found:?}");

        let server = run(python, &["--service-labels", "instance-id"]);
        let instances = ["1", "2"].map(|id| expect(&[("service_instance_id", id)]));
        assert_eq!(labels(&server, "env"), BTreeSet::from(instances));
        let found = labels(&server, "told");
        assert!(
            found.contains(&expect(&[("service_instance_id", "7")])),
            "{found:?}"
        );

        let server = run(python, &["--service-labels", "none"]);
        for service in ["env", "told"] {
            assert_eq!(labels(&server, service), BTreeSet::from([Vec::new()]));
        }
    });
}

fn is_of_service(label: &str) -> bool {
    ["service_version", "service_instance_id"].contains(&label)
        || label.starts_with("deployment_environment")
}

/// The agent understands a release of the package that reports no attributes: its name and namespace count, and the
/// attributes are those of the environment.
#[test]
fn older_package() {
    with_newest(|python| {
        let mut command = python.command();
        command.args(["-c", "import spanprof; print(*spanprof.__path__)"]);
        let said = Running::start(&mut command).wait().stdout;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let package = folder.path().join("spanprof");
        fs::create_dir(&package).expect("it can be made");
        let mut older = 0;
        for entry in fs::read_dir(said.trim()).expect("the package").flatten() {
            let Ok(mut bytes) = fs::read(entry.path()) else {
                continue;
            };
            // Another name in the table of symbols, which the agent does not know; of the same hash
            // (33 × h + c for each character c), by which the loader knows it.
            let (name, other) = (
                b"spanprof_process_attributes",
                b"spanprof_process_attributfR",
            );
            while let Some(at) = bytes.windows(name.len()).position(|it| it == name) {
                bytes[at..at + name.len()].copy_from_slice(other);
                older += 1;
            }
            fs::write(package.join(entry.file_name()), bytes).expect("it can be written");
        }
        assert!(older > 0);
        let agent = Agent::start(&[]);
        let path = format!("{}:{}", folder.path().display(), program("").display());
        let attributes = "service.name=before,service.version=1.0";
        let mut command = python.program("labelled.py", &["older", "1"]);
        command.env("PYTHONPATH", path);
        command.env("OTEL_RESOURCE_ATTRIBUTES", attributes);
        let mut workload = Workload::start(&mut command);
        workload.begin();
        workload.facts("used");
        let (server, _) = agent.stop();
        let profiles = server.profiles().into_iter();
        let versions: BTreeSet<_> = profiles
            .filter(|it| it.label("service_name") == Some("older"))
            .map(|it| it.label("service_version").map(str::to_owned))
            .collect();
        assert_eq!(versions, BTreeSet::from([Some("1.0".to_owned())]));
    });
}
