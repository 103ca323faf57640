//! The official SDK, `pyroscope-io`, pushes to the pretend Pyroscope: a check of the pretender.

use std::process::Command;

use tests::{peers, pretend_pyroscope::PretendPyroscope};

const PROGRAM: &str = "
import sys, time, pyroscope
pyroscope.configure(application_name='sdk', server_address=sys.argv[1], sample_rate=100)
# Long enough for the SDK to push by itself, and as busy as the test wants it.
end, enough = time.monotonic() + 12, time.thread_time() + 3
with pyroscope.tag_wrapper({'span_id': '00f067aa0ba902b7'}):
    while time.monotonic() < end or time.thread_time() < enough:
        sum(range(1000))
pyroscope.shutdown()
";

/// The pretender takes what the SDK sends, and finds its span again.
#[test]
fn takes_what_the_sdk_sends() {
    let Some(python) = peers::program("python") else {
        return;
    };
    let server = PretendPyroscope::start();
    let output = Command::new(python)
        .args(["-c", PROGRAM, &server.url()])
        .output()
        .expect("python starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert_eq!(server.refusals(), []);
    assert!(!server.pushes().is_empty(), "{errors}");
    let functions = server.select_merge_span_profile("sdk", &["00f067aa0ba902b7"]);
    let total: i64 = functions.values().sum();
    assert!(total > 1_000_000_000, "{functions:?}");
}
