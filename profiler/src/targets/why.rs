//! Why a process is looked at.

/// Why to look at a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It is new, or it may have imported something.
    Imports,
    /// A thread runs in an interpreter that the kernel knows nothing of.
    UnknownInterpreter,
    /// Something was not there yet: it is looked for again, after longer and longer pauses.
    NotYet,
    /// What was found does not fit.
    Misfit,
    /// It does not fit for a reason that is new.
    NewMisfit,
}
