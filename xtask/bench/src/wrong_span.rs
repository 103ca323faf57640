//! The share of samples that are on the wrong span.

use anyhow::Result;

use crate::Bench;
use crate::peers::InProcess;
use crate::pprof;
use crate::report::{Figure, Report};
use crate::sink;
use crate::spanprof::Spanprof;
use crate::workload::Workload;

const FREQUENCY: u32 = 999;
/// Argument of `owners.py`, name for people, and whether its spans are local roots, the only ones that the peer labels.
const CASES: [(&str, &str, bool); 5] = [
    ("2", "2 asyncio requests at once", true),
    ("100", "100 asyncio requests at once", true),
    ("nested", "10 nested spans", false),
    ("threads", "4 threads", true),
    ("fork", "4 children forked in a span", false),
];

/// Samples by whether their label names their function's span.
#[derive(Default)]
struct Judged {
    right: f64,
    wrong: f64,
    none: f64,
}

pub(crate) fn measure(bench: &Bench) -> Result<Report> {
    let (python, lacking) = bench.python_with_peers()?;
    let (peers, without): (Vec<_>, Vec<_>) = InProcess::find(lacking.as_ref())
        .into_iter()
        .partition(InProcess::knows_spans);
    let server = sink::start(true)?;
    let folder = bench.workspace.target.join("bench");
    let seconds = bench.rounds(10, 3);
    let mut figures = Vec::new();
    let program = bench.program("owners.py");
    for (how, name, are_roots) in CASES {
        let mut ours = Column::default();
        let peers = peers.iter().filter(|_| are_roots);
        let mut peers: Vec<(&InProcess, Column)> =
            peers.map(|peer| (peer, Column::default())).collect();
        for _ in 0..bench.rounds(2, 1) {
            let mut workload = Workload::start(&python, &program, &[how], None)?;
            let output = folder.join("owners.pb.gz");
            let flags = ["--span-label", "active", "--output"];
            let flags: Vec<&str> = flags.into_iter().chain(output.to_str()).collect();
            // No process is given, so the whole host is recorded, with the forked children.
            let agent = Spanprof::record_with(&bench.agent, &folder, &[], FREQUENCY, &flags)?;
            workload.ask(seconds)?;
            agent.stop()?;
            ours.note(&judge(&pprof::read(&output)?, "active_span_name"));
            for (peer, column) in &mut peers {
                let environment = peer.environment(&server.url, FREQUENCY);
                let mut twin = Workload::start_in(&environment, &python, &program, &[how], None)?;
                twin.ask(seconds)?;
                drop(twin);
                column.note(&judge(&server.take()?, "span_name"));
            }
        }
        figures.extend(ours.show(name, true));
        for (peer, column) in peers {
            figures.extend(column.show(&format!("{}, {name}", peer.name), false));
        }
    }
    let mut notes = vec![format!(
        "each function is called in one span only; samples in it, at {FREQUENCY} Hz, are judged by their \
         `active_span_name` (peers: `span_name`, of which a sample with several keeps one, as the server does); without \
         our package, so from the interpreter's context alone, which the agent could read before the first of them; \
         peers label only local roots, so they are judged only in workloads in which every span is one"
    )];
    let without = without.iter().map(|peer| &peer.name);
    notes.extend(without.map(|name| format!("{name} is left out: its samples name no span")));
    notes.extend(lacking.map(|reason| format!("pyroscope-io is left out: {reason}")));
    Ok(Report {
        name: "wrong-span",
        figures,
        notes,
    })
}

/// One value per round, in percent.
#[derive(Default)]
struct Column {
    wrong: Vec<f64>,
    none: Vec<f64>,
    samples: Vec<f64>,
}

impl Column {
    fn note(&mut self, judged: &Judged) {
        let all = judged.right + judged.wrong + judged.none;
        self.wrong.push(100.0 * judged.wrong / all);
        self.none.push(100.0 * judged.none / all);
        self.samples.push(all);
    }

    fn show(self, name: &str, must_be_right: bool) -> [Figure; 3] {
        let title = |what: &str| format!("{name}: {what}");
        let wrong = Figure::new(title("on the wrong span"), "%", self.wrong);
        [
            if must_be_right { wrong.zero() } else { wrong },
            Figure::new(title("on no span"), "%", self.none),
            Figure::new(title("judged"), "samples", self.samples),
        ]
    }
}

fn judge(rows: &[pprof::Row], label: &str) -> Judged {
    let mut judged = Judged::default();
    for row in rows {
        let works = row.functions.iter();
        let Some(number) = works
            .filter_map(|function| function.strip_prefix("work_"))
            .find(|number| number.parse::<u32>().is_ok())
        else {
            continue;
        };
        let span = row.labels.get(label);
        let judgement = match span.map(|span| span.strip_prefix("span_") == Some(number)) {
            Some(true) => &mut judged.right,
            Some(false) => &mut judged.wrong,
            None => &mut judged.none,
        };
        *judgement += row.samples;
    }
    judged
}
