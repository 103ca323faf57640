//! The output that a working agent must give for `proof.py`.

use anyhow::{Context as _, Result, ensure};

/// The program, which burns CPU in spans of this name.
pub(super) const PROGRAM: &str = "xtask/dist/src/check/proof.py";
const SPAN: &str = "proof";
/// The least share of a recording's CPU, in percent: the rest is the interpreter's start.
const LEAST_SHARE: f64 = 50.0;

/// Fails unless the table of a recording shows the span with most of the CPU.
pub(super) fn shows_the_span(table: &str) -> Result<()> {
    let share = share(table).with_context(|| format!("no span {SPAN} in\n{table}"))?;
    ensure!(
        share >= LEAST_SHARE,
        "the span {SPAN} has {share} % of the CPU only:\n{table}"
    );
    Ok(())
}

/// The span's share of the CPU in percent: `proof   10   1.00 s  95.1 %  burn`.
fn share(table: &str) -> Option<f64> {
    let row = table
        .lines()
        .find(|line| line.split_whitespace().next() == Some(SPAN))?;
    let (before, _) = row.split_once(" %")?;
    before.split_whitespace().next_back()?.parse().ok()
}

/// A count from the table of losses that is printed below the spans; 0 if the table does not have it.
pub(super) fn count(table: &str, name: &str) -> u64 {
    let line = table.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let count = words.next()?;
        (words.next()? == name).then_some(count)
    });
    line.and_then(|count| count.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{count, shows_the_span};

    const TABLE: &str = "\
SPAN                            SPANS        CPU   SHARE  TOP FUNCTION
proof                              10     1.01 s  93.4 %  burn
(no span)                           -     0.07 s   6.6 %  import
total                              10     1.08 s 100.0 %

  10  spans_started  spans whose start was reported
";

    /// The span must be there, with most of the CPU.
    #[test]
    fn spans_are_found() {
        shows_the_span(TABLE).unwrap();
        assert!(shows_the_span(&TABLE.replace("93.4", "9.4")).is_err());
        assert!(shows_the_span(&TABLE.replace("proof", "other")).is_err());
        assert_eq!(count(TABLE, "spans_started"), 10);
        assert_eq!(count(TABLE, "spans_ended"), 0);
    }
}
