//! Which source names a service.

use std::collections::{BTreeMap, BTreeSet};

use super::{Said, Service, Source, clean, service};
use crate::{
    events::Resource,
    id::{
        Pid, ServiceAttribute,
        ServiceAttribute::{Environment, EnvironmentName, InstanceId, Version},
    },
};

/// An environment with these variables.
fn environment(variables: &[(&str, &str)]) -> Said {
    Said::by_environment(|name| {
        let found = variables.iter().find(|(it, _)| *it == name);
        found.map(|(_, value)| value.as_bytes())
    })
}

fn resource_attributes(value: &str) -> Said {
    environment(&[("OTEL_RESOURCE_ATTRIBUTES", value)])
}

fn hook(name: &str, namespace: &str, attributes: Option<&[(&str, &str)]>) -> Said {
    let attributes = attributes.map(|it| {
        let pairs = it.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    });
    let resource = Resource {
        pid: Pid(1),
        service_name: name.to_owned(),
        service_namespace: namespace.to_owned(),
        attributes,
    };
    Said::by_hook(&resource, None)
}

fn named(said: &[(&Said, Source)]) -> (String, String, Source) {
    let (service, source) = service(said, ("app", Source::Command), &BTreeSet::new());
    (service.name, service.namespace, source)
}

fn told_apart(said: &[(&Said, Source)], by: &[ServiceAttribute]) -> Service {
    service(
        said,
        ("app", Source::Command),
        &by.iter().copied().collect(),
    )
    .0
}

/// What counts most is first; the variable of its own wins over the attributes; the command's name is the last.
#[test]
fn the_first_that_names_it() {
    let both = environment(&[
        ("OTEL_SERVICE_NAME", "shop"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.name=x,service.namespace=a%2Cb",
        ),
    ]);
    let expected = ("shop".to_owned(), "a,b".to_owned(), Source::Environment);
    assert_eq!(named(&[(&both, Source::Environment)]), expected);
    let odd = resource_attributes("service.name=caf%C3%A9%2");
    assert_eq!(named(&[(&odd, Source::Environment)]).0, "café%2");
    // The name and the namespace are those of one resource.
    let told = hook("cart", "", None);
    let said = [(&told, Source::Hook), (&both, Source::Environment)];
    let expected = ("cart".to_owned(), String::new(), Source::Hook);
    assert_eq!(named(&said), expected);
    let expected = ("app".to_owned(), String::new(), Source::Command);
    assert_eq!(named(&[]), expected);
    let nameless = service(&[], ("", Source::Command), &BTreeSet::new()).0;
    assert_eq!(nameless.name, "unknown_service");
}

/// The SDK's word for no name is none, from whichever source; what else its resource says stands.
#[test]
fn no_name_is_no_name() {
    for name in ["unknown_service", "unknown_service:python3.12"] {
        let told = hook(name, "prod", Some(&[("service.version", "2")]));
        let by_name = environment(&[("OTEL_SERVICE_NAME", name)]);
        let by_attributes = resource_attributes(&format!("service.name={name}"));
        let said = [
            (&told, Source::Hook),
            (&by_name, Source::Environment),
            (&by_attributes, Source::Environment),
        ];
        let expected = ("app".to_owned(), "prod".to_owned(), Source::Command);
        assert_eq!(named(&said), expected);
        let of_version = told_apart(&said, &[Version]);
        assert_eq!(of_version.attributes[&Version], "2");
    }
    let other = environment(&[("OTEL_SERVICE_NAME", "unknown_services")]);
    assert_eq!(
        named(&[(&other, Source::Environment)]).0,
        "unknown_services"
    );
}

/// Attributes are taken under the name that the process gave, as far as they tell profiles apart: what does not makes no
/// other service. The hook's word counts, if it has one.
#[test]
fn attributes() {
    let all = [Version, Environment, EnvironmentName];
    let both = resource_attributes(
        "service.name=shop,service.version=1%2E2,deployment.environment=prod,service.instance.id=7,deployment.environment.name=",
    );
    let expected = BTreeMap::from([
        (Version, "1.2".to_owned()),
        (Environment, "prod".to_owned()),
    ]);
    let said = [(&both, Source::Environment)];
    assert_eq!(told_apart(&said, &all).attributes, expected);
    let other = resource_attributes("service.name=shop,service.instance.id=8");
    assert_eq!(
        told_apart(&said, &[]),
        told_apart(&[(&other, Source::Environment)], &[])
    );
    let long = resource_attributes(&format!("service.instance.id={}", "é".repeat(200)));
    let of_instance = told_apart(&[(&long, Source::Environment)], &[InstanceId]);
    assert_eq!(of_instance.attributes[&InstanceId].len(), 254);
    // A hook of an earlier release.
    let told = hook("cart", "", None);
    let said = [(&told, Source::Hook), (&both, Source::Environment)];
    let service = told_apart(&said, &all);
    assert_eq!(
        (service.name.as_str(), service.attributes),
        ("cart", expected)
    );
    let pairs = [
        ("service.version", "2\n"),
        ("service.instance.id", "9"),
        ("host.name", "x"),
    ];
    let told = hook("", "", Some(&pairs));
    let said = [(&told, Source::Hook), (&both, Source::Environment)];
    let service = told_apart(&said, &all);
    let expected = BTreeMap::from([(Version, "2".to_owned())]);
    assert_eq!(
        (service.name.as_str(), service.attributes),
        ("shop", expected)
    );
}

/// Names are cut at a character and carry no control characters.
#[test]
fn names_are_cleaned() {
    assert_eq!(clean(b" a\n\xffb "), "a\u{fffd}b");
    assert_eq!(clean("é".repeat(200).as_bytes()).len(), 254);
}
