//! How soon profiles are stored, and the cost: many services, a slow server, an outage, TLS.
//!
//! The exporter is a separate process (`profiler/benches/push.rs`), the server is in this one. A profile counts as lost
//! if the server has not kept it.

mod agent;
mod exporter;
mod many;
mod outage;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tests::certificates::Authority;
use tests::pretend_pyroscope::{PretendPyroscope, Storage};
use tests::tls::TlsServer;
use xtask::build;

use crate::Bench;
use crate::report::Report;
use exporter::ROWS;
use many::Load;

/// Windows of the exporter.
const WINDOW: Duration = Duration::from_secs(15);
/// The longest that v2 takes to answer, because it writes a segment twice a second.
const ANSWER: Duration = Duration::from_millis(500);

pub(crate) fn measure(bench: &Bench) -> Result<Report> {
    let program = build::benchmark(&bench.workspace, "profiler", "push")?;
    let mut figures = Vec::new();
    let (services, answers): (&[u32], &[u64]) = if bench.quick {
        (&[10, 500], &[0, 500])
    } else {
        (&[10, 100, 500, 1000], &[0, 500, 2000])
    };
    for &services in services {
        for &answer in answers {
            let load = Load {
                services,
                answer: Duration::from_millis(answer),
                is_tls: false,
            };
            figures.extend(many::measure(bench, &program, load)?);
        }
    }
    let load = Load {
        services: 500,
        answer: ANSWER,
        is_tls: true,
    };
    figures.extend(many::measure(bench, &program, load)?);
    figures.extend(outage::measure(bench, &program)?);
    figures.extend(agent::measure(bench)?);
    Ok(Report {
        name: "push",
        figures,
        notes: vec![
            format!(
                "an exporter in a separate process (`profiler/benches/push.rs`) pushes made-up profiles of {ROWS} rows, \
                 just under 30 KB each before compression, for windows of {} s, to a pretend Pyroscope that takes 4 MiB \
                 a second and 2 MiB at once, as a real one does by default; the lag is the time from a window's end \
                 until the server has a profile of it; waiting profiles are counted when the next window ends; CPU is \
                 that of the threads that encode and send",
                WINDOW.as_secs()
            ),
            format!(
                "the bars are for up to 500 services and answers after up to {} s: at that rate a window of 1000 takes \
                 6.5 s, and if the server takes 2 s to answer, four requests of 1 MiB at a time carry 2 MiB a second, \
                 unless `--push-requests` allows more",
                ANSWER.as_secs_f64()
            ),
            outage::note(),
            agent::note(),
        ],
    })
}

/// A server with the limits of a real one, and the file with the authority to trust, if it uses TLS.
fn server(folder: &Path, is_tls: bool) -> Result<(PretendPyroscope, Option<PathBuf>)> {
    if !is_tls {
        return Ok((PretendPyroscope::with(Storage::V2), None));
    }
    let authority = Authority::new("spanprof's benchmarks");
    let path = folder.join("authority.pem");
    fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    fs::write(&path, authority.pem())
        .with_context(|| format!("failed to write {}", path.display()))?;
    let tls: Arc<TlsServer> = TlsServer::new(&authority.server(&["127.0.0.1"]), None);
    Ok((PretendPyroscope::with_tls(Storage::V2, tls), Some(path)))
}

/// Nanoseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "a lag is no year")]
fn seconds(nanoseconds: i64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// A count as a figure.
#[expect(clippy::cast_precision_loss, reason = "no more than millions")]
fn number(count: usize) -> f64 {
    count as f64
}
