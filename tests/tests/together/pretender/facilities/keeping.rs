//! What the server keeps of pushes, and what it answers to queries.

use std::time::Duration;

use profiler::time::UnixNanos;
use tests::pretend_pyroscope::{PretendPyroscope, Storage};

use super::{profile, push, push_all, series};

/// Of twins the server keeps one: v1 at once, if they have the same millisecond; v2 at compaction, if they have the
/// same nanosecond.
#[test]
fn keeps_one_of_twins() {
    let time = profile().time_nanos / 1_000_000 * 1_000_000;
    for (storage, seen, kept) in [(Storage::V1, 2, 2), (Storage::V2, 4, 3)] {
        let server = PretendPyroscope::with(storage);
        for later in [0, 0, 1, 1_000_000] {
            let mut message = profile();
            message.time_nanos = time + later;
            assert_eq!(push(&server, &message).status, 200);
        }
        assert_eq!(server.profiles().len(), seen, "{storage:?}");
        assert_eq!(server.kept().len(), kept, "{storage:?}");
        assert_eq!(server.kept_samples(), kept, "{storage:?}");
        assert_eq!(server.kept_total("rt"), 10 * i64::try_from(kept).unwrap());
        server.compact();
        assert_eq!(server.profiles().len(), kept, "{storage:?}");
    }
}

/// A profile says how long after its window's end it was stored.
#[test]
fn stored_at_a_time() {
    let server = PretendPyroscope::start();
    server.answer_after(Duration::from_millis(100));
    let mut message = profile();
    message.duration_nanos = 40_000_000;
    let before = UnixNanos::now();
    push(&server, &message);
    let lag = server.profiles()[0].lag();
    assert!((60_000_000..60_000_000_000).contains(&lag), "{lag}");
    let [(time, stored)] = server.arrivals("rt")[..] else {
        panic!("one profile was stored");
    };
    assert_eq!(time, message.time_nanos);
    assert!(stored.0 >= before.0 + 100_000_000);
}

/// v1 has 5 000 series: those before the first one too many are stored, those it has it takes on, and new
/// ones it refuses. v2 has no limit.
#[test]
fn limits_series() {
    let names: Vec<String> = (0..5_002).map(|number| format!("s{number}")).collect();
    for (storage, status, stored) in [(Storage::V1, 429, 5_000), (Storage::V2, 200, 5_002)] {
        let server = PretendPyroscope::with(storage);
        let mut message = profile();
        let all = names.iter().map(|name| series(name, &message)).collect();
        assert_eq!(push_all(&server, all).status, status);
        assert_eq!(server.profiles().len(), stored);
        message.time_nanos += 10_000_000;
        assert_eq!(push_all(&server, vec![series("s0", &message)]).status, 200);
        assert_eq!(
            push_all(&server, vec![series("s5001", &message)]).status,
            status
        );
        assert_eq!(server.total("s0"), 20);
    }
}

/// A mapping without functions is stored and flagged.
#[test]
fn unsymbolized_is_flagged() {
    let server = PretendPyroscope::start();
    push(&server, &profile());
    assert!(!server.unsymbolized());
    let mut message = profile();
    message.mapping[0].has_functions = false;
    assert_eq!(push(&server, &message).status, 200);
    assert!(server.unsymbolized());
}
