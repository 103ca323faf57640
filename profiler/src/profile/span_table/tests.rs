use super::{MAX_NAMES, RowName, SpanTable};
use crate::{
    events::ThreadName,
    id::Tid,
    join::{Attribution, Reason},
    profile::{
        SpanLabel,
        samples::{frame_of, in_child, sample},
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
    table.add(&sample(&["handle", "main"], Attribution::NotRecorded(None)));
    table.add(&sample(
        &["loop"],
        Attribution::Unattributed(Reason::EventLoop),
    ));
    assert_eq!(table.samples(), 6);
    insta::assert_snapshot!(table.render(100), @r"
    SPAN                          SPANS        CPU   SHARE  TOP FUNCTION
    GET /                             1     0.03 s  50.0 %  work
    (no span)                         -     0.01 s  16.7 %  idle
    (not recorded)                    -     0.01 s  16.7 %  handle
    (unattributed: event loop)        -     0.01 s  16.7 %  loop
    total                             1     0.06 s  100.0 %
    ");
}

/// Threads without Python are rows by library, and by the name of the thread if that tells several of a library apart;
/// those of a pool are one row, whatever their numbers.
#[test]
fn native_threads() {
    let mut table = SpanTable::new(SpanLabel::LocalRoot);
    let mut add = |library: &str, thread: &[u8]| {
        let mut sample = sample(&[], Attribution::NativeThread);
        sample.stack = [frame_of(library)].into();
        sample.thread_name = ThreadName::default();
        sample.thread_name.0[..thread.len()].copy_from_slice(thread);
        table.add(&sample);
    };
    for number in 0..6_u8 {
        add("/a/libgomp-a34b3233.so.1", b"python");
        add(
            "/a/pool.so",
            &[b"worker-", [b'0' + number].as_slice()].concat(),
        );
    }
    add("/a/pool.so", b"a\nb");
    let text = table.render(100);
    for row in [
        "(native threads: libgomp)  ",
        "(native threads: pool, worker-*)  ",
        "(native threads: pool, a\\nb)  ",
    ] {
        assert!(text.contains(row), "{text}");
    }
    assert_eq!(text.lines().count(), 5, "{text}");
}

/// A thread is of one library, whichever of its samples tells that: most show only what it has called.
#[test]
fn one_library_for_a_thread() {
    let mut table = SpanTable::new(SpanLabel::LocalRoot);
    let [c, torch, gomp] = ["/lib/libc.so.6", "/a/libtorch_cpu.so", "/a/libgomp.so.1"];
    for (tid, library) in [
        (1, c),
        (1, torch),
        (1, gomp),
        (1, torch),
        (2, c),
        (2, torch),
        (3, c),
    ] {
        let mut sample = sample(&[], Attribution::NativeThread);
        sample.stack = [frame_of(library)].into();
        sample.tid = Tid(tid);
        table.add(&sample);
    }
    let rows = table.rows();
    let samples = |library: &str| {
        let is_it =
            |name: &RowName| matches!(name, RowName::NativeThreads(it) if &*it.library == library);
        rows.iter().find(|row| is_it(&row.name)).unwrap().samples
    };
    assert_eq!(["libgomp", "libtorch_cpu", "libc"].map(samples), [4, 2, 1]);
    assert_eq!(table.samples(), 7);
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
