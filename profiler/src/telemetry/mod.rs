//! The agent's own telemetry: every count and figure of the table as metrics, and whether the agent is well.
//!
//! In: the counts of [`health`](crate::health), what the kernel says of programs and maps, what `/proc` says of
//! this process. Out: `/metrics`, `/healthz`, `/readyz` and `/debug/losses` over HTTP, OTLP metrics, and words to
//! systemd. Everything here runs on the runtime, and asks the threads that sample for nothing.

mod ask;
mod instruments;
mod listen;
pub mod notify;
mod otlp;
mod own;
pub mod page;
mod state;
#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use opentelemetry_sdk::{Resource, metrics::SdkMeterProvider};
use prometheus::Registry;
use tokio::runtime::Handle;

pub use self::{
    ask::{AskError, ask},
    otlp::Otlp,
};
use self::{listen::Server, state::State};
use crate::{
    health::Health,
    kernel::Usage,
    rights::{Thread, keep_for},
};

/// How long the last metrics may take to leave.
const LAST_PUSH: Duration = Duration::from_secs(2);

/// Where telemetry goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Address to listen on.
    pub listen: Option<SocketAddr>,
    /// Where to push.
    pub otlp: Option<Otlp>,
}

/// Telemetry cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process listens there, or there is no such address.
    #[error("cannot listen on {address} (--listen): {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// The way to the server of `--telemetry-otlp-endpoint` cannot be made.
    #[error("cannot push metrics: {0}")]
    Otlp(String),
    /// The metrics cannot be registered.
    #[error("cannot make metrics: {0}")]
    Metrics(String),
}

/// Tells of the agent as long as it lives.
pub struct Telemetry {
    provider: Option<SdkMeterProvider>,
    /// The address that it listens on.
    pub address: Option<SocketAddr>,
}

impl Telemetry {
    /// Listens and pushes from now on. Only what the settings ask for is started.
    pub fn start(
        settings: &Settings,
        health: &Health,
        usage: Usage,
        runtime: &Handle,
    ) -> Result<Self, Error> {
        if settings.listen.is_none() && settings.otlp.is_none() {
            return Ok(Self {
                provider: None,
                address: None,
            });
        }
        let registry = Registry::new();
        let provider = provider(settings, &registry, runtime)?;
        let state = Arc::new(State {
            health: health.clone(),
            usage,
            registry,
        });
        instruments::register(&provider, &state);
        let mut listens_on = None;
        if let Some(address) = settings.listen {
            let server = Server::bind(address, Arc::clone(&state), runtime)
                .map_err(|error| Error::Listen { address, error })?;
            tracing::info!(address = %server.address, "listening for /metrics, /healthz and /readyz");
            listens_on = Some(server.address);
            runtime.spawn(server.run());
        }
        Ok(Self {
            provider: Some(provider),
            address: listens_on,
        })
    }

    /// Pushes once more, and ends. Not to be called on the runtime.
    pub fn end(self) {
        let Some(provider) = self.provider else {
            return;
        };
        // The library takes a time to wait and does not mind it: so this does, and leaves the rest behind.
        let (done, is_done) = mpsc::sync_channel(1);
        let last = thread::Builder::new().name("spanprof-last".to_owned());
        let last = last.spawn(move || {
            keep_for(Thread::Waiting);
            let _ = done.send(provider.shutdown());
        });
        match last.map(|_| is_done.recv_timeout(LAST_PUSH)) {
            Ok(Ok(Ok(()))) => {}
            told => tracing::debug!("the last metrics were not pushed: {told:?}"),
        }
    }
}

/// What collects the metrics, for those that the settings name: `/metrics` by the registry, and the push.
fn provider(
    settings: &Settings,
    registry: &Registry,
    runtime: &Handle,
) -> Result<SdkMeterProvider, Error> {
    let mut provider = SdkMeterProvider::builder().with_resource(resource());
    if settings.listen.is_some() {
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .without_target_info()
            .build()
            .map_err(|error| Error::Metrics(error.to_string()))?;
        provider = provider.with_reader(exporter);
    }
    if let Some(otlp) = &settings.otlp {
        provider = provider.with_reader(otlp::reader(otlp, runtime)?);
    }
    Ok(provider.build())
}

/// The agent's resource: what `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say, else spanprof.
fn resource() -> Resource {
    let mut resource = Resource::builder();
    let attributes = std::env::var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let mut names = attributes.split(',').filter_map(|it| it.split('=').next());
    let has_name = std::env::var_os("OTEL_SERVICE_NAME").is_some()
        || names.any(|name| name.trim() == "service.name");
    if !has_name {
        resource = resource.with_service_name("spanprof");
    }
    let version = env!("CARGO_PKG_VERSION");
    resource
        .with_attribute(opentelemetry::KeyValue::new("service.version", version))
        .build()
}
