//! Interpreters on file systems that show their files to one user only, and not to root: what the files hold is read
//! from the memory of the process, and all is as usual but for the names of machine code.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use tests::{
    matrix::{self, Cell},
    python::Workload,
};

use crate::matrix::functions_are_right;

macro_rules! cells {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            on_a_private_mount($name);
        })*
    };
}

cells!(
    of_3_11: "3.11-debian",
    of_3_13: "3.13-debian",
    of_3_14: "3.14-debian",
    of_3_15: "3.15-debian",
);

/// Starts a program of the cell's folder, by its interpreter on a private mount.
fn start(cell: &Cell, files: &Path, script: &str) -> Workload {
    let root = cell.root.as_ref().unwrap();
    let python = cell.python.as_ref().unwrap();
    let name = python.file_name().unwrap();
    let copy = files.join(name);
    fs::copy(root.join(python.strip_prefix("/").unwrap()), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let files = Path::new("/").join(files.strip_prefix(root).unwrap());
    let mut command = cell.command(&[
        cell.program("private_mount.py").to_str().unwrap(),
        files.to_str().unwrap(),
        name.to_str().unwrap(),
        cell.program(script).to_str().unwrap(),
    ]);
    command
        .env("WITHOUT_PACKAGE", "1")
        .env("PYTHONHOME", "/usr");
    Workload::start(&mut command)
}

fn on_a_private_mount(name: &str) {
    let Some(cell) = matrix::cell(name) else {
        return;
    };
    let root = cell.root.as_ref().unwrap();
    let files = tempfile::tempdir_in(root.join("tmp")).unwrap();
    let workload = start(&cell, files.path(), "remote_parent.py");
    let exe = format!("/proc/{}/exe", workload.pid());
    let opened = fs::File::open(exe).map(|_| ());
    let refused = opened.map_err(|error| error.kind());
    assert_eq!(refused, Err(std::io::ErrorKind::PermissionDenied));
    let functions = [
        ("in_server", "server", "server"),
        ("in_child", "child", "server"),
        ("in_none", "", ""),
    ];
    functions_are_right(workload, &[], &functions);
}
