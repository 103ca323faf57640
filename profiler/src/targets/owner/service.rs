//! The service that a process's CPU is counted for: what each source says of it, and which counts.

use std::collections::{BTreeMap, BTreeSet};

use percent_encoding::percent_decode_str;

use crate::{
    events::Resource,
    id::{Service, ServiceAttribute},
};

/// Bytes a name may have, and the value of an attribute.
const MAX_NAME: usize = 255;
/// What OpenTelemetry's SDKs call a service that has no name, alone or with `:` and the name of the executable
/// (semantic conventions, `service.name`).
const NAMELESS: &str = "unknown_service";

/// Where the name of a service comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The resource that the package's hook tells.
    Hook,
    /// The resource of the tracer provider.
    TracerProvider,
    /// The environment that the process was started with.
    Environment,
    /// What the interpreter remembers of how it was started, as the process has written over that: either of the
    /// environment, or of the command.
    Interpreter,
    /// The name of the command.
    #[default]
    Command,
}

impl Source {
    /// In a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hook => "hook",
            Self::TracerProvider => "tracer provider",
            Self::Environment => "environment",
            Self::Interpreter => "interpreter",
            Self::Command => "command",
        }
    }
}

/// What one source says of the service of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// `service.name`; empty if there is none.
    name: String,
    /// `service.namespace`; empty if there is none.
    namespace: String,
    /// What else there is; `None` if the source does not say.
    attributes: Option<BTreeMap<ServiceAttribute, String>>,
}

impl Said {
    /// What the hook says, over what it has said before: it tells the name first.
    pub fn by_hook(resource: &Resource, before: Option<&Self>) -> Self {
        let told = resource.attributes.as_ref().map(|told| {
            attributes(|name| {
                told.get(name)
                    .map_or_else(String::new, |it| clean(it.as_bytes()))
            })
        });
        Self {
            name: name(clean(resource.service_name.as_bytes())),
            namespace: clean(resource.service_namespace.as_bytes()),
            attributes: told.or_else(|| before?.attributes.clone()),
        }
    }

    /// What a resource says, by the values of its attributes.
    pub fn by_resource<'a>(attribute: impl Fn(&str) -> Option<&'a str>) -> Self {
        let value =
            |name: &str| attribute(name).map_or_else(String::new, |it| clean(it.as_bytes()));
        Self {
            name: name(value("service.name")),
            namespace: value("service.namespace"),
            attributes: Some(attributes(value)),
        }
    }

    /// What an environment says, by the values of its variables.
    pub fn by_environment<'a>(variable: impl Fn(&str) -> Option<&'a [u8]>) -> Self {
        let told = variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        let own = variable("OTEL_SERVICE_NAME").map_or_else(String::new, clean);
        let names = [own, attribute(told, "service.name")];
        Self {
            name: name(
                names
                    .into_iter()
                    .find(|it| !it.is_empty())
                    .unwrap_or_default(),
            ),
            namespace: attribute(told, "service.namespace"),
            attributes: Some(attributes(|name| attribute(told, name))),
        }
    }

    /// Whether it says all that a source can.
    pub fn is_whole(&self) -> bool {
        self.attributes.is_some()
    }
}

/// The service of a process, and where its name comes from. `said`: what is said of it, what counts most first;
/// `command`: what it is called if nobody names it, and where that was read; `told_apart`: the attributes that tell its profiles apart.
pub fn service(
    said: &[(&Said, Source)],
    (command, by_command): (&str, Source),
    told_apart: &BTreeSet<ServiceAttribute>,
) -> (Service, Source) {
    let namer = said.iter().find(|(it, _)| !it.name.is_empty());
    let (name, source) = match namer {
        Some((it, source)) => (it.name.clone(), *source),
        None => (clean(command.as_bytes()), by_command),
    };
    // A namespace is that of the name, as they are one resource's.
    let with_namespace = namer.or_else(|| said.iter().find(|(it, _)| !it.namespace.is_empty()));
    let attributes = said.iter().find_map(|(it, _)| it.attributes.as_ref());
    let mut attributes = attributes.cloned().unwrap_or_default();
    attributes.retain(|it, _| told_apart.contains(it));
    let service = Service {
        name: if name.is_empty() {
            NAMELESS.to_owned()
        } else {
            name
        },
        namespace: with_namespace.map_or_else(String::new, |(it, _)| it.namespace.clone()),
        attributes,
    };
    (service, source)
}

/// The name, unless it is the word for none.
fn name(name: String) -> String {
    let rest = name.strip_prefix(NAMELESS);
    if rest.is_some_and(|it| it.is_empty() || it.starts_with(':')) {
        return String::new();
    }
    name
}

/// The values of attributes, those left out that have none.
fn attributes(value: impl Fn(&str) -> String) -> BTreeMap<ServiceAttribute, String> {
    let values = ServiceAttribute::ALL.map(|it| (it, value(it.name())));
    let values = values.into_iter().filter(|(_, value)| !value.is_empty());
    values.collect()
}

/// One value of `key=value,…` with percent-encoding (OpenTelemetry's resource specification).
fn attribute(attributes: &[u8], key: &str) -> String {
    let text = String::from_utf8_lossy(attributes);
    let value = text
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(name, value)| (name.trim() == key).then(|| value.trim()));
    value.map_or_else(String::new, |value| {
        // What is not a valid escape is left as it stands.
        clean(&percent_decode_str(value).collect::<Vec<u8>>())
    })
}

/// Valid UTF-8, no control characters, at most [`MAX_NAME`] bytes.
fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut name = String::new();
    for character in text.trim().chars().filter(|it| !it.is_control()) {
        if name.len() + character.len_utf8() > MAX_NAME {
            break;
        }
        name.push(character);
    }
    name
}

#[cfg(test)]
mod tests;
