//! Facts to findings: what is missing, what that costs, and the line that fixes it.

mod capabilities;
mod finding;
mod settings;
#[cfg(test)]
mod tests;

pub(super) use self::capabilities::stand_ins;
pub use self::finding::{Finding, Lack, Weight};
use self::{capabilities::capabilities, finding::give, settings::settings};
use super::Facts;

/// What is missing here, the worst first.
pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut all: Vec<Finding> = capabilities(facts).chain(settings(facts)).collect();
    all.sort_by_key(|finding| finding.weight == Weight::Costs);
    all
}

/// Findings in one line; how capabilities are given is said once for all of them.
pub fn told(findings: &[Finding]) -> String {
    let mut missing = Vec::new();
    let mut parts = Vec::new();
    for finding in findings {
        if let Lack::Capability(name) = &finding.lack {
            missing.push((name, finding.costs));
        }
    }
    if !missing.is_empty() {
        let each: Vec<String> = missing
            .iter()
            .map(|(name, costs)| format!("{name} is missing ({costs})"))
            .collect();
        let names: Vec<&str> = missing.iter().map(|(name, _)| **name).collect();
        parts.push(format!("{}: {}", each.join(", "), give(&names.join(", "))));
    }
    let settings = findings
        .iter()
        .filter(|finding| matches!(finding.lack, Lack::Setting { .. }));
    parts.extend(settings.map(Finding::to_string));
    parts.join("; ")
}
