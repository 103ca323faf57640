//! Several destinations of one exporter, which read the same windows.

use std::collections::BTreeSet;

use profiler::{
    export::{Exporter, FileSink, pyroscope},
    health::Health,
    id::{SpanId, Tid},
    join::{Attribution, NamedSpan},
    profile::{NativeFrames, Profile, SpanLabel},
    runtime,
    symbolize::NamedSample,
};
use tests::{made_up::sample, pretend_pyroscope::PretendPyroscope, profile};

use super::{Account, HANG, PERIOD, settings, settle, summed};

/// Each function in two threads, half of the samples in a child of the request.
fn window() -> Vec<Profile> {
    let sample = |number: u64| {
        let name = if number.is_multiple_of(3) {
            "read"
        } else {
            "work"
        };
        let mut sample = sample(name, 0xabc, "GET /");
        if let Attribution::Span(context) = &mut sample.attribution
            && number.is_multiple_of(2)
        {
            context.active = NamedSpan {
                id: SpanId::new(0xdef).unwrap(),
                name: Some("child".into()),
            };
        }
        NamedSample {
            tid: Tid(u32::try_from(number % 2).unwrap()),
            ..sample
        }
    };
    summed((0..60).map(sample))
}

/// A server and a file take the same window, each with its own labels and formats; both have all of it. A file that
/// cannot be written costs nobody else anything.
#[test]
fn server_and_files() {
    let server = PretendPyroscope::start();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let health = Health::default();
    let runtime = runtime::start().unwrap();
    let exporter = Exporter::start(&health, |shared| {
        let file = |name: &str| {
            let sink = FileSink::new(&path(name), SpanLabel::Active, NativeFrames::Full)?;
            Ok(Box::new(sink))
        };
        Ok(vec![
            file("missing/window.pb.gz")?,
            file("window.pb.gz")?,
            pyroscope::start(settings(&server), runtime.handle(), shared)?,
            file("window.folded")?,
        ])
    })
    .unwrap();
    exporter.submit(window());
    settle(&exporter);
    exporter.drain(HANG);

    assert_eq!(Account::of(&health), Account::stored(1));
    let written = profile::Profile::read(&path("window.pb.gz"));
    assert_eq!(written.samples(), 60);
    assert_eq!(server.total("shop"), 60 * PERIOD);
    let lines = std::fs::read_to_string(path("window.folded")).unwrap();
    assert_eq!(lines, "serve;read 20\nserve;work 40\n");

    // The file has both spans and the thread, and says the active span's time.
    let labels = written.rows.iter().flat_map(|row| row.labels.keys());
    let labels: BTreeSet<&str> = labels.map(String::as_str).collect();
    assert!(labels.is_superset(&BTreeSet::from(["span_id", "active_span_id", "tid"])));
    let spans = [("0000000000000abc", 30), ("0000000000000def", 30)];
    let spans = spans.map(|(id, samples)| (id.to_owned(), samples * PERIOD));
    assert_eq!(written.by_label("span_id"), spans.into());
    assert_eq!(written.rows.len(), 4);
    // The server has the request, by which it finds all of it, and neither threads nor children.
    let kept = server.profiles().remove(0);
    assert_eq!(kept.label("span_name"), Some("GET /"));
    assert_eq!(
        (kept.label("tid"), kept.label("active_span_id")),
        (None, None)
    );
    assert_eq!(kept.samples.len(), 2);
}
