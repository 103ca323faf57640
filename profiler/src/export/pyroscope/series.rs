//! The labels of a series, and what no server would take: an address, a tenant, labels. Pure.
//!
//! The server's rules: `pkg/validation/{limits,validate}.go` of grafana/pyroscope, and
//! `tenant/tenant.go` of grafana/dskit.

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

#[cfg(test)]
mod tests {
    use super::{MAX_TAGS, OURS, SeriesLabels, check_tenant, check_url};
    use crate::{
        id::{Service, ServiceAttribute},
        measure::Kind,
    };

    fn tagged(tags: &[(&str, &str)]) -> Result<(), String> {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        let labels = SeriesLabels {
            tags: tags.iter().map(owned).collect(),
            ..SeriesLabels::default()
        };
        labels.check().map_err(|error| error.to_string())
    }

    /// Addresses that cannot be requested are refused, with the reason.
    #[test]
    fn addresses() {
        for url in [
            "https://host/prefix/",
            "http://localhost:4040",
            "HTTP://10.0.0.1:1",
            "http://[::1]:4040/x",
            "http://[fe80::1]",
            "https://a_b.svc.cluster.local:65535",
        ] {
            check_url(url).unwrap();
        }
        for (url, reason) in [
            ("host:4040", "no http://"),
            ("", "no http://"),
            ("ftp://host", "neither http nor https"),
            ("http://", "no host"),
            ("http://:4040", "no host"),
            ("http:///path", "no host"),
            ("http://host:0", "65535"),
            ("http://host:65536", "65535"),
            ("http://host:", "65535"),
            ("http://host:a", "65535"),
            ("http://[::1", "no end"),
            ("http://[host]", "IPv6"),
            ("http://[::1]x", "65535"),
            ("http://ho st", "blanks"),
            ("http://host/\n", "blanks"),
            ("http://høst", "ASCII"),
            ("http://host/?x=1", "leave out"),
            ("http://host#x", "leave out"),
        ] {
            let error = check_url(url).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
            assert!(error.contains("write http://"), "{url}: {error}");
        }
    }

    /// A password in an address is never shown.
    #[test]
    fn passwords_are_not_shown() {
        for url in [
            "http://me:secret@host",
            "me:secret@host",
            "http://me:se/secret@host",
        ] {
            let error = check_url(url).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
            assert!(error.contains("--basic-auth-user"), "{error}");
        }
    }

    /// Tags that a server would refuse, or that would hide a label of ours, are refused.
    #[test]
    fn tags() {
        tagged(&[("region", "eu=1"), ("_x", "ü")]).unwrap();
        for (tags, reason) in [
            ([("a", "1"), ("a", "2")], "twice"),
            ([("a", ""), ("b", "1")], "no value"),
            ([("a", "1"), ("", "x")], "letters"),
            ([("a", "1"), ("__x", "x")], "letters"),
            ([("a", "1"), ("1x", "x")], "letters"),
            ([("a", "1"), ("a-b", "x")], "letters"),
            ([("a", "1"), ("é", "x")], "letters"),
            ([("a", "1"), ("span_id", "x")], "own"),
            ([("a", "1"), ("profile_id", "x")], "own"),
            ([("a", &"x".repeat(2_049)), ("b", "1")], "2048"),
            ([("a", "1"), (&"x".repeat(1_025), "1")], "1024"),
        ] {
            let error = tagged(&tags).unwrap_err();
            assert!(error.contains(reason), "{tags:?}: {error}");
        }
        for name in OURS {
            tagged(&[(name, "x")]).unwrap_err();
        }
        tagged(&[("a", &"x".repeat(2_048)), (&"x".repeat(1_024), "1")]).unwrap();
    }

    /// Tags are limited so that no series has more labels than the server takes, whatever other labels are on.
    #[test]
    fn number_of_tags() {
        let names: Vec<String> = (0..=MAX_TAGS)
            .map(|number| format!("tag{number}"))
            .collect();
        let tags: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
        tagged(&tags[..MAX_TAGS]).unwrap();
        let error = tagged(&tags).unwrap_err();
        assert!(
            error.contains(&format!("leaves {MAX_TAGS} tags")),
            "{error}"
        );
        assert_eq!(MAX_TAGS + OURS.len(), 30);
    }

    /// A host's name is a value like others; an empty one is refused: it comes from a variable that is not set.
    #[test]
    fn host_names() {
        let named = |name: &str| SeriesLabels {
            host_name: Some(name.to_owned()),
            ..SeriesLabels::default()
        };
        named("node-1").check().unwrap();
        for (name, reason) in [("", "no value"), (&"x".repeat(2_049), "2048")] {
            let error = named(name).check().unwrap_err().to_string();
            assert!(error.contains("--host-name"), "{error}");
            assert!(error.contains(reason), "{error}");
        }
    }

    /// Tenants by dskit's rules.
    #[test]
    fn tenants() {
        for tenant in ["team-a", "1", "...", "!-_.*'()", &"x".repeat(150)] {
            check_tenant(tenant).unwrap();
        }
        for (tenant, reason) in [
            ("a/b", "'/'"),
            ("a|b", "'|'"),
            ("a:b", "':'"),
            ("a b", "' '"),
            ("a\n", "'\\n'"),
            ("é", "'é'"),
            (".", "neither"),
            ("..", "neither"),
            ("", "empty"),
            (&"x".repeat(151), "150"),
        ] {
            let error = check_tenant(tenant).unwrap_err().to_string();
            assert!(error.contains(reason), "{tenant}: {error}");
        }
    }

    /// What a service lacks gets no label; values are cut to what the server takes.
    #[test]
    fn labels_of_a_service() {
        let labels = SeriesLabels {
            host_name: Some("node-1".to_owned()),
            tags: vec![("region".to_owned(), "eu".to_owned())],
        };
        let service = Service {
            name: "x".repeat(3_000),
            namespace: String::new(),
            attributes: [(ServiceAttribute::Version, "1.2".to_owned())].into(),
        };
        let of = labels.of(&service, Kind::Cpu);
        let value = |name: &str| {
            of.iter()
                .find(|it| it.name == name)
                .map(|it| it.value.as_str())
        };
        assert_eq!(value("service_name").map(str::len), Some(2_048));
        assert_eq!(value("service_namespace"), None);
        assert_eq!(value("service_version"), Some("1.2"));
        assert_eq!(value("host_name"), Some("node-1"));
        assert_eq!(value("region"), Some("eu"));
        assert!(
            of.iter()
                .all(|it| it.name == "region" || OURS.contains(&it.name.as_str()))
        );
    }
}
