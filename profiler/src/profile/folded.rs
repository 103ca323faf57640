//! Folded stacks, what flame graph tools eat: `root;…;leaf COUNT`, a line for each stack.

use std::{collections::BTreeMap, fmt::Write as _};

use super::Profile;
use crate::symbolize::Frame;

/// The profiles as folded stacks, sorted, labels and services merged: counts are samples. Kernel frames
/// end in `_[k]`, by which flame graph tools colour them. Ends in a newline unless empty.
pub fn folded(profiles: &[Profile]) -> String {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for row in profiles.iter().flat_map(|profile| &profile.rows) {
        let names: Vec<String> = row.stack.iter().rev().map(|frame| name(frame)).collect();
        *counts.entry(names.join(";")).or_default() += row.count;
    }
    let mut text = String::new();
    for (stack, count) in counts.into_iter().filter(|(stack, _)| !stack.is_empty()) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{stack} {count}");
    }
    text
}

/// A frame's name without what the format gives a meaning of its own.
fn name(frame: &Frame) -> String {
    let name = frame.marked_name();
    name.replace(';', ":").replace(['\n', '\r'], " ")
}
