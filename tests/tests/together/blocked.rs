//! Processes whose memory cannot be read: they lose their own spans for as long, and cost nobody else anything.

use profiler::time::monotonic_now;
use tests::{
    process::Running,
    python::{Python, Workload, with_newest},
    sampling::{at_least, deviation},
    spanprof::{self, Recorded, Recording},
};

/// CPU time that a process uses while it blocks, and as much after that.
const SECONDS: &str = "1.5";
const FREQUENCY: f64 = 199.0;
/// How many block.
const BLOCKED: u8 = 4;

fn blocked(python: &Python) -> Workload {
    // The package would tell the spans of it that cannot be read.
    let mut command = python.program("blocked.py", &[SECONDS]);
    Workload::start(command.env("WITHOUT_PACKAGE", "1"))
}

/// Samples of a process, in a span of this name or (empty) in any.
fn samples(recorded: &Recorded, pid: &str, span: &str) -> f64 {
    let seconds = recorded.profile.seconds_of(|row| {
        row.label("pid") == pid && (span.is_empty() || row.label("span_name") == span)
    });
    seconds * FREQUENCY
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
        let frequency = FREQUENCY.to_string();
        let mut arguments = vec!["--frequency", &frequency];
        let every_pid = pids.iter().chain([&honest_pid]);
        arguments.extend(every_pid.flat_map(|pid| ["--pid", pid]));
        let recording = Recording::start(&arguments);
        for workload in those.iter_mut().chain([&mut honest]) {
            workload.begin();
        }
        let used: Vec<_> = those.iter().map(|it| it.facts("used")).collect();
        let honest = honest.facts("cpu");
        let recorded = recording.stop();
        let measured = |name: &str| honest["cpu"][name].as_f64().unwrap();
        let names = ["root", "child", "grandchild", "second child"];
        let in_spans: f64 = names.iter().map(|name| measured(name)).sum();
        let share = in_spans / (in_spans + measured("none"));
        let of = |span| samples(&recorded, &honest_pid, span);
        let all = of("");
        let found = names.iter().map(|name| of(name)).sum::<f64>() / all;
        eprintln!("the honest process: {found:.3} in spans, {share:.3} measured");
        let difference = (found - share).abs();
        // A little is what the workload does besides.
        let allowed = deviation(share, all) + 0.01;
        assert!(difference < allowed, "{found} for {share} of {all}");
        for (pid, used) in pids.iter().zip(used) {
            let used = |key: &str| used[key].as_f64().unwrap();
            let of = |span| samples(&recorded, pid, span);
            let least = |seconds| at_least(seconds, FREQUENCY, recorded.stolen);
            // All of it is sampled, and what follows the wait is in its span, as soon as the agent has read again.
            let (all, after) = (of(""), of("let go"));
            eprintln!("{pid}: {all:.0} samples, {after:.0} of them after it has let go");
            assert!(all > least(used("used")), "{pid}: {all}");
            assert!(after > least(used("let_go") - 0.5), "{pid}: {after}");
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
        // Either it ends at once or it never does: a minute is enough for a busy machine.
        assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
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
