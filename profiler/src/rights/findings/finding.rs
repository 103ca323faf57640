//! What is missing, and the words for it.

use std::fmt;

/// How much something that is missing matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Nothing can be profiled.
    Stops,
    /// There is profiling, with less than there could be.
    Costs,
}

/// What is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// A capability, by its name.
    Capability(&'static str),
    /// A setting or a state of the kernel is in the way.
    Setting {
        /// What it is called.
        name: &'static str,
        /// As what it was found.
        found: String,
        /// What fixes it.
        remedy: &'static str,
    },
}

/// One thing that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub lack: Lack,
    /// How much it matters.
    pub weight: Weight,
    /// What it costs.
    pub costs: &'static str,
}

impl Finding {
    /// The name of what is missing or in the way.
    pub fn name(&self) -> &'static str {
        match &self.lack {
            Lack::Capability(name) | Lack::Setting { name, .. } => name,
        }
    }

    /// What was found, without its name.
    pub fn found(&self) -> &str {
        match &self.lack {
            Lack::Capability(_) => "is missing",
            Lack::Setting { found, .. } => found,
        }
    }

    /// What fixes it, in one line.
    pub fn remedy(&self) -> String {
        match &self.lack {
            Lack::Capability(name) => give(name),
            Lack::Setting { remedy, .. } => (*remedy).to_owned(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} {} ({}): {}",
            self.name(),
            self.found(),
            self.costs,
            self.remedy()
        )
    }
}

/// How capabilities are given.
pub(super) fn give(names: &str) -> String {
    format!(
        "run it as root, or give it {names} (AmbientCapabilities= of a systemd unit, capabilities.add of a container)"
    )
}
