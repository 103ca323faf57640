//! Windows of many services, one after the other.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use tests::pretend_pyroscope::StoredProfile;

use super::exporter::{Exporter, ROWS};
use super::{ANSWER, WINDOW, number, seconds, server};
use crate::Bench;
use crate::report::Figure;

/// The bar: every window of up to this many services must be stored in time.
const MOST_SERVICES: u32 = 500;
/// The time limit, in seconds.
const IN_TIME: f64 = 5.0;

/// The profiles to push, and the server.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) services: u32,
    /// How long the server takes to answer.
    pub(super) answer: Duration,
    pub(super) is_tls: bool,
}

pub(super) fn measure(bench: &Bench, program: &Path, load: Load) -> Result<Vec<Figure>> {
    let folder = bench.workspace.target.join("bench");
    let (server, ca_file) = server(&folder, load.is_tls)?;
    server.limit_rate();
    server.answer_after(load.answer);
    server.forget_bodies();
    let mut exporter = Exporter::start(program, &server, load.services, ca_file.as_deref())?;
    let cpu = exporter.cpu_seconds()?;
    let windows = bench.rounds(3, 2);
    let every = if bench.quick { WINDOW / 2 } else { WINDOW };
    let start = Instant::now();
    let mut waiting = Vec::new();
    for window in 0..windows {
        let account = exporter.window(Duration::ZERO)?;
        if window > 0 {
            waiting.push(account.waiting);
        }
        let next = every.saturating_mul(u32::try_from(window + 1)?);
        thread::sleep(next.saturating_sub(start.elapsed()));
    }
    waiting.push(exporter.account()?.waiting);
    let account = exporter.settle()?;
    let used = exporter.cpu_seconds()? - cpu;
    let lags: Vec<f64> = server
        .look_at(StoredProfile::lag)
        .into_iter()
        .map(seconds)
        .collect();
    let largest = lags.iter().copied().fold(0.0, f64::max);
    let lost = account.lost.max(exporter.missing(&server));
    let what = format!(
        "{} services, answers after {} s{}",
        load.services,
        load.answer.as_secs_f64(),
        if load.is_tls { ", TLS" } else { "" }
    );
    let figure = |name: &str, unit, values| Figure::new(format!("{what}: {name}"), unit, values);
    let mut largest = figure("largest lag", "s", vec![largest]);
    let mut waiting = figure("waits at the next window's end", "profiles", waiting);
    if load.services <= MOST_SERVICES && load.answer <= ANSWER {
        largest = largest.below(IN_TIME);
        waiting = waiting.zero();
    }
    let per_profile = 1e6 * used / exporter.profiles();
    let mut figures = vec![
        figure("lag", "s", lags),
        largest,
        waiting,
        figure("lost", "profiles", vec![lost]).zero(),
        figure(
            "requests refused for the rate",
            "",
            vec![number(server.refusals().len())],
        ),
        figure("connections", "", vec![number(server.connections())]),
        figure(
            "requests a window",
            "",
            vec![number(server.requests()) / number(windows)],
        ),
        figure("CPU per profile", "µs", vec![per_profile]),
        figure("CPU per row", "µs", vec![per_profile / f64::from(ROWS)]),
    ];
    if load.is_tls {
        let handshakes = number(server.handshakes().len());
        figures.push(
            figure(
                "handshakes a connection kept open",
                "",
                vec![handshakes / number(server.most_connections())],
            )
            .below(1.5),
        );
    }
    Ok(figures)
}
