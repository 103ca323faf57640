//! `spanprof agent`: profiles every CPython process of the host and pushes to Pyroscope.

use std::{
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use anyhow::Result;

use crate::{
    config::AgentConfig,
    export::{self, BasicAuth, Exporter, Pyroscope},
    health::{Health, Loss},
    output::complain,
    profile::LabelSet,
    run::{self, Session, SessionSettings},
    signals,
    targets::Scope,
    time::monotonic_now,
};

/// How long the last window may take to upload: less than the 10 s that container runtimes give.
const DRAIN: Duration = Duration::from_secs(8);
/// How often the table of losses is logged at debug level.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// Runs until SIGTERM or SIGINT; then uploads the last window.
pub fn agent(config: &AgentConfig) -> Result<ExitCode> {
    let signals = signals::of_agent()?;
    let health = Health::default();
    let exporter = Arc::new(Exporter::start(
        export::Settings::new(server(config)),
        health.clone(),
    )?);
    let armed = run::arm(&config.sampling)?;
    let sink = Arc::clone(&exporter);
    let settings = SessionSettings {
        scope: Scope::Host,
        profile: SessionSettings::profile(
            &config.sampling,
            LabelSet::Pyroscope {
                trace_id: config.trace_id_label,
            },
        ),
        windows: Some((
            config.upload_interval,
            Box::new(move |profiles| {
                for profile in profiles {
                    sink.submit(profile);
                }
            }),
        )),
        records: None,
    };
    let session = Session::start(armed, settings, &health)?;
    tracing::info!(
        url = config.pyroscope_url,
        processes = session.snapshot().iter().count(),
        "profiling"
    );
    let mut reported = monotonic_now();
    while !signals.stop.load(Ordering::Relaxed) {
        thread::park_timeout(REPORT_EVERY.saturating_sub(reported.elapsed()));
        if signals.report.swap(false, Ordering::Relaxed) {
            session.count();
            // Asked for, whatever the log level.
            complain(&counted(&health));
        }
        if reported.elapsed() >= REPORT_EVERY {
            reported = monotonic_now();
            session.count();
            tracing::debug!("{}", counted(&health));
        }
    }
    tracing::info!("stopping: the last window is uploaded");
    for profile in session.stop().profiles {
        exporter.submit(profile);
    }
    // The session is over: nobody else holds the exporter.
    if let Some(exporter) = Arc::into_inner(exporter) {
        exporter.drain(DRAIN);
    }
    let lost = [
        Loss::ProfileGivenUp,
        Loss::QueueFull,
        Loss::ProfileTooOld,
        Loss::ProfileRefused,
    ]
    .map(|loss| health.get(loss));
    let lost: u64 = lost.iter().sum();
    if lost > 0 {
        tracing::warn!(profiles = lost, "ends with profiles that were never stored");
    }
    tracing::info!("{}", counted(&health));
    Ok(ExitCode::SUCCESS)
}

fn server(config: &AgentConfig) -> Pyroscope {
    let mut server = Pyroscope::new(&config.pyroscope_url);
    server.tenant_id.clone_from(&config.tenant_id);
    server.tags.clone_from(&config.tags);
    server.basic_auth = config
        .basic_auth
        .clone()
        .map(|(user, password)| BasicAuth { user, password });
    server
}

fn counted(health: &Health) -> String {
    format!("what was counted, and what was lost:\n{}", health.table())
}
