//! Processes whose memory cannot be read: they lose their own spans for as long, and cost nobody else anything.

use profiler::time::monotonic_now;
use tests::{
    process::Running,
    profile::Profile,
    python::{Python, Workload, with_newest},
    spanprof::{self, Recording},
};

/// CPU time that a process uses while it blocks, and as much after that.
const SECONDS: &str = "1.5";
/// How many block.
const BLOCKED: u8 = 4;

fn blocked(python: &Python) -> Workload {
    // The package would tell the spans of it that cannot be read.
    let mut command = python.program("blocked.py", &[SECONDS]);
    Workload::start(command.env("WITHOUT_PACKAGE", "1"))
}

/// Hundredths of a second of a process, in a span of this name or (empty) in any.
fn hundredths(profile: &Profile, pid: &str, span: &str) -> i64 {
    let rows = profile.rows.iter().filter(|row| row.label("pid") == pid);
    let rows = rows.filter(|row| span.is_empty() || row.label("span_name") == span);
    rows.map(|row| row.nanoseconds).sum::<i64>() / 10_000_000
}

/// Processes that block are given up, and the spans of another one beside them are as it measured them;
/// who lets go has its spans from then on.
#[test]
fn who_blocks_is_left_alone() {
    with_newest(|python| {
        let mut those: Vec<Workload> = (0..BLOCKED).map(|_| blocked(python)).collect();
        let mut honest = python.start("nested.py", &["4"]);
        let pids: Vec<String> = those.iter().map(Workload::pid).collect();
        let honest_pid = honest.pid();
        let mut arguments = vec!["--frequency", "199"];
        let every_pid = pids.iter().chain([&honest_pid]);
        arguments.extend(every_pid.flat_map(|pid| ["--pid", pid]));
        let recording = Recording::start(&arguments);
        for workload in those.iter_mut().chain([&mut honest]) {
            workload.begin();
        }
        for workload in &those {
            workload.facts("done");
        }
        let honest = honest.facts("cpu");
        let recorded = recording.stop();
        let measured = |name: &str| honest["cpu"][name].as_f64().unwrap();
        let names = ["root", "child", "grandchild", "second child"];
        let in_spans: f64 = names.iter().map(|name| measured(name)).sum();
        let share = in_spans / (in_spans + measured("none"));
        let time = |span| hundredths(&recorded.profile, &honest_pid, span);
        #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
        let found = names.iter().map(|name| time(name)).sum::<i64>() as f64 / time("") as f64;
        eprintln!("the honest process: {found:.3} in spans, {share:.3} measured");
        assert!((found / share - 1.0).abs() < 0.05, "{found} for {share}");
        for pid in &pids {
            let time = |span| hundredths(&recorded.profile, pid, span);
            // All of it is sampled, and what follows the wait is in its span.
            assert!(time("") > 225, "{pid}: {}", time(""));
            assert!(time("let go") > 90, "{pid}: {}", time("let go"));
        }
        // On a machine that is busy another one may be given up, too, and is looked at once more.
        let blocked = recorded.count_of("process_inspections_dropped", "memory_blocked");
        let stdout = &recorded.ended.stdout;
        assert!(blocked >= i64::from(BLOCKED), "{stdout}");
    });
}

/// `doctor` says what it could not read, and does not wait for it. Only the kernel keeps its process until the page
/// comes.
#[test]
fn doctor_does_not_wait() {
    with_newest(|python| {
        let mut workload = blocked(python);
        let start = monotonic_now();
        let arguments = ["doctor", "--no-sample", "--pid", &workload.pid()];
        let doctor = Running::start(&mut spanprof::command(&arguments));
        doctor.stdout.wait_for("profiling works here");
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
        let words = "its memory cannot be read within 0.5 s";
        assert!(
            doctor.stdout.so_far().contains(words),
            "{:#?}",
            doctor.stdout
        );
        workload.begin();
        assert!(doctor.wait().status.success());
    });
}
