//! Arrays of events, and what the samples among them belong to. It is long because it is a list: a test for
//! each rule of the join.

use std::num::{NonZeroU64, NonZeroUsize};

use lru::LruCache;
use profiler_common::outcome::Outcome;

use super::{Attribution, Join, Reason, Unseen};
use crate::{
    events::{
        Code, CodeId, ContextFailure, ProcessChange, ProcessNotice, PythonFrame, PythonString,
        Sample, SpanEnd, SpanParent, SpanSeen, SpanStamp, SpanStart, Stack, ThreadName,
    },
    health::{Health, Loss},
    id::{Pid, ProcessKey, SpanId, Tid},
    measure::Measure,
    time::BootNanos,
};

const PID: Pid = Pid(10);
const PROCESS: ProcessKey = ProcessKey {
    pid: PID,
    start_time: 5,
};
const TURN: CodeId = CodeId {
    address: 0x1000,
    checksum: 1,
};

fn id(number: u64) -> SpanId {
    SpanId::new(NonZeroU64::new(number).unwrap().get()).unwrap()
}

fn start(span: u64, local_root: u64, name: &str) -> SpanStart {
    SpanStart {
        time: BootNanos(0),
        pid: PID,
        tid: Tid(10),
        span: id(span),
        trace: None,
        parent: None,
        local_root: id(local_root),
        name: Some(name.into()),
    }
}

fn end(span: u64, time: u64) -> SpanEnd {
    SpanEnd {
        time: BootNanos(time),
        pid: PID,
        tid: Tid(10),
        span: id(span),
    }
}

fn sample(span: SpanStamp) -> Sample {
    Sample {
        time: BootNanos(1),
        measure: Measure::cpu(1),
        process: PROCESS,
        tid: Tid(10),
        thread_name: ThreadName::default(),
        span,
        stack: Stack {
            kernel: vec![],
            native: vec![],
            native_outcome: Outcome::Complete,
            python: vec![PythonFrame {
                code: TURN,
                instruction: 0,
            }],
            python_gap: 0,
            python_outcome: Outcome::Complete,
        },
        python_frames_omitted: 0,
    }
}

fn active(span: u64, local_root: u64) -> SpanStamp {
    SpanStamp::Active {
        span: id(span),
        local_root: id(local_root),
        trace: None,
    }
}

/// Names of local root and active span, or the reason why there are none.
fn names(join: &mut Join, stamp: SpanStamp) -> Result<(String, String), Option<Reason>> {
    let name = |span: super::NamedSpan| span.name.map_or("?".to_owned(), |name| name.to_string());
    match join.sample(sample(stamp), None).attribution {
        Attribution::Span(context) => {
            let root = context.local_root.unwrap_or_else(|| context.active.clone());
            Ok((name(root), name(context.active)))
        }
        Attribution::NoSpan | Attribution::NotRecorded(_) | Attribution::NativeThread => Err(None),
        Attribution::Unattributed(reason) => Err(Some(reason)),
    }
}

fn pair(local_root: &str, active: &str) -> (String, String) {
    (local_root.to_owned(), active.to_owned())
}

/// A child's sample names the child and its local root; a sample outside spans names none.
#[test]
fn nested_spans_are_named() {
    let mut join = Join::new(8, Health::default());
    assert!(join.span_start(&start(1, 1, "GET /")).is_local_root);
    assert!(!join.span_start(&start(2, 1, "query")).is_local_root);
    assert_eq!(names(&mut join, active(2, 1)), Ok(pair("GET /", "query")));
    assert_eq!(names(&mut join, active(1, 1)), Ok(pair("GET /", "GET /")));
    assert_eq!(names(&mut join, SpanStamp::None), Err(None));
}

/// A sample that overtook its span's end on the ring still finds the name; a second later it is gone.
#[test]
fn a_span_that_just_ended_keeps_its_name_for_a_moment() {
    let mut join = Join::new(8, Health::default());
    join.span_start(&start(1, 1, "a"));
    join.span_end(&end(1, 100));
    assert_eq!(names(&mut join, active(1, 1)), Ok(pair("a", "a")));
    join.span_end(&end(99, 2_000_000_000));
    assert_eq!(names(&mut join, active(1, 1)), Ok(pair("?", "?")));
}

/// Whatever the kernel program could not tell stays unattributed, each reason a count of its own.
#[test]
fn reasons_are_kept_and_counted() {
    let mut join = Join::new(8, Health::default());
    for (stamp, reason, counts_as) in [
        (SpanStamp::NotNested, Reason::NotNested, Loss::SpanNotNested),
        (SpanStamp::Ended, Reason::Ended, Loss::CurrentSpanEnded),
        (
            SpanStamp::Stale(id(1)),
            Reason::Forgotten,
            Loss::OpenSpanForgotten,
        ),
        (SpanStamp::TooDeep, Reason::TooDeep, Loss::SpanTooDeep),
    ] {
        let attribution = join.sample(sample(stamp), None).attribution;
        assert_eq!(attribution, Attribution::Unattributed(reason));
        assert_eq!(attribution.counts_as(), counts_as);
    }
}

/// A span that is left on a thread's stack has ended on another thread, or was forgotten: the agent has heard which.
#[test]
fn stale_spans() {
    let mut join = Join::new(8, Health::default());
    for span in [1, 2, 3] {
        join.span_start(&start(span, span, "travels"));
    }
    join.span_end(&SpanEnd {
        tid: Tid(11),
        ..end(1, 100)
    });
    join.span_end(&end(2, 100));
    let mut reason = |span| names(&mut join, SpanStamp::Stale(id(span))).unwrap_err();
    assert_eq!(reason(1), Some(Reason::EndedOnOtherThread));
    assert_eq!([reason(2), reason(3)], [Some(Reason::Forgotten); 2]);
}

/// A class of spans that the agent has looked at and cannot read is told from one that it has just met.
#[test]
fn classes_that_are_not_read() {
    let mut join = Join::new(8, Health::default());
    let stamp = SpanStamp::Context(ContextFailure::ClassUnknown(7));
    for (unseen, counts_as) in [
        (None, Loss::SpanClassNew),
        (Some(Unseen::Class), Loss::SpanClassUnread),
    ] {
        let attribution = join.sample(sample(stamp), unseen).attribution;
        assert_eq!(attribution.counts_as(), counts_as);
    }
}

/// A span that is not recorded is a state of its own, also in an event loop: no name is missing.
#[test]
fn spans_that_are_not_recorded() {
    let mut join = Join::new(8, Health::default());
    let attribution = join
        .sample(sample(SpanStamp::NotRecorded(None)), Some(Unseen::Pending))
        .attribution;
    assert_eq!(attribution, Attribution::NotRecorded(None));
    assert_eq!(attribution.counts_as(), Loss::SpanNotRecorded);
    assert!(!attribution.lacks_name());
}

/// A span that is renamed has its new name from then on, also if the hook has told the first one.
#[test]
fn renamed_spans() {
    let mut join = Join::new(8, Health::default());
    let again = |span, name| SpanSeen {
        is_again: true,
        ..seen(span, SpanParent::Unknown, name)
    };
    join.span_start(&start(1, 1, "GET"));
    join.span_seen(&seen(2, SpanParent::None, "POST"));
    for span in [1, 2] {
        join.span_seen(&again(span, "/items/{id}"));
        let name = || "/items/{id}".to_owned();
        let current = SpanStamp::Current {
            span: id(span),
            trace: None,
        };
        assert_eq!(names(&mut join, current), Ok((name(), name())));
    }
}

/// In a thread that runs an event loop the span stack names nothing, even with one span open.
#[test]
fn an_event_loop_is_never_attributed() {
    let mut join = Join::new(8, Health::default());
    let string = |text: &str| PythonString {
        kind: 1,
        bytes: text.into(),
        cut: false,
    };
    join.code(&Code {
        process: PROCESS,
        id: TURN,
        first_line: 1,
        name: string("BaseEventLoop._run_once"),
        file: string("/usr/lib/python3.11/asyncio/base_events.py"),
        line_table_format: 2,
        line_table: None,
        line_table_cut: false,
    });
    join.span_start(&start(1, 1, "a"));
    assert_eq!(names(&mut join, active(1, 1)), Err(Some(Reason::EventLoop)));
    assert_eq!(names(&mut join, SpanStamp::None), Err(None));
}

/// Exec and exit take the process's spans with them; a fork leaves the parent's alone.
#[test]
fn processes_take_their_spans_along() {
    let fork = ProcessChange::Fork {
        parent: Pid(3),
        start_time: 1,
    };
    for (what, expected) in [
        (ProcessChange::Exec, "?"),
        (ProcessChange::Exit, "?"),
        (fork, "a"),
    ] {
        let mut join = Join::new(8, Health::default());
        join.span_start(&start(1, 1, "a"));
        join.process(&ProcessNotice {
            time: BootNanos(1),
            pid: PID,
            what,
        });
        assert_eq!(
            names(&mut join, active(1, 1)),
            Ok(pair(expected, expected)),
            "{what:?}"
        );
    }
}

/// A span of another process with the same id is another span.
#[test]
fn processes_do_not_share_spans() {
    let mut join = Join::new(8, Health::default());
    join.span_start(&SpanStart {
        pid: Pid(11),
        ..start(1, 1, "theirs")
    });
    assert_eq!(names(&mut join, active(1, 1)), Ok(pair("?", "?")));
}

/// Beyond the budget the oldest span goes, and that is counted.
#[test]
fn eviction_is_counted() {
    let health = Health::default();
    let mut join = Join::new(2, health.clone());
    for span in 1..=3 {
        join.span_start(&start(span, span, "a"));
    }
    assert_eq!(health.get(Loss::SpanTableFull), 1);
    for (span, lacks_name) in [(1, true), (2, false)] {
        let attribution = join.sample(sample(active(span, span)), None).attribution;
        assert_eq!(attribution.lacks_name(), lacks_name, "{attribution:?}");
        assert_eq!(attribution.counts_as(), Loss::SampleAttributed);
    }
}

/// A span that the kernel program still takes for known has its name here, however many there are.
#[test]
fn nothing_is_forgotten_before_the_kernel_does() {
    const KERNEL: usize = 64;
    // As `Limits::remembered` has it, whose own test is beside it.
    let mut join = Join::new(4 * KERNEL, Health::default());
    let mut kernel = LruCache::new(NonZeroUsize::new(KERNEL).unwrap());
    let mut random = 1_u64;
    for _ in 0..20_000 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let span = 1 + (random >> 33) % 300;
        if kernel.put(span, ()).is_none() {
            join.span_seen(&seen(span, SpanParent::None, "a"));
        }
        let attribution = join.sample(sample(active(span, span)), None).attribution;
        assert!(!attribution.lacks_name(), "{span}: {attribution:?}");
    }
}

fn seen(span: u64, parent: SpanParent, name: &str) -> SpanSeen {
    SpanSeen {
        local_root: None,
        time: BootNanos(0),
        pid: PID,
        span: id(span),
        parent,
        name: Some(name.into()),
        is_again: false,
    }
}

fn current(span: u64) -> SpanStamp {
    SpanStamp::Current {
        span: id(span),
        trace: None,
    }
}

/// Without the hook a local root is found through the spans met so far, in whatever order they were met;
/// until then there is none.
#[test]
fn local_roots_are_found_through_spans_met() {
    let health = Health::default();
    let mut join = Join::new(8, health.clone());
    let root = |join: &mut Join| {
        let Attribution::Span(context) = join.sample(sample(current(3)), None).attribution else {
            panic!("not in a span")
        };
        context.local_root.map(|root| root.id)
    };
    join.span_seen(&seen(3, SpanParent::Span(id(2)), "leaf"));
    assert_eq!(root(&mut join), None);
    join.span_seen(&seen(2, SpanParent::Span(id(1)), "middle"));
    assert_eq!(root(&mut join), None);
    assert!(
        join.span_seen(&seen(1, SpanParent::None, "root"))
            .is_local_root
    );
    assert_eq!(root(&mut join), Some(id(1)));
    assert_eq!(names(&mut join, current(3)), Ok(pair("root", "leaf")));
}

/// Spans that claim to be one another's parents have no root.
#[test]
fn cycles_of_parents_end() {
    let mut join = Join::new(8, Health::default());
    join.span_seen(&seen(1, SpanParent::Span(id(2)), "a"));
    join.span_seen(&seen(2, SpanParent::Span(id(1)), "b"));
    assert_eq!(names(&mut join, current(1)), Ok(pair("a", "a")));
}

/// An empty stack says that there is no span only if the agent reads the process's contexts.
#[test]
fn an_empty_stack_is_not_always_no_span() {
    let mut join = Join::new(8, Health::default());
    let mut attribution = |stamp, unseen| join.sample(sample(stamp), unseen).attribution;
    assert_eq!(
        attribution(SpanStamp::EmptyStack, None),
        Attribution::NoSpan
    );
    for (unseen, counts_as) in [
        (Unseen::Pending, Loss::ContextPending),
        (Unseen::Hidden, Loss::ContextHidden),
    ] {
        let unattributed = attribution(SpanStamp::EmptyStack, Some(unseen));
        assert_eq!(
            unattributed,
            Attribution::Unattributed(Reason::Unseen(unseen))
        );
        assert_eq!(unattributed.counts_as(), counts_as);
        assert_eq!(
            attribution(SpanStamp::None, Some(unseen)),
            Attribution::NoSpan
        );
    }
}

/// A thread that no interpreter has a state for runs no Python, whatever is not known of its process; if the probes have
/// told a span of it, it is in that.
#[test]
fn threads_without_python() {
    let mut join = Join::new(10, Health::default());
    let without_state = |stamp| {
        let mut sample = sample(stamp);
        sample.stack.python.clear();
        sample.stack.python_outcome = Outcome::NoThreadState;
        sample
    };
    for unseen in [None, Some(Unseen::Hidden), Some(Unseen::Pending)] {
        let sample = join.sample(without_state(SpanStamp::EmptyStack), unseen);
        assert_eq!(sample.attribution, Attribution::NativeThread);
    }
    join.span_start(&start(1, 1, "told"));
    let sample = join.sample(without_state(active(1, 1)), None);
    assert!(matches!(sample.attribution, Attribution::Span(_)));
}

/// A forked child goes on in its parent's span, as long as that has not ended. What it begins below is a local root.
#[test]
fn forked_children() {
    let mut join = Join::new(8, Health::default());
    let parent = Pid(3);
    join.span_seen(&SpanSeen {
        pid: parent,
        ..seen(1, SpanParent::None, "request")
    });
    join.process(&ProcessNotice {
        time: BootNanos(1),
        pid: PID,
        what: ProcessChange::Fork {
            parent,
            start_time: PROCESS.start_time,
        },
    });
    join.span_seen(&seen(1, SpanParent::None, "request"));
    join.span_seen(&seen(2, SpanParent::Span(id(1)), "task"));
    join.span_seen(&seen(3, SpanParent::Span(id(2)), "step"));
    assert_eq!(names(&mut join, current(1)), Ok(pair("request", "request")));
    assert_eq!(names(&mut join, current(3)), Ok(pair("task", "step")));
    join.span_end(&SpanEnd {
        pid: parent,
        ..end(1, 2)
    });
    assert_eq!(
        names(&mut join, current(1)),
        Err(Some(Reason::EndedInParent))
    );
    assert_eq!(names(&mut join, current(2)), Ok(pair("task", "task")));
}
