//! The resource of a process's tracer provider, read from outside: a service that is named in code.

use std::collections::HashMap;

use super::{interpreter::Interpreter, service::Said};
use crate::id::{ProcessKey, ServiceAttribute};

/// Processes remembered; when full all are forgotten and read anew.
const MAX_REMEMBERED: usize = 16_384;
/// Attributes of a provider that may hold the SDK's.
const MAX_ATTRIBUTES: usize = 64;

/// What is remembered of the tracer providers of processes from one look to the next, to save reads.
#[derive(Clone, Debug, Default)]
pub struct Providers(HashMap<ProcessKey, Seen>);

/// What was seen in one process.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// How many modules it had imported.
    modules: u64,
    /// The dictionary of `opentelemetry.trace`, if it is imported.
    trace: Option<u64>,
    /// The resource that was read: with each change it is another object.
    resource: Option<u64>,
}

impl Providers {
    /// What the resource of a process's tracer provider says, if that is new. `is_first`: nothing was learnt of this
    /// program yet.
    pub fn read(
        &mut self,
        process: ProcessKey,
        interpreter: &Interpreter<'_>,
        is_first: bool,
    ) -> Option<Said> {
        if self.0.len() >= MAX_REMEMBERED {
            self.0.clear();
        }
        let seen = self.0.entry(process).or_default();
        if is_first {
            *seen = Seen::default();
        }
        let modules = interpreter.objects.entry_count(interpreter.modules)?;
        if seen.modules != modules {
            seen.trace = interpreter.module("opentelemetry.trace");
            seen.modules = modules;
        }
        let (_, provider) = interpreter.objects.place(seen.trace?, "_TRACER_PROVIDER")?;
        let resource = resource(interpreter, provider)?;
        if seen.resource == Some(resource) {
            return None;
        }
        let said = said(interpreter, resource)?;
        seen.resource = Some(resource);
        Some(said)
    }
}

/// The resource of a provider: its own, or that of the SDK's provider that it keeps in one of its attributes, as those do
/// that put something around it.
fn resource(interpreter: &Interpreter<'_>, provider: u64) -> Option<u64> {
    let own = |provider| {
        // The attribute was public until release 1.9 or so.
        let names = ["_resource", "resource"].into_iter();
        let mut found = names.filter_map(|name| interpreter.objects.attribute(provider, name));
        found.find(|&it| interpreter.is_a(it, "Resource"))
    };
    own(provider).or_else(|| own(inside(interpreter, provider)?))
}

/// The SDK's provider in an attribute of another.
fn inside(interpreter: &Interpreter<'_>, provider: u64) -> Option<u64> {
    let objects = &interpreter.objects;
    if interpreter.is_a(provider, "NoneType") {
        return None;
    }
    let sdk = interpreter.module("opentelemetry.sdk.trace")?;
    let class = interpreter.value(sdk, "TracerProvider")?;
    let keys = objects.pointer(objects.class(provider)? + objects.offsets.type_keys)?;
    let keys = objects.entries(keys)?;
    let keys = keys.into_iter().filter(|(key, _)| *key != 0);
    keys.take(MAX_ATTRIBUTES).find_map(|(key, _)| {
        let value = objects.attribute(provider, &interpreter.text(key)?)?;
        interpreter.is_of(value, class).then_some(value)
    })
}

/// What a resource says.
fn said(interpreter: &Interpreter<'_>, resource: u64) -> Option<Said> {
    let attributes = interpreter.objects.attribute(resource, "_attributes")?;
    // A `BoundedAttributes` has a dictionary; early releases had nothing around it.
    let dictionary = if interpreter.is_a(attributes, "dict") {
        attributes
    } else {
        let inside = interpreter.objects.attribute(attributes, "_dict")?;
        Some(inside).filter(|&it| interpreter.is_a(it, "dict"))?
    };
    let names = ServiceAttribute::ALL.map(ServiceAttribute::name);
    let names = names
        .into_iter()
        .chain(["service.name", "service.namespace"]);
    let names: Vec<&str> = names.collect();
    let mut found = HashMap::new();
    for (key, value) in interpreter.objects.items(dictionary)? {
        if key == 0 || value == 0 {
            continue;
        }
        if let Some(key) = interpreter.text(key).filter(|it| names.contains(&&**it))
            && let Some(value) = interpreter.text(value)
        {
            found.insert(key, value);
        }
    }
    Some(Said::by_resource(|name| {
        found.get(name).map(String::as_str)
    }))
}
