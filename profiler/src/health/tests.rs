//! Tests of the table and the counts.

use std::collections::HashSet;

use profiler_common::counter::Counter;

use super::{COUNTS, Health, Loss, Row, Source};

fn rows() -> impl Iterator<Item = &'static Row> {
    COUNTS.iter().flat_map(|metric| metric.rows)
}

/// Whatever is counted, in the kernel or in the agent, is in the table, and once.
#[test]
fn every_count_is_in_the_table_once() {
    let kernel = Counter::ALL.iter().copied().map(Source::Kernel);
    for source in Loss::ALL.iter().copied().map(Source::Agent).chain(kernel) {
        let found = rows().filter(|row| row.source == source).count();
        assert_eq!(found, 1, "{source:?}");
    }
}

/// Names are what Prometheus takes as they are, and each is there once; so are the values of an attribute.
#[test]
fn names_are_distinct_and_plain() {
    let is_plain = |name: &str| {
        name.starts_with(|it: char| it.is_ascii_lowercase())
            && name.chars().all(|it| it.is_ascii_lowercase() || it == '_')
    };
    let mut names = HashSet::new();
    for metric in COUNTS {
        assert!(is_plain(metric.name), "{}", metric.name);
        assert!(metric.words.ends_with('.'), "{}", metric.name);
        assert!(!metric.rows.is_empty(), "{}", metric.name);
        let is_whole = metric.rows.len() == 1;
        for row in metric.rows {
            assert!(
                names.insert(metric.row_name(row)),
                "{}",
                metric.row_name(row)
            );
            assert!(
                is_plain(row.value) || is_whole && row.value.is_empty(),
                "{row:?}"
            );
            assert_eq!(row.value.is_empty(), row.words.is_empty(), "{row:?}");
            assert!(metric.row_words(row).ends_with('.'), "{row:?}");
        }
    }
}

/// A line has count, name with what tells the row apart, and words; what is zero has none, and what is timed is
/// in seconds.
#[test]
fn the_table_as_text() {
    let health = Health::default();
    health.add(Loss::CurrentSpanEnded, 3);
    health.set_kernel(Counter::SampleTaken, 40);
    health.set_kernel(Counter::StageRing, 1_002_000_003);
    let table = health.table();
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let heads: Vec<_> = lines.iter().map(|words| &words[..2]).collect();
    assert_eq!(
        heads,
        [
            ["40", "samples_taken"],
            ["3", "samples_unattributed{reason=\"span_ended\"}"],
            ["1.002000003", "sampling_time{stage=\"ring\"}"],
        ]
    );
    assert!(
        table.contains("  Samples that the kernel program has taken"),
        "{table}"
    );
}
