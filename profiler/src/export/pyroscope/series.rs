//! The labels of a series, and what no server would take: an address, a tenant, labels. Pure.
//!
//! The server's rules: `pkg/validation/{limits,validate}.go` of grafana/pyroscope, and
//! `tenant/tenant.go` of grafana/dskit.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::proto::LabelPair;
use crate::{
    export::Error,
    id::{Service, ServiceAttribute},
    measure::Kind,
    profile::{
        Key,
        labels::{MAX_VALUE, cut_value},
    },
};

/// The service's namespace.
const SERVICE_NAMESPACE: &str = "service_namespace";
/// The host: OpenTelemetry's `host.name`.
const HOST_NAME: &str = "host_name";
/// Labels that a series of ours can have: those put on it here, and those of samples, which the server
/// moves to it.
const OURS: [&str; 14] = [
    "__name__",
    Key::ServiceName.name(),
    SERVICE_NAMESPACE,
    ServiceAttribute::Version.label(),
    ServiceAttribute::EnvironmentName.label(),
    ServiceAttribute::Environment.label(),
    ServiceAttribute::InstanceId.label(),
    HOST_NAME,
    "otel.scope.name",
    "otel.scope.version",
    "pyroscope_spy",
    Key::SpanName.name(),
    Key::TraceId.name(),
    Key::ContainerId.name(),
];
/// Labels that mean something else than a label of a series.
const TAKEN: [&str; 2] = [Key::SpanId.name(), "profile_id"];
/// Labels that the server takes on a series.
const MAX_LABELS: usize = 30;
/// Tags at most: what the server takes, less what is ours.
pub const MAX_TAGS: usize = MAX_LABELS - OURS.len();
/// Longest name of a label, in bytes.
const MAX_NAME: usize = 1_024;
/// Longest name of a tenant, in bytes.
const MAX_TENANT: usize = 150;

/// The labels of every series, besides what is known of its service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesLabels {
    /// The host, so that agents never share a series: the server keeps one profile for each series and time.
    pub host_name: Option<String>,
    /// The user's labels, name and value.
    pub tags: Vec<(String, String)>,
}

impl SeriesLabels {
    /// Refuses labels that no server would take.
    pub fn check(&self) -> Result<(), Error> {
        if let Some(name) = &self.host_name {
            check_value(name).map_err(|reason| Error::HostName { reason })?;
        }
        let mut names = BTreeSet::new();
        for (name, value) in &self.tags {
            let refuse = |reason| Error::Tag {
                name: name.clone(),
                reason,
            };
            check_tag(name, value).map_err(refuse)?;
            if !names.insert(name) {
                return Err(refuse("it is given twice".to_owned()));
            }
            if names.len() > MAX_TAGS {
                return Err(refuse(format!(
                    "it is one too many: a server takes {MAX_LABELS} labels on a series, and spanprof \
                     needs {} of them, which leaves {MAX_TAGS} tags",
                    OURS.len()
                )));
            }
        }
        Ok(())
    }

    /// The labels of a service's series of one kind of measure. Labels that the server computes from the profile must
    /// not be sent; names that a Grafana selector must match are spelled with underscores. An empty value is left out,
    /// as the server would do.
    pub fn of(&self, service: &Service, kind: Kind) -> Vec<LabelPair> {
        let own = [
            ("__name__", kind.terms().metric),
            (Key::ServiceName.name(), service.name.as_str()),
            (SERVICE_NAMESPACE, service.namespace.as_str()),
            (HOST_NAME, self.host_name.as_deref().unwrap_or_default()),
            ("otel.scope.name", "spanprof"),
            ("otel.scope.version", env!("CARGO_PKG_VERSION")),
            // Tells the server the language, which it would guess from file names.
            ("pyroscope_spy", "pyspy"),
        ];
        let attributes = service.attributes.iter();
        let attributes = attributes.map(|(attribute, value)| (attribute.label(), value.as_str()));
        let tags = self.tags.iter();
        own.into_iter()
            .chain(attributes)
            .chain(tags.map(|(name, value)| (name.as_str(), value.as_str())))
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| {
                let (name, mut value) = (name.to_owned(), value.to_owned());
                cut_value(&mut value);
                LabelPair { name, value }
            })
            .collect()
    }
}

fn check_tag(name: &str, value: &str) -> Result<(), String> {
    check_name(name)?;
    if OURS.contains(&name) || TAKEN.contains(&name) {
        return Err("this name is spanprof's own: take another".to_owned());
    }
    check_value(value)
}

/// Names that every release of the server takes and every Grafana selector can contain; since 2.0 the server takes
/// others, too.
fn check_name(name: &str) -> Result<(), String> {
    let is_name = !name.is_empty()
        && !name.starts_with("__")
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || character == '_');
    if !is_name {
        return Err(
            "a label's name has letters, digits and _ only, and does not start with a digit or __"
                .to_owned(),
        );
    }
    if name.len() > MAX_NAME {
        return Err(format!("a label's name may have {MAX_NAME} bytes"));
    }
    Ok(())
}

fn check_value(value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err("it has no value: the server drops such a label".to_owned());
    }
    if value.len() > MAX_VALUE {
        let most = MAX_VALUE;
        return Err(format!("its value may have {most} bytes"));
    }
    Ok(())
}

/// Refuses what is not the address of a server.
pub fn check_url(url: &str) -> Result<(), Error> {
    // It may hold a password, which is not shown.
    if url.contains('@') {
        return Err(Error::UrlWithUser);
    }
    address(url).map_err(|reason| Error::Url {
        url: url.to_owned(),
        reason,
    })
}

fn address(url: &str) -> Result<(), &'static str> {
    let (scheme, rest) = url.split_once("://").ok_or("it has no http://")?;
    if !["http", "https"]
        .iter()
        .any(|it| scheme.eq_ignore_ascii_case(it))
    {
        return Err("its scheme is neither http nor https");
    }
    if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it has blanks, or letters that are not ASCII");
    }
    if rest.contains(['?', '#']) {
        return Err("it goes on behind its path: leave out ? and #");
    }
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("its IPv6 address has no end")?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err("what is in [ ] is no IPv6 address");
            }
            (host, port)
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    if host.is_empty() {
        return Err("it names no host");
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok(()),
        Some(digits) if digits.parse::<u16>().is_ok_and(|port| port > 0) => Ok(()),
        _ => Err("its port is no number from 1 to 65535"),
    }
}

/// Refuses a tenant that no server accepts: it would answer 401 to every push.
pub fn check_tenant(tenant: &str) -> Result<(), Error> {
    let is_allowed =
        |character: char| character.is_ascii_alphanumeric() || "!-_.*'()".contains(character);
    let reason = if tenant.is_empty() {
        "it is empty: leave it out where the server has no tenants".to_owned()
    } else if let Some(character) = tenant.chars().find(|&it| !is_allowed(it)) {
        format!("it must not contain {character:?}: letters, digits and !-_.*'() only")
    } else if tenant.len() > MAX_TENANT {
        format!("it has {} characters: {MAX_TENANT} at most", tenant.len())
    } else if matches!(tenant, "." | "..") {
        "a server takes neither . nor ..".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::Tenant {
        tenant: tenant.to_owned(),
        reason,
    })
}
