//! Objects of an interpreter that the way to the current span needs.

use super::{
    global::{Global, globals},
    version::strings,
};
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
    let (start, strings) = strings(elf)?;
    let place = |name: &str| {
        let name = format!("{name}\0");
        // The linker keeps a string that ends another one only once: what precedes does not matter.
        let at = memchr::memmem::find(strings, name.as_bytes())?;
        Some(start + u64::try_from(at).ok()?)
    };
    Some(Objects {
        none: none?,
        truth: truth?,
        variable_type: variable_type?,
        node_names: [
            place("hamt_bitmap_node")?,
            place("hamt_array_node")?,
            place("hamt_collision_node")?,
        ],
    })
}
