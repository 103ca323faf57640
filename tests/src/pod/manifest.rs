//! Rendered manifests, as they are in the tree; `cargo xtask deploy` makes sure that they are what the chart
//! renders.

#![expect(
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test cannot go on without its manifest"
)]

use std::{collections::BTreeMap, fs};

use serde_json::{Value, json};

use super::of_workspace;

/// The objects of a file.
#[derive(Clone, Debug)]
pub struct Manifest(Vec<Value>);

impl Manifest {
    /// An example of the chart, by its name.
    pub fn example(name: &str) -> Self {
        let path = of_workspace(&format!("deploy/helm/examples/{name}.yaml"));
        let text =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let objects = serde_saphyr::from_multiple(&text);
        Self(objects.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// An object by kind and name.
    pub(super) fn object(&self, kind: &str, name: &str) -> &Value {
        let is_it = |it: &&Value| it["kind"] == kind && it["metadata"]["name"] == name;
        let found = self.0.iter().find(is_it);
        found.unwrap_or_else(|| panic!("there is no {kind} {name}"))
    }

    /// What the pods of the `DaemonSet` are made of.
    pub fn pod(&self) -> &Value {
        let daemon_set = self.0.iter().find(|it| it["kind"] == "DaemonSet");
        &daemon_set.expect("a DaemonSet")["spec"]["template"]["spec"]
    }

    /// Its only container.
    pub fn container(&self) -> &Value {
        let containers = self.pod()["containers"].as_array().expect("a list");
        assert_eq!(containers.len(), 1);
        &containers[0]
    }

    fn container_mut(&mut self) -> &mut Value {
        let daemon_set = self.0.iter_mut().find(|it| it["kind"] == "DaemonSet");
        &mut daemon_set.expect("a DaemonSet")["spec"]["template"]["spec"]["containers"][0]
    }

    /// The capabilities that are added, without `CAP_`.
    pub fn capabilities(&self) -> Vec<String> {
        let added = &self.container()["securityContext"]["capabilities"]["add"];
        serde_json::from_value(added.clone()).expect("a list of names")
    }

    /// The path and the port that a probe asks the pod for, as `readinessProbe` does.
    pub fn probe(&self, name: &str) -> (String, u16) {
        let asks = &self.container()[name]["httpGet"];
        let ports = self.container()["ports"].as_array().expect("a list");
        let port = ports.iter().find(|it| it["name"] == asks["port"]);
        let port = port.and_then(|it| it["containerPort"].as_u64());
        let port = port.and_then(|it| u16::try_from(it).ok());
        let path = asks["path"].as_str().expect("a path").to_owned();
        (path, port.expect("a port of the container"))
    }

    /// The same with one capability less.
    #[must_use]
    pub fn without_capability(mut self, name: &str) -> Self {
        let mut left = self.capabilities();
        left.retain(|it| it != name);
        self.container_mut()["securityContext"]["capabilities"]["add"] = json!(left);
        self
    }

    /// The same with another command of the program, as `kubectl exec` would run it.
    #[must_use]
    pub fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.container_mut()["args"] = json!(arguments);
        self
    }

    /// The same with a secret of the namespace.
    #[must_use]
    pub fn with_secret(mut self, name: &str, texts: &[(&str, &str)]) -> Self {
        let texts: BTreeMap<_, _> = texts.iter().copied().collect();
        self.0
            .push(json!({"kind": "Secret", "metadata": {"name": name}, "stringData": texts}));
        self
    }

    /// The same with another variable.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        let variables = self.container_mut()["env"].as_array_mut();
        variables
            .expect("a list")
            .push(json!({"name": name, "value": value}));
        self
    }
}
