//! The default seccomp profile of container runtimes, as they apply it: with the rules that the container's
//! capabilities bring. `tests/data/seccomp/README.md` says where it is from.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test cannot go on without the profile"
)]

use serde_json::{Value, json};

const PROFILE: &str = include_str!("../../data/seccomp/default.json");
/// This architecture, in the profile's words for itself and for its rules.
const ARCHITECTURE: (&str, &str) = ("SCMP_ARCH_X86_64", "amd64");

/// The profile for runc for a container with these capabilities, on a kernel of this release.
pub(super) fn runtime_default(capabilities: &[String], kernel: &str) -> Value {
    let profile: Value = serde_json::from_str(PROFILE).expect("JSON");
    let of_architecture = profile["archMap"]
        .as_array()
        .and_then(|all| all.iter().find(|it| it["architecture"] == ARCHITECTURE.0));
    let mut architectures = vec![json!(ARCHITECTURE.0)];
    let more = of_architecture.expect("of this architecture")["subArchitectures"].as_array();
    architectures.extend(more.into_iter().flatten().cloned());
    let rules = profile["syscalls"].as_array().expect("a list");
    let rules = rules
        .iter()
        .filter(|rule| is_for(rule, capabilities, kernel))
        .map(plain);
    json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": architectures,
        "syscalls": rules.collect::<Vec<_>>(),
    })
}

/// A rule without the conditions, which runc does not know.
fn plain(rule: &Value) -> Value {
    let mut rule = rule.clone();
    if let Some(fields) = rule.as_object_mut() {
        fields.retain(|name, value| {
            !["includes", "excludes", "comment"].contains(&name.as_str()) && !value.is_null()
        });
    }
    rule
}

/// Whether all conditions hold under which a rule is in, and none under which it is out.
fn is_for(rule: &Value, capabilities: &[String], kernel: &str) -> bool {
    let has = |name: &Value| capabilities.iter().any(|it| name == it);
    let is_ours = |name: &Value| name == ARCHITECTURE.1;
    let is_new_enough = |least: &Value| {
        least
            .as_str()
            .is_none_or(|it| version(kernel) >= version(it))
    };
    let list = |of: &Value, name: &str| of[name].as_array().cloned().unwrap_or_default();
    let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
    let arches = list(includes, "arches");
    let is_in = (arches.is_empty() || arches.iter().any(is_ours))
        && list(includes, "caps").iter().all(has)
        && is_new_enough(&includes["minKernel"]);
    let is_out = list(excludes, "arches").iter().any(is_ours)
        || list(excludes, "caps").iter().any(has)
        || (excludes["minKernel"].is_string() && is_new_enough(&excludes["minKernel"]));
    is_in && !is_out
}

/// Major and minor version of a kernel.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|letter: char| !letter.is_ascii_digit())
        .map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::runtime_default;

    fn allows(capabilities: &[&str], call: &str) -> bool {
        let capabilities: Vec<String> = capabilities.iter().map(|it| (*it).to_owned()).collect();
        let profile = runtime_default(&capabilities, "6.18.0");
        let rules = profile["syscalls"].as_array().unwrap();
        rules.iter().any(|rule| {
            rule["action"] == "SCMP_ACT_ALLOW"
                && rule["names"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|name| name == call)
        })
    }

    /// What the agent calls comes with its capabilities, and with no other.
    #[test]
    fn rules_of_capabilities() {
        assert!(allows(&[], "read"));
        for (call, capability) in [
            ("bpf", "CAP_BPF"),
            ("perf_event_open", "CAP_PERFMON"),
            ("kcmp", "CAP_SYS_PTRACE"),
            ("syslog", "CAP_SYSLOG"),
        ] {
            assert!(!allows(&["CAP_CHOWN"], call), "{call}");
            assert!(allows(&[capability], call), "{call}");
        }
        assert!(!allows(&["CAP_BPF"], "mount"));
    }
}
