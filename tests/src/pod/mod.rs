//! A pod by runc: what the kubelet and containerd make of a rendered `DaemonSet`, on this machine and kernel.
//!
//! In: the manifest as it was rendered, and what a node adds to it. Out: a container that runs. Nothing of the
//! manifest is copied here: what this does not know of, it refuses.

mod image;
mod manifest;
mod network;
mod seccomp;
mod spec;

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tempfile::TempDir;

pub use self::{manifest::Manifest, network::Network};
use crate::{
    container::remove_empty_groups,
    process::{Ended, Running},
};

/// The path of the pod's control group, as the kubelet names it.
const GROUP: &str = "kubepods/burstable/pod5c0de000-0000-4000-8000-spanprof";
/// Folders of the memory controller, of both versions, and the file with what is charged.
const MEMORY: [(&str, &str); 2] = [
    ("/sys/fs/cgroup/memory", "memory.usage_in_bytes"),
    ("/sys/fs/cgroup", "memory.current"),
];
/// What a node is called.
pub const NODE: &str = "node-1";

/// How many there were: each has its own id.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A running pod of one container.
#[derive(Debug)]
pub struct Pod {
    /// The process of runc, with the container's streams.
    pub running: Running,
    id: String,
    /// The bundle: gone with the pod.
    _folder: TempDir,
}

impl Pod {
    /// Starts the container of a manifest in the network of a node.
    #[expect(
        clippy::missing_panics_doc,
        clippy::expect_used,
        reason = "a test cannot go on without its pod"
    )]
    pub fn start(manifest: &Manifest, network: &Network) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:032x}{number:032x}", std::process::id());
        let root = folder.path().join("root");
        image::unpack(&root);
        let status = Command::new("runc")
            .arg("spec")
            .current_dir(folder.path())
            .status();
        assert!(status.expect("runc runs").success());
        let path = folder.path().join("config.json");
        let default = fs::read_to_string(&path).expect("runc has written it");
        let node = spec::Node {
            name: NODE,
            pod_address: network::POD,
            hosts: &[(network::SERVER, network::HOST)],
            namespace: &network.path(),
            group: &format!("/{GROUP}/{id}"),
            folder: folder.path(),
        };
        let default = serde_json::from_str(&default).expect("JSON");
        let config = spec::config(default, manifest, &node);
        fs::write(&path, config.to_string()).expect("it can be written");
        let mut command = Command::new("runc");
        command
            .args(["run", "--bundle"])
            .arg(folder.path())
            .arg(&id);
        Self {
            running: Running::start(&mut command),
            id,
            _folder: folder,
        }
    }

    /// Whether a probe of the manifest gets the answer 200 at the pod's address, as the kubelet asks.
    pub fn passes(manifest: &Manifest, probe: &str) -> bool {
        let (path, port) = manifest.probe(probe);
        answers(&path, port)
    }

    /// Bytes that the kernel charges to the container, its maps with them.
    ///
    /// # Panics
    /// If no memory controller knows it.
    pub fn memory(&self) -> u64 {
        let text = MEMORY.iter().find_map(|(controller, file)| {
            let group = Path::new(controller).join(GROUP).join(&self.id);
            fs::read_to_string(group.join(file)).ok()
        });
        let bytes = text.and_then(|text| text.trim_end().parse().ok());
        assert!(bytes.is_some(), "no memory controller knows {}", self.id);
        bytes.unwrap_or_default()
    }

    /// Asks it to end, as the kubelet does, and waits until it has.
    ///
    /// # Panics
    /// If runc cannot send the signal.
    pub fn stop(mut self) -> Ended {
        let sent = Command::new("runc")
            .args(["kill", &self.id, "TERM"])
            .output();
        assert!(
            sent.as_ref().is_ok_and(|output| output.status.success()),
            "{sent:?}"
        );
        self.take().wait()
    }

    /// Waits until it has ended by itself.
    pub fn wait(mut self) -> Ended {
        self.take().wait()
    }

    /// The process, with nothing in its place that a test could still need.
    fn take(&mut self) -> Running {
        std::mem::replace(&mut self.running, Running::start(&mut Command::new("true")))
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = Command::new("runc")
            .args(["delete", "--force", &self.id])
            .output();
        remove_empty_groups(GROUP);
    }
}

/// Whether the pod answers 200 on a path of a port.
pub fn answers(path: &str, port: u16) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect((network::POD, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        io::Result::Ok(answer)
    };
    ask().is_ok_and(|answer| answer.split(' ').nth(1) == Some("200"))
}

/// A file of the workspace, by its path below the root.
fn of_workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
