//! What is wanted of a look at the context of a process.

use std::sync::Arc;

use crate::targets::{FileId, python::detect::Facts};

/// The context's part of a look.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a question of its own"
)]
pub struct ContextLook {
    /// The file of the interpreter.
    pub file: FileId,
    /// What that file says.
    pub facts: Arc<Facts>,
    /// What was added to the file's addresses.
    pub bias: u64,
    /// Classes of spans that were met and not known.
    pub wanted: Vec<u64>,
    /// Whether to look although the process has imported nothing since the last look: what was found
    /// then no longer fits.
    pub again: bool,
    /// Whether it maps a hook.
    pub has_hook: bool,
    /// Whether the ids of spans that are not recorded are read.
    pub not_recorded_ids: bool,
    /// Whether the last look has found interpreters beside the main one.
    pub has_others: bool,
}
