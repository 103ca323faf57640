//! How many samples are on the wrong span.

use anyhow::Result;

use super::Bench;
use super::pprof;
use super::report::{Figure, Report};
use super::spanprof::Spanprof;
use super::workload::Workload;

const FREQUENCY: u32 = 999;
/// As `owners.py` takes it, and for people.
const CASES: [(&str, &str); 5] = [
    ("2", "2 asyncio requests at once"),
    ("100", "100 asyncio requests at once"),
    ("nested", "10 nested spans"),
    ("threads", "4 threads"),
    ("fork", "4 children forked in a span"),
];

/// Samples by what their label says of their function's span.
#[derive(Default)]
struct Judged {
    right: f64,
    wrong: f64,
    none: f64,
}

pub(super) fn measure(bench: &Bench) -> Result<Report> {
    let (python, _) = bench.python_with_peers()?;
    let folder = bench.workspace.target.join("bench");
    let seconds = bench.rounds(10, 3);
    let mut figures = Vec::new();
    for (how, name) in CASES {
        let (mut wrong, mut none, mut samples) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..bench.rounds(3, 1) {
            let mut workload = Workload::start(&python, &bench.program("owners.py"), &[how], None)?;
            let output = folder.join("owners.pb.gz");
            let flags = ["--span-label", "active", "--output"];
            let flags: Vec<&str> = flags.into_iter().chain(output.to_str()).collect();
            // No process is named: children that are forked belong to the host.
            let agent = Spanprof::record_with(&bench.agent, &folder, &[], FREQUENCY, &flags)?;
            workload.ask(seconds)?;
            agent.stop()?;
            let judged = judge(&pprof::read(&output)?);
            let all = judged.right + judged.wrong + judged.none;
            wrong.push(100.0 * judged.wrong / all);
            none.push(100.0 * judged.none / all);
            samples.push(all);
        }
        let title = |what: &str| format!("{name}: {what}");
        figures.push(Figure::new(title("on the wrong span"), "%", wrong).zero());
        figures.push(Figure::new(title("on no span"), "%", none));
        figures.push(Figure::new(title("judged"), "samples", samples));
    }
    Ok(Report {
        name: "wrong-span",
        figures,
        notes: vec![
            format!(
                "each function is called in one span only; samples in it, at {FREQUENCY} Hz, are judged by \
                 their `active_span_name`; without the package, so from the interpreter's context alone, \
                 which the agent has known since before the first of them"
            ),
            "the in-process pair puts about half of two requests' samples on the wrong span: the test \
             `beside_the_peer` (`tests/tests/two_requests.rs`) measures it beside ours"
                .to_owned(),
        ],
    })
}

fn judge(rows: &[pprof::Row]) -> Judged {
    let mut judged = Judged::default();
    for row in rows {
        let works = row.functions.iter();
        let Some(number) = works
            .filter_map(|function| function.strip_prefix("work_"))
            .find(|number| number.parse::<u32>().is_ok())
        else {
            continue;
        };
        let span = row.labels.get("active_span_name");
        let judgement = match span.map(|span| span.strip_prefix("span_") == Some(number)) {
            Some(true) => &mut judged.right,
            Some(false) => &mut judged.wrong,
            None => &mut judged.none,
        };
        *judgement += row.samples;
    }
    judged
}
