//! Processes whose files cannot be read: nobody waits for them.

use tests::{process::Running, python::with_newest, spanprof};

/// `doctor` and `record` say of a process that its files cannot be read.
#[test]
fn why_a_process_is_not_recorded() {
    with_newest(|python| {
        let mut workload = python.start("blocked_files.py", &[]);
        let pid = workload.pid();
        let words = "its files cannot be read within 0.5 s";
        let start = |arguments: [&str; 4]| Running::start(&mut spanprof::command(&arguments));
        let doctor = start(["doctor", "--no-sample", "--pid", &pid]);
        doctor.stdout.wait_for(words);
        let record = start(["record", "--duration=1s", "--pid", &pid]);
        record.stderr.wait_for(words);
        // Their own ends wait for the file system, as the kernel has it.
        workload.begin();
        workload.facts("done");
        assert!(!doctor.wait().status.success());
        assert!(!record.wait().status.success());
    });
}
