//! The agent itself, with real Python processes, over TLS.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tests::pretend_pyroscope::PretendPyroscope;

use super::{ANSWER, number, seconds, server};
use crate::Bench;
use crate::report::Figure;
use crate::spanprof::Spanprof;
use crate::workload::Workload;

const PROCESSES: u32 = 10;
const FREQUENCY: u32 = 99;
/// How long a push may take before it counts as waiting.
const IN_TIME: Duration = Duration::from_secs(5);

pub(super) fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let (python, _) = bench.python_with_peers()?;
    let folder = bench.workspace.target.join("bench");
    let (server, ca_file) = server(&folder, true)?;
    server.limit_rate();
    server.answer_after(ANSWER);
    let services: Vec<String> = (0..PROCESSES)
        .map(|number| format!("busy-{number}"))
        .collect();
    let program = bench.program("spin.py");
    let _busy = services
        .iter()
        .map(|name| {
            let environment = [("OTEL_SERVICE_NAME", name.clone())];
            Workload::start_in(&environment, &python, &program, &["30"], None)
        })
        .collect::<Result<Vec<_>>>()?;
    let mut flags = vec!["--upload-interval".to_owned(), "15s".to_owned()];
    if let Some(path) = ca_file {
        flags.extend(["--ca-file".to_owned(), path.display().to_string()]);
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let agent = Spanprof::agent_with(&bench.agent, &folder, &server.url(), FREQUENCY, &flags)?;
    // Longer than servers keep an idle connection.
    let windows = bench.rounds(10, 2);
    let mut waiting = Vec::new();
    for window in 1..=windows {
        wait_for(&server, window)?;
        thread::sleep(IN_TIME);
        let counters = agent.report()?;
        let count = |name: &str| counters.get(name).copied().unwrap_or(0.0);
        let done = count("profiles_stored") + count(r#"profiles_refused{reason="by_server"}"#);
        waiting.push(count("profiles_encoded") - done);
    }
    let lags = server.look_at(|profile| {
        services
            .iter()
            .any(|name| profile.label("service_name") == Some(name))
            .then(|| profile.lag())
    });
    let lags: Vec<f64> = lags.into_iter().flatten().map(seconds).collect();
    let largest = lags.iter().copied().fold(0.0, f64::max);
    let counters = agent.stop()?;
    let count = |name: &str| counters.get(name).copied().unwrap_or(0.0);
    let lost = count("profiles_encoded") - count("profiles_stored");
    let handshakes = number(server.handshakes().len());
    let figure = |name: &str, unit, values| {
        Figure::new(
            format!("{PROCESSES} busy Python processes, TLS: {name}"),
            unit,
            values,
        )
    };
    Ok(vec![
        figure("lag", "s", lags),
        figure("largest lag", "s", vec![largest]).below(IN_TIME.as_secs_f64()),
        figure("waits 5 s after a window", "profiles", waiting).zero(),
        figure("lost", "profiles", vec![lost]).zero(),
        figure(
            "requests a window",
            "",
            vec![number(server.requests()) / number(windows + 1)],
        ),
        figure(
            "handshakes a connection kept open",
            "",
            vec![handshakes / number(server.most_connections())],
        )
        .below(1.5),
    ])
}

/// Waits until the server has this number of windows of every service.
fn wait_for(server: &PretendPyroscope, windows: usize) -> Result<()> {
    let start = Instant::now();
    let least = || {
        (0..PROCESSES)
            .map(|number| server.arrivals(&format!("busy-{number}")).len())
            .min()
            .unwrap_or(0)
    };
    while least() < windows {
        if start.elapsed() > Duration::from_secs(60) {
            bail!("the agent has pushed {} windows and not {windows}", least());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

pub(super) fn note() -> String {
    format!(
        "the processes are profiled by `spanprof agent --upload-interval 15s` at {FREQUENCY} Hz and pushed over TLS to \
         a server that answers after {} s; what it has encoded and the server has not said to have is asked of it \
         (SIGUSR1) 5 s after each window",
        ANSWER.as_secs_f64()
    )
}
