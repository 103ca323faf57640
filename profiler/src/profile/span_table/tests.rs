use super::{MAX_NAMES, RowName, SpanTable};
use crate::{
    join::{Attribution, Reason},
    profile::{
        SpanLabel,
        samples::{in_child, sample},
    },
};

/// The table sorts by CPU, names the rows without a span, and adds up.
#[test]
fn span_table() {
    let mut table = SpanTable::new(SpanLabel::LocalRoot);
    table.span_seen(Some(&"GET /".into()), true);
    table.span_seen(Some(&"child".into()), false);
    for _ in 0..3 {
        table.add(&sample(&["work", "main"], in_child()));
    }
    table.add(&sample(&["idle", "main"], Attribution::NoSpan));
    table.add(&sample(
        &["loop"],
        Attribution::Unattributed(Reason::EventLoop),
    ));
    assert_eq!(table.samples(), 5);
    insta::assert_snapshot!(table.render(100), @r"
    SPAN                          SPANS        CPU   SHARE  TOP FUNCTION
    GET /                             1     0.03 s  60.0 %  work
    (no span)                         -     0.01 s  20.0 %  idle
    (unattributed: event loop)        -     0.01 s  20.0 %  loop
    total                             1     0.05 s  100.0 %
    ");
}

/// Span names are bounded: later ones are summed.
#[test]
fn span_names_are_bounded() {
    let mut table = SpanTable::new(SpanLabel::LocalRoot);
    for number in 0..MAX_NAMES + 5 {
        table.span_seen(Some(&format!("span {number}").into()), true);
    }
    let rows = table.rows();
    let other = rows.iter().find(|row| row.name == RowName::OtherSpans);
    assert_eq!(other.unwrap().spans, 5);
}
