//! Why an interpreter has no recipe.

/// Why there is no recipe.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NoRecipe {
    /// The process has not imported OpenTelemetry.
    #[error("OpenTelemetry is not imported")]
    NoOpenTelemetry,
    /// OpenTelemetry is imported and was never used: its runtime context is made on first use.
    #[error("OpenTelemetry has not been used yet")]
    NotYet,
    /// The process's memory cannot be read.
    #[error("its memory cannot be read: {0}")]
    Memory(String),
    /// Reading its memory takes too long.
    #[error(
        "its memory cannot be read within 0.5 s: a page of it is on a file system (FUSE, NFS) or swap that does not answer"
    )]
    Blocked,
    /// Nobody is left who could look.
    #[error(
        "it was not looked at: too many other processes keep their memory from being read; `spanprof doctor` names them"
    )]
    NoWorker,
    /// The interpreter's version or build is not one whose context can be read.
    #[error("the context of this interpreter cannot be read")]
    Interpreter,
    /// The runtime context is one of the application's own (`OTEL_PYTHON_CONTEXT`).
    #[error("the runtime context is not OpenTelemetry's own: {0}")]
    RuntimeContext(String),
    /// Finding it takes more reads than may be made.
    #[error(
        "the agent does not read more than {} words of its memory at a time, and that is not enough for its modules",
        crate::targets::look::memory::MAX_READS
    )]
    TooMuch,
    /// Something that should be there was not found.
    #[error("{0} was not found")]
    Missing(&'static str),
}
