//! Checks that `deploy/` knows all settings, and no other.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::file::{self, File};

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(path)
}

/// The keys that a file may have.
fn keys() -> BTreeSet<String> {
    let options = file::options();
    file::keys(&options)
        .map(|option| option.get_id().to_string())
        .collect()
}

/// Every setting is in the file of `spanprof.service`, most of them as comments with their defaults.
#[test]
fn file_of_the_unit() {
    let text = fs::read_to_string(deploy("systemd/spanprof.toml")).unwrap();
    File::parse(&text).unwrap();
    let all: Vec<&str> = text
        .lines()
        .map(|line| line.strip_prefix("# ").unwrap_or(line))
        .filter(|line| line.contains(" = ") || line.starts_with('['))
        .collect();
    let all = all.join("\n");
    File::parse(&all).unwrap_or_else(|error| panic!("{error}\n{all}"));
    let told: toml::Table = toml::from_str(&all).unwrap();
    let told: BTreeSet<String> = told.keys().cloned().collect();
    // Of no use to the only agent of a host.
    let left_out = BTreeSet::from(["lock_file".to_owned()]);
    assert_eq!(told, keys().difference(&left_out).cloned().collect());
}

/// The chart takes every setting, by a value of its own or under `config`.
#[test]
fn values_of_the_chart() {
    // By separate values, or by the downward API.
    const OWN: [&str; 12] = [
        "pyroscope_url",
        "tenant_id",
        "basic_auth_user",
        "basic_auth_password_file",
        "bearer_token_file",
        "ca_file",
        "client_certificate_file",
        "client_key_file",
        "host_name",
        "lock_file",
        "listen",
        "telemetry_otlp_endpoint",
    ];
    let text = fs::read_to_string(deploy("helm/spanprof/values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&text).unwrap();
    let taken = schema["properties"]["config"]["properties"]
        .as_object()
        .unwrap();
    let taken = taken.keys().cloned().chain(OWN.map(str::to_owned));
    assert_eq!(taken.collect::<BTreeSet<_>>(), keys());
}

/// The settings that the chart renders are taken as they are.
#[test]
fn rendered_settings() {
    let text = fs::read_to_string(deploy("helm/examples/config.yaml")).unwrap();
    let (_, block) = text.split_once("  spanprof.toml: |\n").unwrap();
    let lines = block.lines().take_while(|line| line.starts_with("    "));
    let settings: Vec<&str> = lines.map(str::trim_start).collect();
    let settings = File::parse(&settings.join("\n")).unwrap();
    assert_eq!(settings.words("frequency"), ["49"]);
    assert_eq!(settings.words("max_processes"), ["1000000"]);
    let tag = (
        "cluster".to_owned(),
        r#"with "quotes" and \ in it"#.to_owned(),
    );
    assert!(settings.tags.contains(&tag));
}
