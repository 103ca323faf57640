//! What is kept of owners, over running interpreters.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use super::{Owner, OwnerFacility, Started};
use crate::{
    events::Resource,
    health::Health,
    id::{Pid, ServiceAttribute},
    kernel::NoKernel,
    targets::{
        Targets,
        facilities::{Settings, all},
        facility::Word,
        look::Looker,
        python::live::interpreters,
        registry::Known,
        report::reports,
        tests::{Spawned, all_of, errands, fork, only},
    },
};

fn targets(pid: Pid) -> Targets {
    Targets::new(
        all_of(only(vec![pid])),
        all(Settings::default()),
        Box::new(NoKernel),
        Health::default(),
        errands(&Health::default()),
    )
}

fn service_name(targets: &Targets, pid: Pid) -> String {
    let known = targets.known().find(|it| it.pid() == pid).unwrap();
    known.target().service.name.clone()
}

fn resource(pid: Pid, name: &str) -> Resource {
    Resource {
        pid,
        service_name: name.to_owned(),
        service_namespace: "store".to_owned(),
        attributes: None,
    }
}

/// What a process was started with may be known only after its hook has told its name, and then says what the hook
/// has not told: its attributes.
#[test]
fn what_comes_late_completes_what_the_hook_tells() {
    let child = Spawned::python(&interpreters().pop().unwrap());
    let targets = targets(child.pid());
    let mut process: Known = targets.known().next().unwrap().clone();
    let version = ServiceAttribute::Version;
    let facility = OwnerFacility::new(BTreeSet::from([version]));
    let mut resource = resource(child.pid(), "cart");
    process.keep::<Owner>().started = None;
    facility.name(&mut process);
    facility.take(&mut process, &resource);
    process.keep::<Owner>().started = Some(Started::read(child.pid()));
    facility.name(&mut process);
    let service = &process.target().service;
    assert_eq!((&*service.name, &*service.namespace), ("cart", "store"));
    let expected = BTreeMap::from([(version, "7".to_owned())]);
    assert_eq!(service.attributes, expected);
    // The hook's attributes are all that there are.
    resource.attributes = Some(BTreeMap::new());
    facility.take(&mut process, &resource);
    assert_eq!(process.target().service.attributes, BTreeMap::new());
}

/// A forked child is its parent's service, whatever the SDK says for want of a name and whatever its own command line
/// says by then; unless its own hook names another.
#[test]
fn a_child_is_its_parents_service() {
    for python in interpreters() {
        let parent = Spawned::python(&python);
        // What the child says of itself is never read: here it is another program's.
        let child = Spawned::other(&python);
        let mut targets = targets(parent.pid());
        targets.notice(fork(child.pid(), parent.pid()));
        for pid in [parent.pid(), child.pid()] {
            let nameless = resource(pid, "unknown_service:python");
            targets.hear(pid, &Word::Resource(&nameless));
            assert_eq!(service_name(&targets, pid), "shop");
        }
        targets.scan();
        assert_eq!(service_name(&targets, child.pid()), "shop");
        let own = resource(child.pid(), "cart");
        targets.hear(child.pid(), &Word::Resource(&own));
        assert_eq!(service_name(&targets, child.pid()), "cart");
        assert_eq!(service_name(&targets, parent.pid()), "shop");
    }
}

/// Writes a title over its command line and its environment, as `setproctitle` does.
const WITH_TITLE: &str = r#"
import sys, time
with open("/proc/self/stat", "rb") as file:
    fields = file.read().rsplit(b") ", 1)[1].split()
start, end = int(fields[45]), int(fields[48])
with open("/proc/self/mem", "r+b", buffering=0) as memory:
    memory.seek(start)
    title = eval(sys.argv[1])
    memory.write(title.ljust(end - start, b"\0")[:end - start])
print(1, flush=True)
time.sleep(60)
"#;

/// The service of a script with a title, and what has named it.
fn with_title(python: &Path, title: &str, variables: &[(&str, &str)]) -> (String, &'static str) {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("checkout_app.py");
    fs::write(&script, WITH_TITLE).unwrap();
    let mut command = Command::new(python);
    // As long as those of a real host.
    command
        .env("LONG", "x".repeat(1000))
        .envs(variables.iter().copied());
    let child = Spawned::started(command.arg(script).arg(title));
    let mut targets = targets(child.pid());
    let mut looker = Looker::default();
    for request in targets.take_requests() {
        if let Some(seen) = looker.look(&request) {
            targets.answer(seen);
        }
    }
    let report = reports(&targets).into_iter().next().unwrap();
    (report.service.name, report.service_source)
}

/// A process that has written over its command line and its environment before anybody looked is who it was started as:
/// its interpreter has copies.
#[test]
fn titles_hide_nothing() {
    for python in interpreters() {
        for title in [
            "b'worker: idle'",
            "b'worker [' + b'x' * 9999",
            "b' ' * 9999",
        ] {
            let by_name = [("OTEL_SERVICE_NAME", "checkout")];
            let by_attributes = [("OTEL_RESOURCE_ATTRIBUTES", "a=b,service.name=checkout")];
            let nameless = [("OTEL_SERVICE_NAME", "unknown_service")];
            for (variables, name) in [
                (&by_name[..], "checkout"),
                (&by_attributes, "checkout"),
                (&nameless, "checkout_app"),
                (&[], "checkout_app"),
            ] {
                let expected = (name.to_owned(), "interpreter");
                let found = with_title(&python, title, variables);
                assert_eq!(found, expected, "{} {title}", python.display());
            }
        }
    }
}
