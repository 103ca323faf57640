//! A second run, alone, of the few tests that failed beside others.
//!
//! End-to-end tests run real programs on a machine that may do something else at that time. One of a thousand tests that
//! fails because of that must not hide what the others say. So it runs again, alone; if it passes, it counts as passed
//! and is listed as unsteady, with the output of its failure.

use anyhow::Result;

use crate::command::say;
use crate::summary::Summary;

/// If more fail, the fault is hardly the machine's.
const MOST: u64 = 3;
/// Tests of single samples: one that is wrong once is wrong.
const NEVER: [&str; 2] = ["right_span::", "thread_states::"];

/// Runs what failed again with the arguments for libtest that select it, if it may be the machine's fault. `first` is
/// what the first run counted; the result is what is to be counted instead.
pub(super) fn again(
    mut first: Summary,
    run: impl FnOnce(&[&str]) -> Result<Summary>,
) -> Result<Summary> {
    let failed = first.failed_tests.clone();
    let is_known = u64::try_from(failed.len()).is_ok_and(|count| count == first.failed);
    let is_final = |name: &String| NEVER.iter().any(|of| name.starts_with(of));
    if failed.is_empty() || first.failed > MOST || !is_known || failed.iter().any(is_final) {
        return Ok(first);
    }
    say(&format!("again, alone: {}", failed.join(", ")));
    let mut arguments = vec!["--test-threads", "1", "--exact"];
    arguments.extend(failed.iter().map(String::as_str));
    let second = run(&arguments)?;
    let still = &second.failed_tests;
    // Neither counts if it is not certain that each has run.
    if second.passed + second.failed != first.failed || second.failed != count(still) {
        return Ok(first);
    }
    first.passed += second.passed;
    first.failed = second.failed;
    first.failed_tests.clone_from(still);
    let passed = failed.into_iter().filter(|name| !still.contains(name));
    first.unsteady.extend(passed);
    Ok(first)
}

fn count(names: &[String]) -> u64 {
    u64::try_from(names.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::again;
    use crate::summary::Summary;

    fn failed(names: &[&str]) -> Summary {
        Summary {
            passed: 5,
            failed: names.len().try_into().unwrap(),
            failed_tests: names.iter().map(|&it| it.to_owned()).collect(),
            failures: vec!["why".to_owned()],
            ..Summary::default()
        }
    }

    /// What passes alone counts as passed and is listed; what fails again has failed.
    #[test]
    fn what_passes_alone_is_unsteady() {
        let first = failed(&["a", "b"]);
        let second = Summary {
            passed: 1,
            ..failed(&["b"])
        };
        let total = again(first, |arguments| {
            assert_eq!(arguments, ["--test-threads", "1", "--exact", "a", "b"]);
            Ok(second)
        });
        let total = total.unwrap();
        assert_eq!((total.passed, total.failed), (6, 1));
        assert_eq!(
            (&total.unsteady[..], &total.failed_tests[..]),
            (&["a".to_owned()][..], &["b".to_owned()][..])
        );
        assert_eq!(total.failures, ["why"]);
    }

    /// Many failures, samples that were wrong, and crashes are final.
    #[test]
    fn some_failures_are_final() {
        let crashed = Summary {
            failed: 1,
            ..Summary::default()
        };
        let skipped = |_: &[&str]| panic!("runs again");
        for first in [
            failed(&["a", "b", "c", "d"]),
            failed(&["right_span::asyncio"]),
            failed(&["thread_states::of_3_12", "a"]),
            crashed,
        ] {
            assert_eq!(again(first.clone(), skipped).unwrap(), first);
        }
        // One that does not run again.
        let total = again(failed(&["a"]), |_| Ok(Summary::default())).unwrap();
        assert_eq!(total.failed, 1);
    }
}
