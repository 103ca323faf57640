//! Looks at the memory of processes, by workers that may be abandoned: a hostile process can make a read of its memory
//! block.

pub mod looks;
pub mod memory;
