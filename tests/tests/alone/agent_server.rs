//! `spanprof agent` and a server that does not do as it should: nothing is lost that could be kept,
//! nothing is tried again that must not be, and what is lost is counted.

use std::{net::TcpListener, process::Command, time::Duration};

use profiler::time::monotonic_now;
use tests::{
    agent::{self, Agent, counted, counted_of, samples},
    pretend_pyroscope::{Misbehaviour, PretendPyroscope},
    process::{Running, Signal, eventually},
    python::{Python, Workload, with_newest},
    spanprof,
};

/// CPU time of the workload, in seconds.
const SECONDS: &str = "2.0";

/// Runs the workload to its end under an agent.
fn run(python: &Python) -> Workload {
    let mut workload = python.start("nested.py", &[SECONDS]);
    workload.begin();
    workload.facts("cpu");
    workload
}

/// A server that is away for a while, in all its ways, gets everything in the end.
#[test]
fn gets_everything_in_the_end() {
    with_newest(|python| {
        let server = PretendPyroscope::start();
        server.script([
            Misbehaviour::Status(503),
            Misbehaviour::Garbage,
            Misbehaviour::RetryAfter(1),
            Misbehaviour::Close,
            Misbehaviour::Status(500),
            Misbehaviour::Hang(Duration::from_millis(300)),
        ]);
        let agent = Agent::with(server, &[]);
        let _workload = run(python);
        // All that was scripted has happened, and pushes go through again.
        agent.wait_for_service("nested");
        let (server, ended) = agent.stop();
        assert!(ended.status.success(), "{ended:#?}");
        assert!(server.pushes().len() > 6);
        let exported: i64 = server
            .profiles()
            .iter()
            .flat_map(|it| &it.samples)
            .map(|it| it.value)
            .sum();
        let taken = counted(&ended.stderr, "samples_taken");
        // Each is counted, also one for which there was no room on a machine that was busy.
        let others = counted(&ended.stderr, "samples_lost");
        let period = 1_000_000_000 / 199;
        // An answer that was lost may have made the server store a profile twice, which is counted.
        let twice = counted_of(&ended.stderr, "profiles_retried", "answer_lost");
        assert!(exported >= (taken - others) * period, "{ended:#?}");
        assert!(
            exported == (taken - others) * period || twice > 0,
            "{ended:#?}"
        );
        for name in ["profiles_dropped", "profiles_refused"] {
            assert_eq!(counted(&ended.stderr, name), 0, "{ended:#?}");
        }
    });
}

/// What the server refuses for good is not sent again: its words are logged, the loss is counted, and the
/// next profile is sent as ever.
#[test]
fn refused_for_good() {
    with_newest(|python| {
        let server = PretendPyroscope::start();
        server.refuse_service("nested", 400);
        let agent = Agent::with(server, &[]);
        let _workload = run(python);
        agent.wait_for("refused a profile");
        agent.server.take_service("nested");
        let _another = run(python);
        agent.wait_for_service("nested");
        let (server, ended) = agent.stop();
        assert!(ended.stderr.contains("400"), "{}", ended.stderr);
        let refused = counted(&ended.stderr, "profiles_refused");
        assert_eq!(
            i64::try_from(ended.stderr.matches("refused a profile").count()).unwrap(),
            refused
        );
        assert!(!samples(&server, "nested").is_empty());
        assert_eq!(
            counted_of(&ended.stderr, "profiles_retried", "answer_lost"),
            0
        );
    });
}

/// Without any server the agent goes on, keeps its memory bounded by dropping and counting profiles, and ends on a
/// signal.
#[test]
fn no_server() {
    with_newest(|python| {
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            listener.local_addr().expect("its own address").port()
        };
        let url = format!("http://127.0.0.1:{port}");
        let arguments = ["--pyroscope-url", &url, "--upload-interval", "1s"];
        let agent = Running::start(&mut agent::command(&arguments));
        agent.stderr.wait_for("profiling");
        let _workload = run(python);
        agent.signal(Signal::USR1);
        agent.stderr.wait_for("samples_taken");
        let start = monotonic_now();
        agent.signal(Signal::TERM);
        let ended = agent.wait();
        assert!(start.elapsed() < Duration::from_secs(60), "{ended:#?}");
        assert!(ended.status.success(), "{ended:#?}");
        let lost: i64 = ["agent_ended", "queue_full"]
            .iter()
            .map(|reason| counted_of(&ended.stderr, "profiles_dropped", reason))
            .sum();
        assert!(lost > 0, "{ended:#?}");
        assert!(ended.stderr.contains("never stored"), "{ended:#?}");
        assert!(ended.stderr.contains(&url), "{ended:#?}");
    });
}

/// A server that takes a push and never answers keeps neither the samples from being taken nor the
/// agent from ending.
#[test]
fn server_that_hangs() {
    with_newest(|python| {
        let server = PretendPyroscope::start();
        server.script([Misbehaviour::Hang(Duration::from_mins(10))]);
        let agent = Agent::with(server, &[]);
        let _workload = run(python);
        eventually("a push", || {
            (!agent.server.pushes().is_empty()).then_some(())
        });
        let before = taken(&agent);
        let _another = run(python);
        assert!(taken(&agent) > before);
        let start = monotonic_now();
        let (_, ended) = agent.stop();
        assert!(start.elapsed() < Duration::from_secs(60), "{ended:#?}");
        assert!(ended.status.success(), "{ended:#?}");
    });
}

/// Samples taken so far, as SIGUSR1 has it.
fn taken(agent: &Agent) -> i64 {
    let tables = agent.said().matches("what was counted").count();
    agent.signal(Signal::USR1);
    eventually("a table of losses", || {
        let said = agent.said();
        let is_new = said.matches("what was counted").count() > tables;
        (is_new && spanprof::count(last_table(&said), "samples_taken") > 0)
            .then(|| counted(&said, "samples_taken"))
    })
}

fn last_table(said: &str) -> &str {
    let from = said.rfind("what was counted").unwrap_or(0);
    said.get(from..).unwrap_or_default()
}

/// An agent whose log has lost its reader goes on, and ends as it should.
#[test]
fn unread_log() {
    const SCRIPT: &str =
        "exec \"$0\" --log debug agent --pyroscope-url \"$1\" --upload-interval 1s > >(true) 2>&1";
    with_newest(|python| {
        let server = PretendPyroscope::start();
        let mut command = Command::new("bash");
        command.args(["-c", SCRIPT]).arg(spanprof::binary());
        let agent = Running::start(command.arg(server.url()));
        let mut workload = python.start("nested.py", &["8"]);
        workload.begin();
        let more_than = |before| {
            eventually("a profile", || {
                let total = server.total("nested");
                (total > before).then_some(total)
            })
        };
        let before = more_than(0);
        agent.signal(Signal::USR1);
        more_than(more_than(before));
        agent.signal(Signal::TERM);
        let ended = agent.wait();
        assert!(ended.status.success(), "{ended:#?}");
    });
}
