//! An outage of the server for twenty minutes, compressed into some seconds.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tests::pretend_pyroscope::StoredProfile;

use super::exporter::Exporter;
use super::{ANSWER, WINDOW, seconds, server};
use crate::Bench;
use crate::report::Figure;

const SERVICES: u32 = 20;
/// Windows of twenty minutes.
const WINDOWS: u32 = 80;
/// The time between two windows while the server is down.
const AWAY_EVERY: Duration = Duration::from_millis(250);
/// The time between live windows when it is back: a window's work arrives fifteen times as fast.
const LIVE_EVERY: Duration = Duration::from_secs(1);
/// The least number of live windows: catching up takes about as long.
const LIVE_WINDOWS: u32 = 60;

/// A profile that the server has stored.
struct Stored {
    /// The time when it was stored, in nanoseconds since 1970.
    at: i64,
    /// The time when its window had ended.
    ended: i64,
    /// Whether its window was during the outage.
    is_backlog: bool,
}

pub(super) fn measure(bench: &Bench, program: &Path) -> Result<Vec<Figure>> {
    let folder = bench.workspace.target.join("bench");
    let mut columns: [Vec<f64>; 8] = Default::default();
    for _ in 0..bench.rounds(2, 1) {
        for (column, value) in columns.iter_mut().zip(round(&folder, program)?) {
            column.push(value);
        }
    }
    let [lost, first, caught_up, lag, largest, before, after, pause] = columns;
    let figure = |name: &str, unit, values| {
        Figure::new(
            format!("outage of 20 min, {SERVICES} services: {name}"),
            unit,
            values,
        )
    };
    Ok(vec![
        figure("lost", "profiles", lost).zero(),
        figure("from the server's return to the first push", "s", first),
        figure("from there until all is stored", "s", caught_up),
        figure("lag of live windows meanwhile", "s", lag),
        figure("their largest lag", "s", largest).below(5.0),
        figure("lag of what ended before that first push", "s", pause),
        figure("resident memory before", "MiB", before),
        figure("resident memory at its end", "MiB", after),
    ])
}

fn round(folder: &Path, program: &Path) -> Result<[f64; 8]> {
    let (server, _) = server(folder, false)?;
    server.limit_rate();
    server.answer_after(ANSWER);
    server.forget_bodies();
    let mut exporter = Exporter::start(program, &server, SERVICES, None)?;
    exporter.window(Duration::ZERO)?;
    exporter.settle()?;
    let before = exporter.resident()?;
    server.shut();
    for window in 0..WINDOWS {
        exporter.window(WINDOW * (WINDOWS - window))?;
        thread::sleep(AWAY_EVERY);
    }
    let after = exporter.resident()?;
    server.reopen();
    let returned = now()?;
    let start = Instant::now();
    for window in 0..LIVE_WINDOWS {
        exporter.window(Duration::ZERO)?;
        thread::sleep((LIVE_EVERY * (window + 1)).saturating_sub(start.elapsed()));
    }
    let account = exporter.settle()?;
    let lost = account.lost.max(exporter.missing(&server));
    let stored: Vec<Stored> = server.look_at(stored);
    let after_return = || stored.iter().filter(|it| it.at > returned);
    let first = after_return().map(|it| it.at).min();
    let first = first.context("nothing was stored when the server was back")?;
    let complete = after_return()
        .filter(|it| it.is_backlog)
        .map(|it| it.at)
        .max();
    let complete = complete.context("nothing of the outage was stored")?;
    let lags = |from: i64, until: i64| -> Vec<f64> {
        let live = after_return().filter(|it| !it.is_backlog);
        let these = live.filter(|it| (from..until).contains(&it.ended));
        these.map(|it| seconds(it.at - it.ended)).collect()
    };
    let meanwhile = lags(first, complete);
    let largest = |lags: &[f64]| lags.iter().copied().fold(0.0, f64::max);
    Ok([
        lost,
        seconds(first - returned),
        seconds(complete - first),
        crate::statistics::median(&meanwhile),
        largest(&meanwhile),
        before,
        after,
        largest(&lags(returned, first)),
    ])
}

fn stored(profile: &StoredProfile) -> Stored {
    let ended = profile.time_nanos + profile.duration_nanos;
    Stored {
        at: ended + profile.lag(),
        ended,
        is_backlog: u128::try_from(profile.duration_nanos)
            .is_ok_and(|duration| duration > WINDOW.as_nanos()),
    }
}

/// Nanoseconds since 1970.
fn now() -> Result<i64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(i64::try_from(since.as_nanos())?)
}

pub(super) fn note() -> String {
    format!(
        "the outage is compressed: its {WINDOWS} windows come within {} s, each as old as it would be; when the server \
         is back, with answers after {} s, live windows come every second, fifteen times as fast as in truth; the \
         agent asks a server that is away every 30 s at the longest, here less, since it was away for less",
        (AWAY_EVERY * WINDOWS).as_secs(),
        ANSWER.as_secs_f64(),
    )
}
