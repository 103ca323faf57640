//! Folded stacks, the input of flame graph tools: `root;…;leaf NUMBER`, a line for each stack.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{Projected, shorten::shown_name};
use crate::{
    measure::{Kind, Sum},
    symbolize::Frame,
};

/// The profiles of one kind as folded stacks, sorted, labels and services merged. Kernel frames end in `_[k]`, by which
/// flame graph tools choose their colour. Long names of machine code are cut. Ends in a newline unless empty.
pub fn folded(profiles: &[Projected], kind: Kind) -> String {
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    let profiles = profiles.iter().filter(|profile| profile.kind == kind);
    for row in profiles.flat_map(|profile| &profile.rows) {
        let names: Vec<String> = row.stack.iter().rev().map(|frame| name(frame)).collect();
        sums.entry(names.join(";")).or_default().merge(row.sum);
    }
    let counted = kind.terms().counted;
    let mut text = String::new();
    for (stack, sum) in sums.into_iter().filter(|(stack, _)| !stack.is_empty()) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{stack} {}", counted.of(sum));
    }
    text
}

/// A frame's name without the characters that have a meaning in the format.
fn name(frame: &Frame) -> String {
    shown_name(frame).replace(';', ":")
}
