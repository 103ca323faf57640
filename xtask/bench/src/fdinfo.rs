//! The kernel's data on the BPF programs and maps that a process has open.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

/// The numbers of one program or map, by their names in fdinfo.
pub(crate) type Object = BTreeMap<String, f64>;

/// The fdinfo of each BPF program and map that the agent has open, by kind and id: one may be
/// open more than once.
pub(crate) fn bpf_objects(pid: u32) -> Result<BTreeMap<String, Object>> {
    let folder = format!("/proc/{pid}/fdinfo");
    let mut objects = BTreeMap::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("failed to list {folder}"))? {
        // A file may have been closed meanwhile.
        let Ok(text) = entry
            .map(|entry| entry.path())
            .and_then(std::fs::read_to_string)
        else {
            continue;
        };
        let fields: Object = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?)))
            .collect();
        for id in ["prog_id", "map_id"] {
            // A link also names its program, but has no program type.
            if let Some(number) = fields.get(id)
                && (fields.contains_key("prog_type") || fields.contains_key("map_type"))
                && !fields.contains_key("link_id")
            {
                objects.insert(format!("{id} {number}"), fields.clone());
            }
        }
    }
    Ok(objects)
}
