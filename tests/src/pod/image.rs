//! The root of the image: the packaged one if there is one, else one with the agent and its libraries alone.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test cannot go on without its image"
)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::spanprof;

/// Names the packaged image: an OCI layout in a tar archive, as `cargo xtask dist` makes it.
const VARIABLE: &str = "SPANPROF_IMAGE";
/// The image's only file.
const PROGRAM: &str = "usr/bin/spanprof";

/// Makes a root of the image's files.
pub(super) fn unpack(root: &Path) {
    fs::create_dir_all(root).expect("a folder can be made");
    if let Some(image) = env::var_os(VARIABLE) {
        return layers(Path::new(&image), root);
    }
    let binary = spanprof::binary();
    copy(&binary, &root.join(PROGRAM));
    for library in libraries(&binary) {
        let inside = library.strip_prefix("/").expect("ldd tells whole paths");
        copy(&library, &root.join(inside));
    }
}

/// Unpacks the layers of an image, one over the other (OCI image layout 1.0).
fn layers(image: &Path, root: &Path) {
    let layout = tempfile::tempdir().expect("a temporary folder");
    untar(image, layout.path());
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().expect("a digest");
        layout.path().join("blobs").join(digest.replace(':', "/"))
    };
    let json = |path: &Path| -> Value {
        let text = fs::read_to_string(path).expect("it is in the image");
        serde_json::from_str(&text).expect("JSON")
    };
    let index = json(&layout.path().join("index.json"));
    let manifest = json(&blob(&index["manifests"][0]));
    for layer in manifest["layers"].as_array().expect("a list") {
        untar(&blob(layer), root);
    }
}

fn untar(archive: &Path, folder: &Path) {
    let status = Command::new("tar")
        .arg("-xf")
        .arg(archive)
        .arg("-C")
        .arg(folder)
        .status();
    let archive = archive.display();
    assert!(status.expect("tar runs").success(), "{archive}");
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
