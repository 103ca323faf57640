//! The variable in which OpenTelemetry keeps the current context.

use profiler_common::walk::ReadUser as _;

use super::NoRecipe;
use crate::targets::opentelemetry::objects::Objects;

/// OpenTelemetry's context variable.
pub(super) struct Variable {
    /// Where the pointer to the runtime context is, and what it is now.
    pub(super) runtime_context_place: u64,
    pub(super) runtime_context: u64,
    /// The variable itself.
    pub(super) address: u64,
    /// Its hash, as a HAMT uses it.
    pub(super) hash: u32,
    /// The class of what it holds.
    pub(super) context_class: u64,
}

/// Finds it by the module that has it.
pub(super) fn variable(
    objects: &Objects<'_>,
    module: u64,
    variable_type: u64,
) -> Result<Variable, NoRecipe> {
    /// `PyContextVar.var_default`, behind `PyObject`.
    const DEFAULT: u64 = 8;
    let (runtime_context_place, runtime_context) = objects
        .pointer(module + objects.object_size())
        .and_then(|dictionary| objects.place(dictionary, "_RUNTIME_CONTEXT"))
        .ok_or(NoRecipe::Missing("the runtime context"))?;
    let address = objects
        .attribute(runtime_context, "_current_context")
        .filter(|&variable| objects.class(variable) == Some(variable_type));
    let Some(address) = address else {
        return Err(without_variable(objects, runtime_context));
    };
    let read = || {
        let hash = objects
            .memory
            .read_u64(address + objects.offsets.variable_hash)?;
        let default = objects.pointer(address + objects.object_size() + DEFAULT)?;
        Some(Variable {
            runtime_context_place,
            runtime_context,
            address,
            hash: fold(hash),
            context_class: objects.class(default)?,
        })
    };
    read().ok_or(NoRecipe::Missing("the default of the context variable"))
}

/// Why a runtime context has no variable.
fn without_variable(objects: &Objects<'_>, runtime_context: u64) -> NoRecipe {
    let class = objects
        .class(runtime_context)
        .and_then(|class| objects.class_name(class))
        .unwrap_or_default();
    match class.as_str() {
        "NoneType" => NoRecipe::NotYet,
        // Its own class, whose instance is not finished or not of a shape that is known.
        "ContextVarsRuntimeContext" => NoRecipe::Missing("the context variable"),
        _ => NoRecipe::RuntimeContext(class),
    }
}

/// `hamt_hash` (`Python/hamt.c`): 64 bits folded to 32, with -1 kept for errors.
fn fold(hash: u64) -> u32 {
    let low = hash & u64::from(u32::MAX);
    match u32::try_from(low ^ hash >> 32) {
        Ok(folded) if folded != u32::MAX => folded,
        _ => u32::MAX - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::fold;

    /// As `hamt_hash` computes it.
    #[test]
    fn hashes_are_folded() {
        assert_eq!(fold(0x0000_0001_0000_0002), 3);
        assert_eq!(fold(0xffff_ffff_0000_0000), 0xffff_fffe);
    }
}
