//! The container image: only the binary, as an OCI layout in a tar file, made without a daemon.
//!
//! <https://github.com/opencontainers/image-spec>; `docker load` before Docker 25 does not know the layout and reads
//! `manifest.json` beside it.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{
    archive::{self, Entry},
    folders::{self, Folders},
    release::Release,
    sums::sha256,
};

const TITLE: &str = "spanprof";
const DESCRIPTION: &str = "Which lines of Python burn the CPU of which trace span";
const SOURCE: &str = env!("CARGO_PKG_REPOSITORY");
const LICENSES: &str = "Apache-2.0 OR MIT";
/// The path of the program. Its folder is on `PATH`, so that `kubectl exec … -- spanprof doctor` finds it.
const PROGRAM: &str = "usr/bin/spanprof";

/// Writes the image of a binary beside it.
pub(crate) fn write(binary: &Path, release: &Release, folders: &Folders) -> Result<()> {
    let image = pack(&folders::read(binary)?, release)?;
    folders::write(&folders.out.join(name(release)), image)
}

/// The image's file.
pub(crate) fn name(release: &Release) -> String {
    format!("spanprof-{}-linux-amd64.oci.tar", release.version)
}

fn pack(program: &[u8], release: &Release) -> Result<Vec<u8>> {
    let layer = layer(program, release)?;
    let packed = archive::gzip(&layer)?;
    let config = serde_json::to_vec(&config(&layer, release)?)?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &packed)],
        "annotations": labels(release)?,
    }))?;
    let tag = format!("{TITLE}:{}", release.version);
    let mut listed = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    if let Some(listed) = listed.as_object_mut() {
        let platform = json!({"architecture": "amd64", "os": "linux"});
        let names = json!({
            "org.opencontainers.image.ref.name": release.version,
            "io.containerd.image.name": format!("docker.io/library/{tag}"),
        });
        listed.insert("platform".to_owned(), platform);
        listed.insert("annotations".to_owned(), names);
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [listed],
    });
    let for_docker = json!([{
        "Config": blob(&config),
        "RepoTags": [tag],
        "Layers": [blob(&packed)],
    }]);
    let mut entries = vec![Entry::folder("blobs"), Entry::folder("blobs/sha256")];
    for bytes in [config, manifest, packed] {
        entries.push(Entry::file(blob(&bytes), bytes));
    }
    for (name, value) in [
        ("index.json", index),
        ("manifest.json", for_docker),
        ("oci-layout", json!({"imageLayoutVersion": "1.0.0"})),
    ] {
        entries.push(Entry::file(name, serde_json::to_vec(&value)?));
    }
    archive::tar(&entries, release.epoch)
}

/// The root file system.
fn layer(program: &[u8], release: &Release) -> Result<Vec<u8>> {
    let entries = [
        Entry::folder("usr"),
        Entry::folder("usr/bin"),
        Entry::program(PROGRAM, program),
    ];
    archive::tar(&entries, release.epoch)
}

/// The command and the labels of the image. The user is root: an image cannot grant capabilities, and any other user
/// would have none.
fn config(layer: &[u8], release: &Release) -> Result<Value> {
    let created = created(release)?;
    Ok(json!({
        "created": created,
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/bin"],
            "Entrypoint": [format!("/{PROGRAM}")],
            "Cmd": ["agent"],
            "Labels": labels(release)?,
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(layer))]},
        "history": [{"created": created, "created_by": "cargo xtask dist"}],
    }))
}

/// <https://github.com/opencontainers/image-spec/blob/main/annotations.md>
fn labels(release: &Release) -> Result<Value> {
    Ok(json!({
        "org.opencontainers.image.title": TITLE,
        "org.opencontainers.image.description": DESCRIPTION,
        "org.opencontainers.image.source": SOURCE,
        "org.opencontainers.image.url": SOURCE,
        "org.opencontainers.image.licenses": LICENSES,
        "org.opencontainers.image.version": release.version,
        "org.opencontainers.image.revision": release.commit,
        "org.opencontainers.image.created": created(release)?,
    }))
}

fn created(release: &Release) -> Result<String> {
    let time = std::time::UNIX_EPOCH
        .checked_add(Duration::from_secs(release.epoch))
        .context("the commit is too far in the future")?;
    Ok(humantime::format_rfc3339_seconds(time).to_string())
}

fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({
        "mediaType": kind,
        "digest": format!("sha256:{}", sha256(bytes)),
        "size": bytes.len(),
    })
}

/// The path of a blob in the layout.
fn blob(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", sha256(bytes))
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        io::{Cursor, Read as _},
    };

    use flate2::read::GzDecoder;
    use serde_json::Value;

    use super::{PROGRAM, pack};
    use crate::{release::Release, sums::sha256};

    fn release() -> Release {
        Release {
            version: "1.2.3",
            commit: "0123456789abcdef".to_owned(),
            epoch: 1_000_000_000,
        }
    }

    fn unpack(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(Cursor::new(bytes)).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            assert_eq!(entry.header().mtime().unwrap(), 1_000_000_000, "{path}");
            assert_eq!(entry.header().uid().unwrap(), 0, "{path}");
            files.insert(path, bytes);
        }
        files
    }

    fn json(files: &BTreeMap<String, Vec<u8>>, path: &str) -> Value {
        serde_json::from_slice(&files[path]).unwrap()
    }

    /// The blob that a descriptor names, after checks of its size and sum.
    fn described(files: &BTreeMap<String, Vec<u8>>, descriptor: &Value) -> Vec<u8> {
        let digest = descriptor["digest"].as_str().unwrap();
        let bytes = &files[&digest.replace("sha256:", "blobs/sha256/")];
        assert_eq!(format!("sha256:{}", sha256(bytes)), digest);
        assert_eq!(descriptor["size"], bytes.len());
        bytes.clone()
    }

    /// The index leads to the program by correct sums at each step; `manifest.json` leads to the same program.
    #[test]
    fn the_program_is_found() {
        let files = unpack(&pack(b"\x7fELF program", &release()).unwrap());
        let index = json(&files, "index.json");
        let manifest = described(&files, &index["manifests"][0]);
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let config = described(&files, &manifest["config"]);
        let config: Value = serde_json::from_slice(&config).unwrap();
        let mut layer = Vec::new();
        let packed = described(&files, &manifest["layers"][0]);
        GzDecoder::new(&*packed).read_to_end(&mut layer).unwrap();
        let sum = format!("sha256:{}", sha256(&layer));
        assert_eq!(config["rootfs"]["diff_ids"][0], sum);
        assert_eq!(unpack(&layer)[PROGRAM], b"\x7fELF program");
        assert_eq!(config["config"]["Entrypoint"][0], format!("/{PROGRAM}"));
        assert_eq!(config["created"], "2001-09-09T01:46:40Z");
        let labels = &config["config"]["Labels"];
        assert_eq!(
            labels["org.opencontainers.image.revision"],
            "0123456789abcdef"
        );
        let for_docker = &json(&files, "manifest.json")[0];
        assert_eq!(files[for_docker["Layers"][0].as_str().unwrap()], packed);
        let sum = sha256(&files[for_docker["Config"].as_str().unwrap()]);
        assert_eq!(manifest["config"]["digest"], format!("sha256:{sum}"));
    }

    /// The same program makes the same image; another program or another commit makes another image.
    #[test]
    fn bytes_depend_on_what_is_in_it() {
        let image = pack(b"program", &release()).unwrap();
        assert_eq!(image, pack(b"program", &release()).unwrap());
        assert_ne!(image, pack(b"another", &release()).unwrap());
        let another = Release {
            commit: "fedcba9876543210".to_owned(),
            ..release()
        };
        assert_ne!(image, pack(b"program", &another).unwrap());
    }
}
