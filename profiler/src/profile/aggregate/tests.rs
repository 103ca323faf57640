use std::collections::HashSet;

use proptest::prelude::{ProptestConfig, prop, prop_assert, prop_assert_eq, proptest};

use super::{Profile, SpanLabels};
use crate::{
    health::{Health, Loss},
    id::{Pid, Tid},
    join::{Attribution, SpanContext},
    profile::samples::{profiles, sample, span},
    symbolize::NamedSample,
};

/// A sample of a busy host: the numbers of its stack, request, span in it, and thread.
type Busy = (u8, u8, u8, u8);

fn busy((stack, root, child, thread): Busy) -> NamedSample {
    let names = [format!("f{stack}"), "main".to_owned()];
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let attribution = if root == 0 {
        Attribution::NoSpan
    } else {
        let root = u64::from(root);
        Attribution::Span(SpanContext {
            trace: None,
            local_root: Some(span(root, "GET /")),
            active: span((u64::from(child) << 8) | root, "child"),
        })
    };
    NamedSample {
        pid: Pid(u32::from(thread >> 4)),
        tid: Tid(u32::from(thread)),
        ..sample(&names, attribution)
    }
}

/// The samples before the first whose stack would be given up if rows had no label but their request's, and if there
/// were as many rows as stacks allowed.
fn before_any_is_given_up(samples: &[Busy], most: usize) -> &[Busy] {
    let mut rows = HashSet::new();
    let is_kept = |&&(stack, root, ..): &&Busy| {
        rows.insert((stack, root));
        rows.len() <= most
    };
    &samples[..samples.iter().take_while(is_kept).count()]
}

fn is_other(profile: &Profile, row: usize) -> bool {
    &*profile.rows[row].stack[0].name == "[other stacks]"
}

/// A span that is renamed in a window has its last name in all of it, as an active span and as a local root; one that
/// only shares its first name does not change.
#[test]
fn one_name_for_a_span() {
    let in_span = |active: (u64, &str), root: (u64, &str)| {
        let context = SpanContext {
            trace: None,
            local_root: Some(span(root.0, root.1)),
            active: span(active.0, active.1),
        };
        sample(&["main"], Attribution::Span(context))
    };
    let samples = [
        in_span((1, "GET"), (1, "GET")),
        in_span((2, "query"), (1, "GET")),
        in_span((3, "GET"), (3, "GET")),
        in_span((1, "/items"), (1, "/items")),
        in_span((2, "query"), (1, "/items")),
    ];
    let profiles = profiles(&samples, 10, &Health::default());
    let mut names: Vec<(u64, String)> = profiles[0]
        .rows
        .iter()
        .flat_map(|row| row.labels.span.as_ref().unwrap().spans())
        .map(|span| (span.id.get(), span.name.as_deref().unwrap().to_owned()))
        .collect();
    names.sort();
    names.dedup();
    let expected = [(1, "/items"), (2, "query"), (3, "GET")];
    assert_eq!(names, expected.map(|(id, name)| (id, name.to_owned())));
}

/// Labels are left out step by step before a sample loses its stack: first all are kept, then those of the request,
/// then none. Each step is counted.
#[test]
fn labels_get_fewer() {
    let health = Health::default();
    let samples = [
        (1, 1, 1, 1), // with all labels
        (1, 1, 1, 1),
        (1, 1, 2, 1), // there is no room for another such row: with few
        (1, 1, 3, 2),
        (2, 1, 1, 1), // nor for another stack: with few
        (2, 2, 1, 1), // with none
        (2, 0, 0, 1),
        (1, 0, 0, 1),
    ]
    .map(busy);
    let profiles = profiles(&samples, 1, &health);
    let profile = &profiles[0];
    let mut rows: Vec<_> = (0..profile.rows.len())
        .map(|index| {
            let row = &profile.rows[index];
            let detail = match row.labels.span.as_deref() {
                Some(SpanLabels::All(_)) => "all",
                Some(SpanLabels::Few { span, .. }) if span.id.get() == 1 => "few",
                Some(SpanLabels::Few { .. }) => "of another request",
                None => "none",
            };
            let has_thread = row.labels.origin.thread.is_some();
            (is_other(profile, index), detail, has_thread, row.samples)
        })
        .collect();
    rows.sort_unstable();
    assert_eq!(
        rows,
        [
            (false, "all", true, 2),
            (false, "few", false, 2),
            (true, "few", false, 1),
            (true, "none", false, 3)
        ]
    );
    assert_eq!(profile.samples(), 8);
    assert_eq!(health.get(Loss::StackTableFull), 4);
    assert_eq!(health.get(Loss::LabelsLeftOut), 6);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the samples and the limit: keeping all labels gives up no stack that would be kept if rows had only the
    /// labels that are sent to a server. No sample is lost, and rows are bounded.
    #[test]
    fn labels_cost_no_stacks(
        samples in prop::collection::vec((0_u8..12, 0_u8..6, 0_u8..4, 0_u8..64), 1..400),
        most in 1_usize..60,
    ) {
        let health = Health::default();
        let named: Vec<NamedSample> = samples.iter().copied().map(busy).collect();
        let all = profiles(&named, most, &health);
        let profile = &all[0];
        prop_assert_eq!(profile.samples(), samples.len() as u64);
        prop_assert!(profile.rows.len() <= 3 * most + 1);
        let others = (0..profile.rows.len()).filter(|&index| is_other(profile, index));
        let others: u64 = others.map(|index| profile.rows[index].samples).sum();
        prop_assert_eq!(others, health.get(Loss::StackTableFull));
        let health = Health::default();
        profiles(&named[..before_any_is_given_up(&samples, most).len()], most, &health);
        prop_assert_eq!(health.get(Loss::StackTableFull), 0);
    }
}
