//! Labels of series, and what a server would not take.

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
