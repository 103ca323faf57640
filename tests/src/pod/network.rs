//! The network of a pod: a namespace of its own, joined to the host by a pair of interfaces, as a CNI makes it.

#![expect(
    clippy::expect_used,
    reason = "a test cannot go on without its network"
)]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The host's end, which servers listen on: of a range for measurements that is not routed (RFC 2544).
pub(super) const HOST: &str = "198.18.213.1";
/// The pod's.
pub(super) const POD: &str = "198.18.213.2";
/// What pods know the host's end as: the name in the chart's own address of the server.
pub(super) const SERVER: &str = "pyroscope";
/// The length of the prefix: both ends and no other address.
const PREFIX: u8 = 30;

/// The namespace; removed with this, and the interfaces with it.
#[derive(Debug)]
pub struct Network {
    name: String,
}

/// Whether there is `ip`; says so if not.
fn has_ip() -> bool {
    let has = Command::new("ip").arg("-Version").output().is_ok();
    if !has {
        crate::skip("there is no ip: on Debian and Ubuntu, apt-get install iproute2");
    }
    has
}

impl Network {
    /// Makes it; `None` if that is not possible, and says so.
    pub fn join() -> Option<Self> {
        if !has_ip() {
            return None;
        }
        let name = format!("spanprof-{}", std::process::id());
        let host_end = format!("sp{}", std::process::id());
        ip(&["netns", "add", &name]);
        let network = Self { name };
        let name = &network.name;
        let pair = ["link", "add", &host_end, "type", "veth", "peer", "name"];
        ip(&[&pair[..], &["eth0", "netns", name]].concat());
        ip(&["address", "add", &at(HOST), "dev", &host_end]);
        ip(&["link", "set", &host_end, "up"]);
        ip(&["-n", name, "address", "add", &at(POD), "dev", "eth0"]);
        ip(&["-n", name, "link", "set", "eth0", "up"]);
        ip(&["-n", name, "link", "set", "lo", "up"]);
        Some(network)
    }

    /// The address of the host in it, with a port.
    pub fn host(port: u16) -> String {
        format!("{HOST}:{port}")
    }

    /// The address of the pod in it, with a port.
    pub fn pod(port: u16) -> String {
        format!("{POD}:{port}")
    }

    /// The file that stands for the namespace.
    pub(super) fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "delete", &self.name])
            .output();
    }
}

fn at(address: &str) -> String {
    format!("{address}/{PREFIX}")
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output();
    let output = output.expect("ip was asked before");
    assert!(output.status.success(), "ip {arguments:?}: {output:?}");
}
