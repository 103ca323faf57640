//! Adding up the closing lines of test runs.

use std::fmt;
use std::io::{self, BufRead, BufReader};
use std::ops::AddAssign;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use launcher::SKIPPED;

use crate::command::line;

/// How many lines of each command's failures are repeated: the first failure matters most.
const MOST_LINES_OF_FAILURES: usize = 400;

/// What libtest puts before the name of each test that failed.
const INDENT_OF_NAMES: &str = "    ";

/// How many tests ended how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Passed.
    pub(crate) passed: u64,
    /// Failed, including those that an error kept from running.
    pub(crate) failed: u64,
    /// Ignored or skipped.
    pub(crate) skipped: u64,
    /// The output of failed tests, line by line. It is repeated at the end, when the original is far up.
    pub(crate) failures: Vec<String>,
    /// The names of failed tests, as libtest lists them.
    pub(crate) failed_tests: Vec<String>,
    /// Tests that failed once and then passed alone. They count as passed.
    pub(crate) unsteady: Vec<String>,
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        let Self {
            passed,
            failed,
            skipped,
            failures,
            failed_tests,
            unsteady,
        } = other;
        self.passed += passed;
        self.failed += failed;
        self.skipped += skipped;
        self.failures.extend(failures);
        self.failed_tests.extend(failed_tests);
        self.unsteady.extend(unsteady);
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
            failures: _,
            failed_tests: _,
            unsteady: _,
        } = self;
        write!(
            formatter,
            "{passed} passed, {failed} failed, {skipped} skipped"
        )
    }
}

/// Runs a test command, shows its output as it arrives and counts its tests.
///
/// If a command fails but counts no failure (it did not build, it crashed), that is one failure:
/// no outcome may get lost.
pub(crate) fn run(command: &mut Command) -> Result<Summary> {
    run_selected(command, None)
}

/// The same for a command that may have nothing to run and then ends with the given exit code.
pub(crate) fn run_selected(command: &mut Command, nothing_ran: Option<i32>) -> Result<Summary> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start {}", line(command)))?;
    let mut total = Summary::default();
    if let Some(stdout) = child.stdout.take() {
        total = count(BufReader::new(stdout), |line| println!("{line}"))
            .with_context(|| format!("failed to read from {}", line(command)))?;
    }
    let status = child
        .wait()
        .with_context(|| format!("failed to wait for {}", line(command)))?;
    let is_empty = nothing_ran.is_some() && status.code() == nothing_ran;
    if !status.success() && total.failed == 0 && !is_empty {
        eprintln!("xtask: {} ended with {status}", line(command));
        total.failed = 1;
    }
    Ok(total)
}

/// Shows each line of an output and counts its tests.
fn count(output: impl BufRead, show: impl Fn(&str)) -> io::Result<Summary> {
    let mut total = Summary::default();
    let mut skipped = 0;
    let mut in_failures = false;
    for line in output.split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        show(&line);
        total += closing_line(&line).unwrap_or_default();
        if line == "failures:" {
            // libtest shows the output of all that failed under this heading, and then lists them under another.
            total.failed_tests.clear();
        } else if in_failures && let Some(name) = line.strip_prefix(INDENT_OF_NAMES) {
            total.failed_tests.push(name.to_owned());
        }
        in_failures = match line.trim_matches(['=', ' ']) {
            "failures:" | "FAILURES" => true,
            "short test summary info" => false,
            other => in_failures && !other.starts_with("test result: "),
        };
        if in_failures && total.failures.len() < MOST_LINES_OF_FAILURES {
            total.failures.push(line.to_string());
        }
        // The mark follows the name of its test if several tests run at a time.
        skipped += u64::from(line.contains(SKIPPED));
    }
    // libtest has no way for a running test to skip itself: it reports such a test as passed.
    let skipped = total.passed.min(skipped);
    total.passed -= skipped;
    total.skipped += skipped;
    Ok(total)
}

/// Reads the closing line of cargo's test programs or of pytest; `None` for any other line.
fn closing_line(line: &str) -> Option<Summary> {
    let line = line.trim();
    if let Some(rest) = line.strip_prefix("test result: ") {
        let (_, counts) = rest.split_once(". ")?;
        return Some(counted(counts.split("; ")));
    }
    let line = line.trim_matches(['=', ' ']);
    let (counts, duration) = line.rsplit_once(" in ")?;
    let is_duration = duration
        .split_once('s')
        .is_some_and(|(seconds, _)| seconds.parse::<f64>().is_ok());
    let is_count = counts.split(", ").all(
        |count| matches!(count.split_once(' '), Some((number, _)) if number.parse::<u64>().is_ok()),
    );
    (is_duration && is_count).then(|| counted(counts.split(", ")))
}

fn counted<'a>(counts: impl Iterator<Item = &'a str>) -> Summary {
    let mut summary = Summary::default();
    for count in counts {
        let Some((number, word)) = count.trim().split_once(' ') else {
            continue;
        };
        let Ok(number) = number.parse::<u64>() else {
            continue;
        };
        match word {
            "passed" | "xfailed" => summary.passed += number,
            "failed" | "error" | "errors" | "xpassed" => summary.failed += number,
            "ignored" | "skipped" => summary.skipped += number,
            _ => {}
        }
    }
    summary
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{Summary, closing_line, count, run};

    /// Cargo's closing line counts ignored tests as skipped, and neither measured nor filtered ones.
    #[test]
    fn cargo_line() {
        let line = "test result: FAILED. 12 passed; 2 failed; 3 ignored; 0 measured; \
            4 filtered out; finished in 0.03s";
        assert_eq!(
            closing_line(line),
            Some(Summary {
                passed: 12,
                failed: 2,
                skipped: 3,
                ..Summary::default()
            })
        );
    }

    /// Pytest's closing line, quiet or not: an error counts as a failure, a warning does not count.
    #[test]
    fn pytest_line() {
        let line = "=== 1 failed, 20 passed, 3 skipped, 5 warnings, 1 error in 1.52s ===";
        assert_eq!(
            closing_line(line),
            Some(Summary {
                passed: 20,
                failed: 2,
                skipped: 3,
                ..Summary::default()
            })
        );
        let line = "38 passed in 75.10s (0:01:15)";
        assert_eq!(
            closing_line(line),
            Some(Summary {
                passed: 38,
                failed: 0,
                skipped: 0,
                ..Summary::default()
            })
        );
    }

    /// Prose that looks a little like a closing line counts nothing.
    #[test]
    fn other_lines() {
        for line in [
            "",
            "test walk ... ok",
            "3 passed in silence",
            "all passed in 2s",
        ] {
            assert_eq!(closing_line(line), None, "{line}");
        }
    }

    /// A test that reports that it was skipped does not count as passed.
    #[test]
    fn skipped_tests_have_not_passed() {
        let output = "SKIPPED: no root\ntest result: ok. 2 passed; 0 failed; 0 ignored\n";
        let summary = count(output.as_bytes(), |_| ()).unwrap();
        let (passed, failed, skipped) = (1, 0, 1);
        assert_eq!(
            summary,
            Summary {
                passed,
                failed,
                skipped,
                ..Summary::default()
            }
        );
    }

    /// The output of failed tests is kept, that of passed tests is not, for cargo's tests and for pytest.
    #[test]
    fn words_of_failures() {
        let cargo = "test a ... FAILED\n\nfailures:\n\n---- a stdout ----\nwhy\n\nfailures:\n    a\n\n\
            test result: FAILED. 1 passed; 1 failed; 0 ignored\nmore\n";
        let pytest = "..F\n=== FAILURES ===\n___ test_b ___\nwhy\n=== short test summary info ===\nFAILED test_b\n";
        for output in [cargo, pytest] {
            let summary = count(output.as_bytes(), |_| ()).unwrap();
            assert!(summary.failures.contains(&"why".to_owned()), "{summary:?}");
            for line in ["test a ... FAILED", "more", "..F"] {
                assert!(!summary.failures.contains(&line.to_owned()), "{summary:?}");
            }
        }
    }

    /// The names of failed tests are read from libtest's list, whatever the tests print.
    #[test]
    fn names_of_failures() {
        let output = "failures:\n\n---- a::b stdout ----\n    like a name\n\n\nfailures:\n    a::b\n    c\n\n\
            test result: FAILED. 1 passed; 2 failed; 0 ignored\n    d\n";
        let summary = count(output.as_bytes(), |_| ()).unwrap();
        assert_eq!(summary.failed_tests, ["a::b", "c"]);
    }

    /// A command that fails without a closing line is one failure.
    #[test]
    fn crash_is_a_failure() {
        let summary = run(Command::new("sh").args(["-c", "exit 3"])).unwrap();
        assert_eq!(
            summary,
            Summary {
                passed: 0,
                failed: 1,
                skipped: 0,
                ..Summary::default()
            }
        );
    }
}
