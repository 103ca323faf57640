//! The service that a process's CPU is counted for: hook's resource → environment → script or module → command.

use std::collections::{BTreeMap, BTreeSet};

use percent_encoding::percent_decode_str;

use crate::{
    events::Resource,
    id::{Pid, Service, ServiceAttribute},
    targets::procfs,
};

/// Bytes a name may have, and the value of an attribute.
const MAX_NAME: usize = 255;

/// What a process was started with. It lies in the process's own memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartedWith {
    environment: Vec<Vec<u8>>,
    command: Vec<Vec<u8>>,
}

impl StartedWith {
    /// Reads it. Can block, as reads of a process's memory do.
    pub fn read(pid: Pid) -> Self {
        Self {
            environment: procfs::strings(pid, "environ"),
            command: procfs::strings(pid, "cmdline"),
        }
    }
}

/// The service of a process by what it was started with, else by its command's name; with those attributes that tell
/// its profiles apart.
pub fn service(
    pid: Pid,
    started: &StartedWith,
    told_apart: &BTreeSet<ServiceAttribute>,
) -> Service {
    let StartedWith {
        environment,
        command,
    } = started;
    from_parts(environment, command, &procfs::comm(pid), told_apart)
}

/// The service as the hook knows it, over what was known before.
pub fn with_resource(
    known: &Service,
    resource: &Resource,
    told_apart: &BTreeSet<ServiceAttribute>,
) -> Service {
    let mut service = known.clone();
    let name = clean(resource.service_name.as_bytes());
    if !name.is_empty() {
        service.name = name;
        service.namespace = clean(resource.service_namespace.as_bytes());
    }
    if let Some(told) = &resource.attributes {
        service.attributes = attributes(told_apart, |name| {
            told.get(name)
                .map_or_else(String::new, |value| clean(value.as_bytes()))
        });
    }
    service
}

/// The values of attributes, those left out that have none.
fn attributes(
    told_apart: &BTreeSet<ServiceAttribute>,
    value: impl Fn(&str) -> String,
) -> BTreeMap<ServiceAttribute, String> {
    let values = told_apart.iter().map(|it| (*it, value(it.name())));
    values.filter(|(_, value)| !value.is_empty()).collect()
}

fn from_parts(
    environment: &[Vec<u8>],
    command: &[Vec<u8>],
    comm: &str,
    told_apart: &BTreeSet<ServiceAttribute>,
) -> Service {
    let told = variable(environment, "OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let names = [
        variable(environment, "OTEL_SERVICE_NAME").map_or_else(String::new, clean),
        attribute(told, "service.name"),
        clean(program(command).unwrap_or_default().as_bytes()),
        clean(comm.as_bytes()),
    ];
    Service {
        name: names
            .into_iter()
            .find(|name| !name.is_empty())
            .unwrap_or_else(|| "unknown_service".to_owned()),
        namespace: attribute(told, "service.namespace"),
        attributes: attributes(told_apart, |name| attribute(told, name)),
    }
}

fn variable<'a>(environment: &'a [Vec<u8>], name: &str) -> Option<&'a [u8]> {
    environment
        .iter()
        .find_map(|it| it.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
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

/// The script or module that an interpreter's command line names: `python -X dev app.py` → `app`,
/// `python -m pkg.mod` → `pkg.mod`, `python /venv/bin/gunicorn app:app` → `gunicorn`.
fn program(command: &[Vec<u8>]) -> Option<String> {
    let mut arguments = command.iter().map(|it| String::from_utf8_lossy(it));
    let executable = stem(&arguments.next()?);
    if !executable.starts_with("python") && !executable.starts_with("pypy") {
        return Some(executable);
    }
    while let Some(argument) = arguments.next() {
        let Some(options) = argument.strip_prefix('-') else {
            return Some(stem(&argument)).filter(|it| !it.is_empty());
        };
        if options.starts_with('-') {
            // `--check-hash-based-pycs` is the only long option with a value.
            if options == "-check-hash-based-pycs" {
                arguments.next();
            }
            continue;
        }
        // Options may be joined (`-um mod`); one with a value ends the group.
        let Some(at) = options.find(['m', 'c', 'W', 'X']) else {
            continue;
        };
        let (_, option) = options.split_at(at);
        let (option, joined) = option.split_at(1);
        let value = if joined.is_empty() {
            arguments.next()?.into_owned()
        } else {
            joined.to_owned()
        };
        match option {
            "m" => return Some(value),
            "c" => return Some("python".to_owned()),
            _ => {}
        }
    }
    None
}

/// File name without folder and without `.py`.
fn stem(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.strip_suffix(".py").unwrap_or(name).to_owned()
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
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::{Service, clean, from_parts as from_parts_with, with_resource};
    use crate::{
        events::Resource,
        id::{Pid, ServiceAttribute},
    };

    fn from_parts(environment: &[Vec<u8>], command: &[Vec<u8>], comm: &str) -> Service {
        from_parts_with(environment, command, comm, &BTreeSet::new())
    }

    fn split(text: &str) -> Vec<Vec<u8>> {
        text.split(' ').map(|it| it.as_bytes().to_vec()).collect()
    }

    /// The environment wins over the command line, the service's name over the attributes.
    #[test]
    fn environment_first() {
        let command = split("python app.py");
        let both = split(
            "OTEL_SERVICE_NAME=shop OTEL_RESOURCE_ATTRIBUTES=service.name=x,service.namespace=a%2Cb",
        );
        let service = from_parts(&both, &command, "python");
        assert_eq!(
            (service.name.as_str(), service.namespace.as_str()),
            ("shop", "a,b")
        );
        let attributes = split("OTEL_RESOURCE_ATTRIBUTES=service.name=caf%C3%A9%2");
        assert_eq!(from_parts(&attributes, &command, "python").name, "café%2");
    }

    /// Scripts, modules and launchers are told from interpreter options.
    #[test]
    fn command_lines() {
        for (command, name) in [
            ("python app.py", "app"),
            ("/usr/bin/python3.11 -u -X dev /srv/app.py x", "app"),
            ("python3 -um pkg.mod", "pkg.mod"),
            ("python -W error -mpkg", "pkg"),
            ("python -c print(1)", "python"),
            ("/venv/bin/python /venv/bin/gunicorn app:app", "gunicorn"),
            ("uwsgi --ini x", "uwsgi"),
            ("python", "comm"),
        ] {
            assert_eq!(
                from_parts(&[], &split(command), "comm").name,
                name,
                "{command}"
            );
        }
        assert_eq!(from_parts(&[], &[], "").name, "unknown_service");
    }

    /// Attributes are taken under the name that the process gave, as far as they tell profiles apart: what
    /// does not makes no other service. The hook's word counts, if it has one.
    #[test]
    fn attributes() {
        use ServiceAttribute::{Environment, EnvironmentName, InstanceId, Version};
        let environment =
            |attributes: &str| split(&format!("OTEL_RESOURCE_ATTRIBUTES={attributes}"));
        let both = environment(
            "service.name=shop,service.version=1%2E2,deployment.environment=prod,service.instance.id=7,deployment.environment.name=",
        );
        let on = BTreeSet::from([Version, Environment, EnvironmentName]);
        let service = from_parts_with(&both, &[], "", &on);
        let expected = BTreeMap::from([
            (Version, "1.2".to_owned()),
            (Environment, "prod".to_owned()),
        ]);
        assert_eq!(service.attributes, expected);
        let other = environment("service.name=shop,service.instance.id=8");
        let [one, another] =
            [&both, &other].map(|it| from_parts_with(it, &[], "", &BTreeSet::new()));
        assert_eq!(one, another);
        let long = environment(&format!("service.instance.id={}", "é".repeat(200)));
        let of_instance = from_parts_with(&long, &[], "", &BTreeSet::from([InstanceId]));
        assert_eq!(of_instance.attributes[&InstanceId].len(), 254);

        let told = |name: &str, attributes| Resource {
            pid: Pid(1),
            service_name: name.to_owned(),
            service_namespace: String::new(),
            attributes,
        };
        // A hook of an earlier release.
        let same = with_resource(&service, &told("cart", None), &on);
        assert_eq!((same.name.as_str(), same.attributes), ("cart", expected));
        let attributes = BTreeMap::from([
            ("service.version", "2\n"),
            ("service.instance.id", "9"),
            ("host.name", "x"),
        ]);
        let attributes = attributes
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let resource = told("", Some(attributes.collect()));
        let hook = with_resource(&service, &resource, &on);
        let expected = BTreeMap::from([(Version, "2".to_owned())]);
        assert_eq!((hook.name.as_str(), hook.attributes), ("shop", expected));
    }

    /// Names are cut at a character and carry no control characters.
    #[test]
    fn names_are_cleaned() {
        assert_eq!(clean(b" a\n\xffb "), "a\u{fffd}b");
        assert_eq!(clean("é".repeat(200).as_bytes()).len(), 254);
    }
}
