//! From a manifest to runc's configuration: what the kubelet and containerd do with each field.

#![expect(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test cannot go on with a field whose meaning is not known"
)]

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::{manifest::Manifest, seccomp};

/// What a node adds to a manifest.
pub(super) struct Node<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// The address of the pod.
    pub(super) pod_address: &'a str,
    /// Names that pods can look up, with their addresses.
    pub(super) hosts: &'a [(&'a str, &'a str)],
    /// The file of the network namespace.
    pub(super) namespace: &'a Path,
    /// The control group of the container.
    pub(super) group: &'a str,
    /// Where volumes are made; the image's root is the folder `root` in it.
    pub(super) folder: &'a Path,
}

/// What containerd gives a container that drops nothing: `oci.WithDefaultUnixCaps`-like, Docker's list.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];
/// Where containers look for programs if the image does not say.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Fields of a pod that say where and how often it runs, or that only the API server reads.
const OF_SCHEDULING: [&str; 8] = [
    "serviceAccountName",
    "automountServiceAccountToken",
    "enableServiceLinks",
    "terminationGracePeriodSeconds",
    "tolerations",
    "affinity",
    "priorityClassName",
    "nodeSelector",
];
/// Fields of a container that the kubelet acts on while it runs, or before.
const OF_KUBELET: [&str; 7] = [
    "name",
    "image",
    "imagePullPolicy",
    "ports",
    "startupProbe",
    "readinessProbe",
    "livenessProbe",
];

/// An object whose fields are taken one by one, so that none is forgotten.
struct Fields<'a> {
    of: &'a str,
    left: Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn of(of: &'a str, value: &Value) -> Self {
        let left = match value {
            Value::Object(fields) => fields.clone(),
            Value::Null => Map::new(),
            other => panic!("{of} is no object: {other}"),
        };
        Self { of, left }
    }

    fn take(&mut self, name: &str) -> Value {
        self.left.remove(name).unwrap_or_default()
    }

    fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.left.remove(*name);
        }
    }

    /// Fails if a field is left: it would mean something in a pod.
    fn done(self) {
        let left: Vec<_> = self.left.keys().collect();
        assert!(left.is_empty(), "{}: what do {left:?} mean?", self.of);
    }
}

/// The configuration: `config`, as `runc spec` writes it, with everything that the manifest says.
pub(super) fn config(mut config: Value, manifest: &Manifest, node: &Node<'_>) -> Value {
    let mut pod = Fields::of("pod", manifest.pod());
    pod.ignore(&OF_SCHEDULING);
    pod.take("containers");
    let volumes = pod.take("volumes");
    assert_ne!(
        pod.take("hostNetwork"),
        true,
        "the pod has a network of its own"
    );
    let shares_pids = pod.take("hostPID") == true;
    pod.done();

    let mut container = Fields::of("container", manifest.container());
    container.ignore(&OF_KUBELET);
    let process = &mut config["process"];
    process["terminal"] = json!(false);
    process["args"] = json!(
        [
            list(&container.take("command")),
            list(&container.take("args"))
        ]
        .concat()
    );
    process["env"] = json!(environment(&container.take("env"), node));
    // The machine of the tests may not allow raising them; containerd sets none.
    process
        .as_object_mut()
        .expect("an object")
        .remove("rlimits");
    limit(&mut config, &container.take("resources"));
    let mounts = mounts(&container.take("volumeMounts"), &volumes, manifest, node);
    config["mounts"]
        .as_array_mut()
        .expect("a list")
        .extend(mounts);
    secure(&mut config, &container.take("securityContext"));
    container.done();

    config["root"]["path"] = json!(node.folder.join("root"));
    config["hostname"] = json!(format!("{}-pod", node.name));
    config["linux"]["cgroupsPath"] = json!(node.group);
    let namespaces = config["linux"]["namespaces"]
        .as_array_mut()
        .expect("a list");
    namespaces.retain(|it| !(shares_pids && it["type"] == "pid"));
    for namespace in namespaces.iter_mut().filter(|it| it["type"] == "network") {
        namespace["path"] = json!(node.namespace);
    }
    config
}

/// A list of words.
fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn environment(variables: &Value, node: &Node<'_>) -> Vec<String> {
    let mut all = vec![PATH.to_owned()];
    for variable in list(variables) {
        let mut fields = Fields::of("a variable", &variable);
        let name = fields.take("name");
        let from = fields.take("valueFrom");
        let value = match from["fieldRef"]["fieldPath"].as_str() {
            None => fields.take("value"),
            Some("spec.nodeName") => json!(node.name),
            Some("status.podIP") => json!(node.pod_address),
            Some(other) => panic!("what is {other}?"),
        };
        fields.done();
        let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
        all.push(format!("{}={}", text(&name), text(&value)));
    }
    all
}

/// Limits of the control group; requests only decide on which node a pod runs.
fn limit(config: &mut Value, resources: &Value) {
    let mut resources = Fields::of("resources", resources);
    resources.take("requests");
    let mut limits = Fields::of("limits", &resources.take("limits"));
    resources.done();
    if let Some(memory) = limits.take("memory").as_str() {
        config["linux"]["resources"]["memory"]["limit"] = json!(bytes(memory));
    }
    limits.done();
}

/// A quantity of Kubernetes in bytes.
fn bytes(quantity: &str) -> u64 {
    let units = [("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30)];
    let in_unit = units.iter().find_map(|(suffix, unit)| {
        let number: u64 = quantity.strip_suffix(suffix)?.parse().ok()?;
        Some(number * unit)
    });
    in_unit
        .or_else(|| quantity.parse().ok())
        .unwrap_or_else(|| panic!("how many bytes are {quantity}?"))
}

fn secure(config: &mut Value, context: &Value) {
    let mut context = Fields::of("securityContext", context);
    assert_ne!(context.take("privileged"), true, "nothing would be tested");
    let user = |value: Value| value.as_u64().unwrap_or(0);
    let process = &mut config["process"];
    process["user"] = json!({
        "uid": user(context.take("runAsUser")),
        "gid": user(context.take("runAsGroup")),
    });
    process["noNewPrivileges"] = json!(context.take("allowPrivilegeEscalation") == false);
    let capabilities = capabilities(&context.take("capabilities"));
    // No inheritable and no ambient ones: only root has any (KEP-2763 is open).
    process["capabilities"] = json!({
        "bounding": capabilities,
        "effective": capabilities,
        "permitted": capabilities,
    });
    config["root"]["readonly"] = json!(context.take("readOnlyRootFilesystem") == true);
    let kernel = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    match context.take("seccompProfile")["type"].as_str() {
        Some("RuntimeDefault") => {
            config["linux"]["seccomp"] = seccomp::runtime_default(&capabilities, &kernel);
        }
        // What Kubernetes does by default, but for kubelets with SeccompDefault.
        None | Some("Unconfined") => {}
        other => panic!("what is {other:?}?"),
    }
    // Without a profile in the configuration, runc keeps that of its caller.
    let profile = context.take("appArmorProfile");
    assert_eq!(profile["type"], "Unconfined", "this knows no other profile");
    context.done();
}

fn capabilities(value: &Value) -> Vec<String> {
    let mut fields = Fields::of("capabilities", value);
    let (dropped, added) = (list(&fields.take("drop")), list(&fields.take("add")));
    fields.done();
    let drops = |name: &str| dropped.iter().any(|it| it == "ALL" || it == name);
    let kept = DEFAULT_CAPABILITIES.iter().filter(|name| !drops(name));
    let added = added.iter().filter_map(Value::as_str);
    kept.copied()
        .chain(added)
        .map(|name| format!("CAP_{name}"))
        .collect()
}

/// Mounts of a container, with the volumes that they name made in the folder.
fn mounts(wanted: &Value, volumes: &Value, manifest: &Manifest, node: &Node<'_>) -> Vec<Value> {
    let mut mounts = Vec::new();
    for mount in list(wanted) {
        let mut fields = Fields::of("a mount", &mount);
        let name = fields.take("name");
        let destination = fields.take("mountPath");
        let access = if fields.take("readOnly") == true {
            "ro"
        } else {
            "rw"
        };
        fields.done();
        let volumes = list(volumes);
        let volume = volumes.iter().find(|it| it["name"] == name);
        let source = make_volume(volume.expect("a volume of that name"), manifest, node);
        mounts.push(bind(&source, &destination, access));
    }
    // Every pod has these two files of the kubelet.
    let mut hosts = "127.0.0.1 localhost\n".to_owned();
    for (name, address) in node.hosts {
        hosts.push_str(&[address, " ", name, "\n"].concat());
    }
    for (name, text) in [("hosts", hosts), ("resolv.conf", String::new())] {
        let path = node.folder.join(name);
        fs::write(&path, text).expect("it can be written");
        mounts.push(bind(&path, &json!(format!("/etc/{name}")), "ro"));
    }
    mounts
}

fn bind(source: &Path, destination: &Value, access: &str) -> Value {
    json!({"type": "bind", "source": source, "destination": destination, "options": ["rbind", access]})
}

/// The folder of a volume.
fn make_volume(volume: &Value, manifest: &Manifest, node: &Node<'_>) -> PathBuf {
    let mut fields = Fields::of("a volume", volume);
    let name = fields.take("name");
    let folder = node
        .folder
        .join("volumes")
        .join(name.as_str().expect("a name"));
    fs::create_dir_all(&folder).expect("a folder can be made");
    let (empty, settings) = (fields.take("emptyDir"), fields.take("configMap"));
    let secret = fields.take("secret");
    fields.done();
    if !secret.is_null() {
        write_secret(&secret, manifest, &folder);
        return folder;
    }
    if !empty.is_null() {
        let mut empty = Fields::of("emptyDir", &empty);
        // Medium and size do not matter for rights.
        empty.ignore(&["medium", "sizeLimit"]);
        empty.done();
        return folder;
    }
    let mut source = Fields::of("configMap", &settings);
    let name = source.take("name");
    source.done();
    let object = manifest.object("ConfigMap", name.as_str().expect("a name"));
    for (file, text) in object["data"].as_object().into_iter().flatten() {
        fs::write(folder.join(file), text.as_str().expect("text")).expect("it can be written");
    }
    folder
}

/// The keys of a secret that a volume asks for, as files.
fn write_secret(volume: &Value, manifest: &Manifest, folder: &Path) {
    let mut source = Fields::of("a secret", volume);
    let (name, items) = (source.take("secretName"), source.take("items"));
    let mode = source.take("defaultMode");
    // Kubernetes' YAML takes a number with a leading zero for octal, ours for one with a fraction.
    let octal = |digits: &str| u32::from_str_radix(digits, 8).ok();
    let mode = match &mode {
        Value::String(text) => octal(text.trim_start_matches("0o")),
        Value::Number(number) if number.is_f64() => octal(&format!("{number}").replace(".0", "")),
        number => number.as_u64().and_then(|mode| mode.try_into().ok()),
    };
    let mode = mode.unwrap_or_else(|| panic!("no mode: {volume}"));
    source.done();
    let object = manifest.object("Secret", name.as_str().expect("a name"));
    for item in list(&items) {
        let mut item = Fields::of("a key of a secret", &item);
        let (key, path) = (item.take("key"), item.take("path"));
        item.done();
        let text = &object["stringData"][key.as_str().expect("a key")];
        let path = folder.join(path.as_str().expect("a path"));
        fs::write(&path, text.as_str().expect("text")).expect("it can be written");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("it can be closed");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::{Node, bytes, config};
    use crate::pod::manifest::Manifest;

    fn of_example(manifest: &Manifest, folder: &Path) -> Value {
        let node = Node {
            name: "node-7",
            pod_address: "192.0.2.2",
            hosts: &[("pyroscope", "192.0.2.1")],
            namespace: Path::new("/run/netns/a"),
            group: "/pods/a",
            folder,
        };
        let of_runc = json!({
            "process": {"rlimits": []},
            "root": {},
            "mounts": [],
            "linux": {"namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "mount"}]},
        });
        config(of_runc, manifest, &node)
    }

    /// The pod has what the chart asks for, and nothing else.
    #[test]
    fn of_the_chart() {
        let manifest = Manifest::example("default");
        let folder = tempfile::tempdir().unwrap();
        let made = of_example(&manifest, folder.path());
        let process = &made["process"];
        assert_eq!(process["args"], json!(["/usr/bin/spanprof", "agent"]));
        assert_eq!(process["noNewPrivileges"], true);
        assert_eq!(
            process["capabilities"]["bounding"]
                .as_array()
                .unwrap()
                .len(),
            6
        );
        assert_eq!(process["capabilities"]["ambient"], Value::Null);
        let variables = process["env"].as_array().unwrap();
        assert!(variables.contains(&json!("SPANPROF_HOST_NAME=node-7")));
        assert_eq!(made["root"]["readonly"], true);
        assert_eq!(made["linux"]["resources"]["memory"]["limit"], 256 << 20);
        let namespaces = made["linux"]["namespaces"].as_array().unwrap();
        assert!(namespaces.iter().all(|it| it["type"] != "pid"));
        assert!(namespaces.contains(&json!({"type": "network", "path": "/run/netns/a"})));
        assert!(
            made["linux"]["seccomp"]["syscalls"]
                .as_array()
                .unwrap()
                .len()
                > 1
        );
        // Nothing of the host but the pod's own files, and nothing to write to but a folder in memory.
        for mount in made["mounts"].as_array().unwrap() {
            let source = Path::new(mount["source"].as_str().unwrap());
            assert!(source.starts_with(folder.path()), "{mount}");
            let access = if mount["destination"] == "/run" {
                "rw"
            } else {
                "ro"
            };
            assert_eq!(mount["options"][1], access, "{mount}");
        }
        let less = of_example(&manifest.without_capability("SYSLOG"), folder.path());
        let left = less["process"]["capabilities"]["effective"]
            .as_array()
            .unwrap();
        assert_eq!(left.len(), 5);
        assert!(!left.contains(&json!("CAP_SYSLOG")));
    }

    #[test]
    fn quantities() {
        assert_eq!(bytes("96Mi"), 96 << 20);
        assert_eq!(bytes("1Gi"), 1 << 30);
        assert_eq!(bytes("4096"), 4096);
    }
}
