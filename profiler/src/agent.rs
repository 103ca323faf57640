//! `spanprof agent`: profiles every CPython process of the host and pushes to Pyroscope.

use std::{process::ExitCode, thread, time::Duration};

use anyhow::{Result, bail};
use tokio::{
    runtime::{Handle, Runtime},
    time::{MissedTickBehavior, interval},
};

use crate::{
    config::{AgentConfig, HostName},
    export::{
        Exporter,
        pyroscope::{self, Pyroscope},
    },
    health::{Gauge, Health},
    host::{self, Lock},
    output::complain,
    rights::{Thread, keep_for},
    run::{self, Session, SessionSettings},
    runtime,
    signals::{self, Word, Words},
    targets::Scope,
    telemetry::{Telemetry, notify},
};

/// How long the last window may take to upload: less than the 10 s that container runtimes give.
const DRAIN: Duration = Duration::from_secs(8);
/// What ending takes besides: the programs are detached, and the last metrics are pushed.
const STOP: Duration = Duration::from_secs(5);
/// How often the table of losses is logged at debug level.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// Runs until SIGTERM or SIGINT; then uploads the last window.
pub fn agent(config: &AgentConfig) -> Result<ExitCode> {
    let runtime = runtime::start()?;
    let code = on(&runtime, config);
    // A thread that resolves a name waits for a name server that does not answer, and cannot be told to stop.
    runtime.shutdown_background();
    code
}

fn on(runtime: &Runtime, config: &AgentConfig) -> Result<ExitCode> {
    let words = signals::listen(runtime.handle())?;
    let health = Health::default();
    let exporter = start_exporter(config, &health, runtime.handle())?;
    let mut armed = run::arm(&config.sampling)?;
    armed.tell_lacks();
    // Where privileges are missing, that was said first. Kept until the last profile is sent.
    let _lock = Lock::take(&config.lock_file)?;
    health.set(Gauge::RingCapacity, config.sampling.ring_size.into());
    let usage = std::mem::take(&mut armed.usage);
    let telemetry = Telemetry::start(&config.telemetry, &health, usage, runtime.handle())?;
    let session = Session::start(armed, session_settings(config, &exporter), &health)?;
    keep_for(Thread::Waiting);
    notify::ready();
    runtime.spawn(notify::keep_informed(health.clone()));
    tracing::info!(
        url = config.pyroscope_url,
        processes = session.snapshot().len(),
        "profiling"
    );
    runtime.block_on(until_stopped(words, &session, &health));
    tracing::info!("stopping: the last window is uploaded");
    notify::stopping(DRAIN + STOP);
    exporter.submit(session.stop().profiles);
    exporter.drain(DRAIN);
    telemetry.end();
    let lost = health.profiles_lost();
    if lost > 0 {
        tracing::warn!(profiles = lost, "ends with profiles that were never stored");
    }
    tracing::info!("{}", counted(&health));
    Ok(ExitCode::SUCCESS)
}

/// Of the whole host, with every window handed to the exporter.
fn session_settings(config: &AgentConfig, exporter: &Exporter) -> SessionSettings {
    let sink = exporter.sink();
    SessionSettings {
        scope: Scope::Host,
        told_apart: config.service_labels.clone(),
        profile: SessionSettings::profile(&config.sampling),
        windows: Some((
            config.upload_interval,
            Box::new(move |profiles| sink.submit(profiles)),
        )),
        records: None,
    }
}

/// Reports until the agent is to stop.
async fn until_stopped(mut words: Words, session: &Session, health: &Health) {
    let mut tick = interval(REPORT_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first one comes at once.
    tick.tick().await;
    loop {
        tokio::select! {
            word = words.recv() => match word {
                Some(Word::Report) => {
                    session.count();
                    // Asked for, whatever the log level.
                    complain(&counted(health));
                }
                Some(Word::Stop) | None => return,
            },
            _ = tick.tick() => {
                session.count();
                tracing::debug!("{}", counted(health));
            }
        }
    }
}

/// Starts the exporter with no more rights than its requests have: a file with a secret that could not be read
/// again later is refused now.
fn start_exporter(config: &AgentConfig, health: &Health, runtime: &Handle) -> Result<Exporter> {
    let settings = export_settings(config)?;
    thread::scope(|scope| {
        let started = scope.spawn(|| {
            keep_for(Thread::Plain);
            Exporter::start(health, |shared| {
                Ok(vec![pyroscope::start(settings, runtime, shared)?])
            })
        });
        match started.join() {
            Ok(exporter) => Ok(exporter?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn export_settings(config: &AgentConfig) -> Result<pyroscope::Settings> {
    let mut server = Pyroscope::new(&config.pyroscope_url);
    server.tenant_id.clone_from(&config.tenant_id);
    server.series.tags.clone_from(&config.tags);
    server.series.host_name = match &config.host_name {
        HostName::Off => None,
        HostName::Given(name) => Some(name.clone()),
        HostName::Found => match host::name::host_name() {
            Some(name) => Some(name),
            None => bail!(
                "this host has no name for the label host_name: give --host-name, or --host-name-label off"
            ),
        },
    };
    server.credentials.clone_from(&config.credentials);
    server.tls.clone_from(&config.tls);
    server.timeout = config.push.timeout;
    let mut settings = pyroscope::Settings::new(server);
    settings.pace = config.push.pace;
    settings.queue_bytes = config.push.queue_bytes;
    settings.projection = pyroscope::projection(
        config.sampling.span_label,
        config.span_name_label,
        config.trace_id_label,
    );
    settings.projection.native = config.native;
    Ok(settings)
}

fn counted(health: &Health) -> String {
    format!("what was counted, and what was lost:\n{}", health.table())
}
