//! Two requests on one event loop, under spanprof and under `pyroscope-io` with `pyroscope-otel`: which
//! of both each server would show for which span. The figures are in `docs/right-span.md`.

use std::{fmt, path::Path, process::Command};

use tests::{
    peers,
    pretend_pyroscope::PretendPyroscope,
    process::{Running, Signal},
    python::{Workload, program},
    spanprof,
};

/// CPU time in the functions of both requests, by the span that the server keeps for it.
#[derive(Debug, Default)]
struct Judged {
    right: i64,
    wrong: i64,
    unlabelled: i64,
}

impl Judged {
    /// By what a server has stored.
    fn of(server: &PretendPyroscope, spans: [&str; 2]) -> Self {
        let mut judged = Self::default();
        for sample in server.profiles().into_iter().flat_map(|it| it.samples) {
            let is_in = |name: &str| sample.stack.iter().any(|frame| frame.contains(name));
            let place = [is_in("in_alpha"), is_in("in_beta")];
            let Some(place) = place.iter().position(|&is_in| is_in) else {
                continue;
            };
            let count = match &sample.span_id {
                None => &mut judged.unlabelled,
                Some(span) if spans.get(place) == Some(&span.as_str()) => &mut judged.right,
                Some(_) => &mut judged.wrong,
            };
            *count += sample.value;
        }
        judged
    }

    fn total(&self) -> i64 {
        self.right + self.wrong + self.unlabelled
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = |part: i64| part * 1000 / self.total().max(1);
        let share = |part: i64| format!("{}.{} %", tenths(part) / 10, tenths(part) % 10);
        write!(
            formatter,
            "{} ms of CPU: {} right, {} on the wrong span, {} without a span",
            self.total() / 1_000_000,
            share(self.right),
            share(self.wrong),
            share(self.unlabelled)
        )
    }
}

/// Every sample of spanprof is right. Those of the peer are only measured, for `docs/right-span.md`: this test
/// asserts nothing about them.
#[test]
fn beside_the_peer() {
    let Some(python) = peers::program("python").filter(|_| spanprof::is_ready()) else {
        return;
    };
    let ours = under_spanprof(&python);
    eprintln!("spanprof: {ours}");
    let theirs = under_the_peer(&python);
    eprintln!("pyroscope-io and pyroscope-otel: {theirs}");
    assert!(ours.right > 5_000_000_000, "{ours}");
    assert_eq!(ours.wrong, 0, "{ours}");
    assert!(ours.unlabelled * 50 < ours.total(), "{ours}");
}

fn under_spanprof(python: &Path) -> Judged {
    let server = PretendPyroscope::start();
    let mut workload = Workload::start(Command::new(python).arg(program("two_requests.py")));
    let url = server.url();
    let arguments = ["--log", "info", "agent", "--pyroscope-url", &url];
    let agent = Running::start(&mut spanprof::command(&arguments));
    agent.stderr.wait_for("profiling");
    workload.begin();
    let facts = workload.facts("alpha");
    agent.signal(Signal::TERM);
    assert!(agent.wait().status.success());
    let id = |name: &str| facts.get(name).and_then(|it| it.as_str()).unwrap_or("");
    Judged::of(&server, [id("alpha"), id("beta")])
}

fn under_the_peer(python: &Path) -> Judged {
    let server = PretendPyroscope::start();
    let mut command = Command::new(python);
    command.arg(program("two_requests.py")).arg(server.url());
    let mut workload = Workload::start(&mut command);
    workload.begin();
    let facts = workload.facts("alpha");
    let id = |name: &str| facts.get(name).and_then(|it| it.as_str()).unwrap_or("");
    Judged::of(&server, [id("alpha"), id("beta")])
}
