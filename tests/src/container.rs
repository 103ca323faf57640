//! Containers by runc: namespaces of their own, and the control groups that Kubernetes gives them.

#![expect(
    clippy::missing_panics_doc,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test cannot go on without its container"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{matrix::Cell, process::Running, python};

/// The folders of control groups, of both versions.
const GROUPS: &str = "/sys/fs/cgroup";
const PARENT: &str = "kubepods/burstable/pod0a1b2c3d-0000-4000-8000-spanprof";

/// A running container, whose first process is an interpreter.
#[derive(Debug)]
pub struct Container {
    /// Its id: 64 hexadecimal digits.
    pub id: String,
    /// The process of runc, with the streams of the container's.
    pub running: Running,
    folder: TempDir,
}

/// Whether there is a runc; says so if not.
pub fn has_runc() -> bool {
    let has = Command::new("runc").arg("--version").output().is_ok();
    if !has {
        crate::skip("there is no runc: on Debian and Ubuntu, apt-get install runc");
    }
    has
}

impl Container {
    /// Runs a program of `tests/programs` in a container made of a cell's root, by an interpreter that is
    /// called `/tmp/app` in there; returns when it waits for the word to begin.
    pub fn start(cell: &Cell, number: u8, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let id = format!("{number:02x}").repeat(32);
        let spec = Command::new("runc")
            .arg("spec")
            .current_dir(folder.path())
            .status();
        assert!(spec.expect("runc runs").success());
        let path = folder.path().join("config.json");
        let text = fs::read_to_string(&path).expect("runc has written it");
        let mut spec: Value = serde_json::from_str(&text).expect("JSON");
        describe(&mut spec, cell, &id, arguments);
        fs::write(&path, spec.to_string()).expect("it can be written");
        let mut command = Command::new("runc");
        command
            .args(["run", "--bundle"])
            .arg(folder.path())
            .arg(&id);
        let running = Running::start(&mut command);
        running.stdout.wait_for("\"ready\"");
        Self {
            id,
            running,
            folder,
        }
    }

    /// The pid of its first process, as the host sees it.
    pub fn pid(&self) -> String {
        let output = Command::new("runc").args(["state", &self.id]).output();
        let output = output.expect("runc runs").stdout;
        let state: Value = serde_json::from_slice(&output).expect("JSON");
        state["pid"].to_string()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("runc")
            .args(["delete", "--force", &self.id])
            .output();
        let _ = &self.folder;
        remove_empty_groups(PARENT);
    }
}

/// Removes the control groups that runc leaves above a container's own, in every hierarchy.
pub(crate) fn remove_empty_groups(path: &str) {
    let hierarchies = fs::read_dir(GROUPS).into_iter().flatten().flatten();
    for hierarchy in hierarchies.map(|entry| entry.path()) {
        let mut group: PathBuf = hierarchy.join(path);
        while group != hierarchy {
            let _ = fs::remove_dir(&group);
            group.pop();
        }
    }
}

fn describe(spec: &mut Value, cell: &Cell, id: &str, arguments: &[&str]) {
    let root = cell.root.as_ref().expect("a cell with a root");
    let inside = cell.python.as_ref().expect("asked before");
    let interpreter = root.join(inside.strip_prefix("/").unwrap_or(inside));
    let program = Path::new("/spanprof/programs").join(arguments[0]);
    let process = &mut spec["process"];
    process["terminal"] = json!(false);
    process["args"] = json!(["/tmp/app", program]);
    for argument in &arguments[1..] {
        process["args"]
            .as_array_mut()
            .expect("a list")
            .push(json!(argument));
    }
    process["env"] = json!([
        "PATH=/usr/bin",
        "LC_ALL=C.UTF-8",
        "PYTHONHOME=/usr",
        "PYTHONPATH=/spanprof/programs:/spanprof/packages",
        "PYTHONDONTWRITEBYTECODE=1",
        "WITHOUT_PACKAGE=1",
    ]);
    // The checkout and the cache may be closed to everybody but their owner.
    for set in ["bounding", "effective", "permitted"] {
        if let Some(capabilities) = process["capabilities"][set].as_array_mut() {
            capabilities.push(json!("CAP_DAC_READ_SEARCH"));
        }
    }
    // Limits that this host may not let anybody raise.
    process
        .as_object_mut()
        .expect("an object")
        .remove("rlimits");
    spec["root"] = json!({"path": root, "readonly": true});
    spec["linux"]["cgroupsPath"] = json!(format!("/{PARENT}/{id}"));
    let mounts = spec["mounts"].as_array_mut().expect("a list");
    let bind = |source: &Path, destination: &str| json!({"type": "bind", "source": source, "destination": destination, "options": ["bind", "ro"]});
    mounts.push(json!({"type": "tmpfs", "source": "tmpfs", "destination": "/tmp"}));
    mounts.push(bind(&python::program(""), "/spanprof/programs"));
    mounts.push(bind(&cell.packages, "/spanprof/packages"));
    mounts.push(bind(&interpreter, "/tmp/app"));
}
