//! Objects of an interpreter that the way to the current span needs.

use std::ops::ControlFlow;

use super::global::{Global, globals};
use crate::targets::elf::Elf;

/// Objects of the interpreter that the current span is checked against. Addresses as in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Objects {
    /// `_Py_NoneStruct`.
    pub none: Global,
    /// `_Py_TrueStruct`.
    pub truth: Global,
    /// `PyContextVar_Type`.
    pub variable_type: Global,
    /// The names `hamt_bitmap_node`, `hamt_array_node` and `hamt_collision_node`: their types are
    /// not exported, and are found by them.
    pub node_names: [u64; 3],
}

/// Finds the objects by their symbols, and the node types' names by their place in the read-only data.
pub(super) fn find(elf: &Elf<'_>) -> Option<Objects> {
    let names = ["_Py_NoneStruct", "_Py_TrueStruct", "PyContextVar_Type"];
    let [none, truth, variable_type] = globals(elf, names).ok()?;
    let [bitmap, array, collision] = places(
        elf,
        ["hamt_bitmap_node", "hamt_array_node", "hamt_collision_node"],
    )?;
    Some(Objects {
        none: none?,
        truth: truth?,
        variable_type: variable_type?,
        node_names: [bitmap?, array?, collision?],
    })
}

/// Addresses of strings in the read-only data.
fn places<const N: usize>(elf: &Elf<'_>, names: [&str; N]) -> Option<[Option<u64>; N]> {
    /// More than the bytes of any of them.
    const OVERLAP: usize = 32;
    let names = names.map(|name| format!("{name}\0"));
    let mut found = [None; N];
    let start = elf.search_section(".rodata", OVERLAP, |piece| {
        for (name, found) in names.iter().zip(&mut found) {
            // The linker keeps a string that ends another one only once: what precedes does not matter.
            let at = || memchr::memmem::find(piece.bytes, name.as_bytes());
            *found = found.or_else(|| Some(piece.offset + u64::try_from(at()?).ok()?));
        }
        if found.iter().all(Option::is_some) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    Some(found.map(|place| place?.checked_add(start)))
}
