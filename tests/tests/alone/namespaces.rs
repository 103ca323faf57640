//! Processes that see other files than the agent does: in containers, with another root, or with files that were
//! deleted or replaced.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Command,
};

use serde_json::Value;
use tests::{
    container::{Container, has_runc},
    matrix::{Cell, cell},
    python::{self, Workload},
    spanprof::{self, Recorded, Recording},
};

/// Two interpreters, each with its own root.
fn two_cells() -> Option<(Cell, Cell)> {
    Some((cell("3.11-debian")?, cell("3.13-debian")?))
}

fn version(pid: &str) -> String {
    let ended = spanprof::run(&["doctor", "--json", "--no-sample", "--pid", pid]);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    let version = report["processes"][0]["version"].as_str();
    assert!(version.is_some(), "{report}");
    version.unwrap_or_default().to_owned()
}

/// Most samples of a function are in a span, and none in another.
fn is_in_span(recorded: &Recorded, function: &str, span: &str, container: Option<&str>) {
    let (mut right, mut all) = (0, 0);
    for row in recorded.profile.rows_in(function) {
        if container.is_some_and(|id| row.label("container_id") != id) {
            continue;
        }
        let samples = row.nanoseconds / recorded.profile.period;
        all += samples;
        let found = row.label("active_span_name");
        assert!(found == span || found.is_empty(), "{function}: {found}");
        right += samples * i64::from(found == span);
    }
    assert!(
        right > 0 && right * 2 > all,
        "{right} of {all} samples of {function}"
    );
}

/// Two containers with another interpreter each at the very same path, in separate namespaces: the agent
/// recognises each, with its spans, and its samples carry its id.
#[test]
fn containers() {
    let Some((older, newer)) = two_cells() else {
        return;
    };
    if !has_runc() {
        return;
    }
    let recording = Recording::start(&["--frequency", "499"]);
    let mut containers = [
        Container::start(&older, 0xa1, &["two_spans.py"]),
        Container::start(&newer, 0xb2, &["two_spans.py"]),
    ];
    let versions = containers.each_ref().map(|it| version(&it.pid()));
    assert!(versions[0].starts_with("3.11."), "{versions:?}");
    assert!(versions[1].starts_with("3.13."), "{versions:?}");
    for container in &mut containers {
        container.running.send_line("begin");
        container.running.stdout.wait_for("\"done\"");
    }
    let recorded = recording.stop();
    for container in &containers {
        is_in_span(&recorded, "in_child", "child", Some(&container.id));
        is_in_span(&recorded, "in_another", "another", Some(&container.id));
    }
    let strangers = recorded
        .profile
        .rows_in("in_child")
        .into_iter()
        .filter(|row| {
            !containers
                .iter()
                .any(|it| row.label("container_id") == it.id)
        });
    assert_eq!(strangers.count(), 0);
}

/// Namespaces of every kind that a process can have without being root on the host.
#[test]
fn every_namespace() {
    python::with_newest(|python| {
        // As the owner of the interpreter: in a user namespace, even root may not enter the home of another
        // user if it is closed to others.
        let owner = fs::symlink_metadata(&python.path).unwrap();
        let (user, group) = (owner.uid().to_string(), owner.gid().to_string());
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &user, "--regid", &group, "--clear-groups"]);
        let may = Command::new("setpriv")
            .args(command.get_args())
            .args(["unshare", "--user", "true"])
            .status();
        if !may.unwrap().success() {
            return tests::skip("this kernel lets no ordinary user make a namespace of users");
        }
        command.args([
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
        ]);
        command.args(["--cgroup", "--uts", "--ipc", "--net", "--mount-proc"]);
        command
            .arg(&python.path)
            .arg(python::program("two_spans.py"));
        for (name, value) in python.command().get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let recording = Recording::start(&["--frequency", "499"]);
        let mut workload = Workload::start(&mut command);
        workload.begin();
        workload.facts("done");
        let recorded = recording.stop();
        is_in_span(&recorded, "in_child", "child", None);
        is_in_span(&recorded, "in_root", "root", None);
    });
}

fn executable(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).unwrap();
}

/// An interpreter that was deleted while it runs, and one whose path holds another by now: an upgrade. The
/// old process is what it was, a new one what is there now.
#[test]
fn replaced_executables() {
    let Some((older, newer)) = two_cells() else {
        return;
    };
    let inside = |cell: &Cell| {
        let root = cell.root.clone().unwrap();
        let path = cell.python.clone().unwrap();
        root.join(path.strip_prefix("/").unwrap())
    };
    // Within both roots, so that each finds its own library.
    let start = |cell: &Cell, python: &Path| {
        cell.with_python(python).start(
            "two_spans.py",
            &[("WITHOUT_PACKAGE", "1"), ("PYTHONHOME", "/usr")],
        )
    };
    let folder = tempfile::tempdir_in(older.root.clone().unwrap().join("tmp")).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = folder.path().join("python");
    let seen = Path::new("/tmp")
        .join(folder.path().file_name().unwrap())
        .join("python");
    executable(&inside(&older), &path);
    let mut old = start(&older, &seen);
    // As package managers do it: a new file is moved over the old one.
    let fresh = folder.path().join("python.new");
    executable(&inside(&newer), &fresh);
    fs::rename(&fresh, &path).unwrap();
    assert!(version(&old.pid()).starts_with("3.11."));
    let recording = Recording::start(&["--frequency", "499"]);
    old.begin();
    old.facts("done");
    // Deleted now, with nothing in its place.
    fs::remove_file(&path).unwrap();
    assert!(version(&old.pid()).starts_with("3.11."));
    let recorded = recording.stop();
    is_in_span(&recorded, "in_child", "child", None);
}
