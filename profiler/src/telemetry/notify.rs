//! What systemd hears: that the agent is ready, what it does, and that its data thread still turns.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

use crate::health::{Gauge, Health, Phase};

/// How often systemd hears what the agent does.
const STATUS_EVERY: Duration = Duration::from_mins(1);

/// The agent takes samples from now on.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The agent ends, and needs so much time at the most.
pub fn stopping(most: Duration) {
    let micros = u32::try_from(most.as_micros()).unwrap_or(u32::MAX);
    tell(&[
        NotifyState::Stopping,
        NotifyState::ExtendTimeoutUsec(micros),
        NotifyState::Status("stopping: what was profiled is sent"),
    ]);
}

/// Keeps systemd informed: a line a minute, and as often as its watchdog asks that the data thread turns. It says
/// nothing of a data thread that does not, and systemd starts the agent anew. Without systemd it ends at once.
pub async fn keep_informed(health: Health) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let watchdog = sd_notify::watchdog_enabled().map(|most| most / 2);
    let mut status = interval(STATUS_EVERY);
    // Twice as often as is judged, so that one turn that comes late costs one word and not two.
    let watch_every = watchdog.map_or(STATUS_EVERY, |half| half / 2);
    let mut watch = interval(watch_every.max(Duration::from_millis(1)));
    for ticks in [&mut status, &mut watch] {
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    loop {
        tokio::select! {
            _ = status.tick() => {
                let words = words(&health);
                // It may have to wait for systemd.
                let _ = spawn_blocking(move || tell(&[NotifyState::Status(&words)])).await;
            }
            _ = watch.tick() => if let Some(half) = watchdog && turns(&health, half) {
                let _ = spawn_blocking(|| tell(&[NotifyState::Watchdog])).await;
            }
        }
    }
}

/// Whether the data thread has begun a turn in so much time; before its first and after its last, there is nothing
/// to miss.
fn turns(health: &Health, most: Duration) -> bool {
    health.phase() != Phase::Running
        || health
            .idle(Gauge::DataTurned)
            .is_none_or(|idle| idle <= most)
}

/// What the agent does, in a line.
fn words(health: &Health) -> String {
    let total = |name| health.total(name).unwrap_or(0);
    let attributed = total("samples_attributed");
    let samples = attributed + total("samples_unattributed");
    let percent = (attributed * 100).checked_div(samples).unwrap_or(0);
    format!(
        "profiling {} processes; {samples} samples, {percent} % in spans; {} profiles stored, {} waiting, {} lost",
        health.gauge(Gauge::Processes),
        total("profiles_stored"),
        health.gauge(Gauge::ProfilesWaiting),
        health.profiles_lost(),
    )
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("systemd cannot be told: {error}");
    }
}
