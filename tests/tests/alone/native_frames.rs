//! Which frames of machine code a server gets: what its table of functions shows first is the user's code.

use std::collections::BTreeMap;

use tests::{
    agent::{self, Agent, at_least, at_most, samples, seconds},
    pretend_pyroscope::{PretendPyroscope, StoredSample},
    python::{Python, Workload, with_newest},
};

/// Functions of the program that are busy in the interpreter's machinery.
const IN_MACHINERY: [&str; 3] = ["make_objects", "divide", "make_text"];
/// All functions of the program that are busy. No library has a function of such a name: the samples of a start,
/// which may have machine code only, are told from the program's by them.
const BUSY: [&str; 6] = [
    "make_objects",
    "divide",
    "make_text",
    "compress_words",
    "digest_zeros",
    "read_zeros",
];

/// What the server has of the program, from an agent with the mode set by a flag or in its environment: all of the CPU
/// time that the program has measured.
fn pushed(python: &Python, flags: &[&str], environment: &[(&str, &str)]) -> Vec<StoredSample> {
    let server = PretendPyroscope::start();
    let mut command = agent::command(&["--pyroscope-url", &server.url()]);
    command.args(["--frequency", "199", "--upload-interval", "1s"]);
    command.args(flags).envs(environment.iter().copied());
    let agent = Agent::run(server, &mut command);
    let mut command = python.program("machinery.py", &[]);
    command.env("OTEL_SERVICE_NAME", "busy");
    let mut workload = Workload::start(&mut command);
    workload.begin();
    let used = workload.facts("used")["used"].as_f64().unwrap();
    let right = at_least(used, agent.since)..at_most(1.05 * used);
    let (server, ended) = agent.stop();
    assert!(ended.status.success(), "{ended:#?}");
    assert_eq!(server.refusals(), []);
    let samples = samples(&server, "busy");
    // Of the program's own work, not of its start.
    let is_busy = |it: &StoredSample| it.stack.iter().any(|name| BUSY.contains(&name.as_str()));
    let samples: Vec<_> = samples.into_iter().filter(is_busy).collect();
    let found = seconds(samples.iter().map(|it| it.value).sum());
    assert!(right.contains(&found), "{found} of {used}: {right:?}");
    samples
}

/// Functions by the CPU time they used themselves, most first.
fn by_self_time(samples: &[StoredSample]) -> Vec<(&str, i64)> {
    let mut times = BTreeMap::new();
    for sample in samples {
        *times.entry(sample.stack[0].as_str()).or_default() += sample.value;
    }
    let mut times: Vec<(&str, i64)> = times.into_iter().collect();
    times.sort_by_key(|&(_, time)| -time);
    times
}

/// Python functions that are busy in the machinery come first with all of their time, libraries and the
/// kernel are told apart; each mode keeps all samples.
#[test]
fn the_users_code_comes_first() {
    with_newest(|python| {
        let merged = pushed(python, &[], &[]);
        let functions = by_self_time(&merged);
        let place = |name: &str| functions.iter().position(|(it, _)| *it == name);
        for function in IN_MACHINERY {
            assert!(
                place(function).is_some_and(|place| place < 5),
                "{function}: {functions:#?}"
            );
        }
        let in_function = |name: &str| {
            let is_in = |it: &&StoredSample| it.stack.iter().any(|frame| frame == name);
            merged.iter().filter(is_in).map(|it| it.value).sum::<i64>()
        };
        let own: i64 = functions
            .iter()
            .filter(|(name, _)| IN_MACHINERY.contains(name))
            .map(|(_, time)| time)
            .sum();
        let all: i64 = IN_MACHINERY.iter().map(|name| in_function(name)).sum();
        assert!(own * 10 > all * 8, "{own} of {all}: {functions:#?}");
        let is_nameless = |(name, _): &&(&str, i64)| name.contains("+0x");
        assert_eq!(functions.iter().find(is_nameless), None);
        let kernel = functions.iter().filter(|(name, _)| name.ends_with("_[k]"));
        assert!(
            kernel.map(|(_, time)| time).sum::<i64>() > 100_000_000,
            "{functions:#?}"
        );

        let python_only = pushed(python, &["--native", "python-only"], &[]);
        for (name, _) in by_self_time(&python_only) {
            assert!(!name.contains("_[k]") && !name.starts_with("_Py"), "{name}");
        }
        let functions = by_self_time(&python_only);
        let first = functions.iter().take(BUSY.len());
        assert!(
            first.clone().all(|(name, _)| BUSY.contains(name)),
            "{functions:#?}"
        );

        // As a file has it: then the machinery comes first.
        let full = pushed(python, &[], &[("SPANPROF_NATIVE", "full")]);
        let functions = by_self_time(&full);
        assert!(
            functions.iter().any(|(name, _)| name.starts_with("_Py")),
            "{functions:#?}"
        );
        assert!(!BUSY.contains(&functions[0].0), "{functions:#?}");
    });
}
