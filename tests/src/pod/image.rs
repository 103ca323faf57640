//! The root of the image: the packaged one where there is one, else one with the agent and its libraries alone.

#![expect(clippy::expect_used, reason = "a test cannot go on without its image")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::spanprof;

/// Names a folder with the unpacked image.
const VARIABLE: &str = "SPANPROF_IMAGE";
/// The image's only file.
const PROGRAM: &str = "usr/bin/spanprof";

/// Makes a root of the image's files.
pub(super) fn unpack(root: &Path) {
    fs::create_dir_all(root).expect("a folder can be made");
    if let Some(image) = env::var_os(VARIABLE) {
        let copied = Command::new("cp")
            .arg("--archive")
            .arg(Path::new(&image).join("."))
            .arg(root)
            .status();
        let image = Path::new(&image).display();
        assert!(copied.expect("cp runs").success(), "{VARIABLE}: {image}");
        return;
    }
    let binary = spanprof::binary();
    copy(&binary, &root.join(PROGRAM));
    for library in libraries(&binary) {
        let inside = library.strip_prefix("/").expect("ldd tells whole paths");
        copy(&library, &root.join(inside));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().expect("it is in a folder")).expect("a folder can be made");
    fs::copy(from, to).expect("it can be copied");
}

/// The libraries of a program, with the loader; none of a static one.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output();
    let said = String::from_utf8(output.expect("ldd runs").stdout).expect("text");
    let path = |line: &str| {
        let line = line.split_once("=>").map_or(line, |(_, path)| path).trim();
        let path = line.split_once(" (")?.0;
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    said.lines().filter_map(path).collect()
}
