//! What is asked, by whichever way: the counts, the kernel, and whether the agent is well.

use std::time::Duration;

use prometheus::Registry;

use crate::{
    health::{Gauge, Health, Phase},
    kernel::Usage,
};

/// A data thread that has not turned for so long is stuck: it turns five times a second.
const DATA_STUCK: Duration = Duration::from_secs(5);
/// The same of the control thread, which reads files of others.
const CONTROL_STUCK: Duration = Duration::from_secs(30);

/// What all answers are made of.
pub(super) struct State {
    pub(super) health: Health,
    pub(super) usage: Usage,
    pub(super) registry: Registry,
}

/// Whether the agent does what it is there for. A server that is away is no reason to start the agent anew.
pub(super) fn is_well(health: &Health) -> Result<&'static str, String> {
    match health.phase() {
        Phase::Starting => return Ok("starting"),
        Phase::Stopping => return Ok("stopping"),
        Phase::Running => {}
    }
    for (thread, name, most) in [
        (Gauge::DataTurned, "data", DATA_STUCK),
        (Gauge::ControlTurned, "control", CONTROL_STUCK),
    ] {
        let idle = health.idle(thread).unwrap_or_default();
        if idle > most {
            return Err(format!(
                "the thread {name} is stuck: its last turn was {} s ago, and should be {} s ago at most",
                idle.as_secs(),
                most.as_secs()
            ));
        }
    }
    Ok("well")
}

/// Whether samples are taken: the programs are attached, and every process was looked at or
/// half a second has passed.
pub(super) fn is_ready(health: &Health) -> Result<&'static str, String> {
    match health.phase() {
        Phase::Starting => Err("starting: the programs are not attached yet".to_owned()),
        Phase::Stopping => Err("stopping: no samples are taken any more".to_owned()),
        Phase::Running => Ok("ready"),
    }
}

#[cfg(test)]
mod tests {
    use super::{is_ready, is_well};
    use crate::health::{Gauge, Health, Phase};

    /// An agent is well in every phase, and ready in one.
    #[test]
    fn phases() {
        let health = Health::default();
        assert_eq!(is_well(&health), Ok("starting"));
        assert!(is_ready(&health).is_err());
        health.turns(Gauge::DataTurned);
        health.turns(Gauge::ControlTurned);
        health.enter(Phase::Running);
        assert_eq!(is_well(&health), Ok("well"));
        assert_eq!(is_ready(&health), Ok("ready"));
        health.enter(Phase::Stopping);
        assert_eq!(is_well(&health), Ok("stopping"));
        assert!(is_ready(&health).is_err());
    }
}
