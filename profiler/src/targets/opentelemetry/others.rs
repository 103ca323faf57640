//! The interpreters of a process beside its main one, each with a recipe of its own.

use std::{collections::HashMap, sync::Arc};

use profiler_common::{context::SpanRecipe, walk::ReadUser as _};

use super::{
    recipe::{NoRecipe, NodeTypes, Place},
    wanted::ContextLook,
};
use crate::{id::ProcessKey, kernel::InterpreterId};

/// Interpreters remembered; when full all are forgotten and looked at anew.
const MAX_REMEMBERED: usize = 16_384;
/// Interpreters whose recipes are worked out in one look: a process with more takes several looks.
const MAX_AT_ONCE: usize = 64;

/// How the spans of an interpreter beside the main one are read, or why they are not.
pub type OtherRecipe = Arc<Result<SpanRecipe, NoRecipe>>;

/// What the looks at other interpreters have found so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Others {
    /// By interpreter, with how many modules that had imported.
    known: HashMap<(ProcessKey, InterpreterId), (u64, OtherRecipe)>,
}

impl Others {
    /// The recipes of a process's interpreters but the main one. Those are looked at that are new, that have imported
    /// something since, or all of them if that is asked for; one that cannot be looked at now is left out.
    pub(super) fn look(
        &mut self,
        process: ProcessKey,
        wanted: &ContextLook,
        place: &Place<'_>,
        types: Option<NodeTypes>,
        interpreters: &[InterpreterId],
    ) -> Vec<(InterpreterId, OtherRecipe)> {
        let Some(types) = types else {
            return Vec::new();
        };
        if self.known.len() >= MAX_REMEMBERED {
            self.known.clear();
        }
        let mut left = MAX_AT_ONCE;
        let mut found = Vec::new();
        for &interpreter in interpreters.iter().filter(|it| it.id != 0) {
            place.memory.refill();
            let Some(count) = place.module_count(interpreter.address) else {
                continue;
            };
            let key = (process, interpreter);
            let known = self.known.get(&key).filter(|(before, recipe)| {
                *before == count && !wanted.again && still_fits(recipe, place)
            });
            if let Some((_, recipe)) = known {
                found.push((interpreter, Arc::clone(recipe)));
                continue;
            }
            if left == 0 {
                continue;
            }
            left -= 1;
            let recipe = Arc::new(work_out(interpreter, wanted, place, &types));
            self.known.insert(key, (count, Arc::clone(&recipe)));
            found.push((interpreter, recipe));
        }
        found
    }
}

/// How the spans of an interpreter are read now.
fn work_out(
    interpreter: InterpreterId,
    wanted: &ContextLook,
    place: &Place<'_>,
    types: &NodeTypes,
) -> Result<SpanRecipe, NoRecipe> {
    let address = interpreter.address;
    // Before the look at what is imported: what is imported meanwhile is noticed.
    let without = place.without_spans(address);
    let recipe = place.recipe(address, types, wanted);
    match (recipe, without) {
        (Err(NoRecipe::NoOpenTelemetry), Some(without)) => Ok(without),
        (recipe, _) => recipe,
    }
}

/// Whether what was found of an interpreter that has imported nothing since is what would be found now.
fn still_fits(recipe: &Result<SpanRecipe, NoRecipe>, place: &Place<'_>) -> bool {
    match recipe {
        Ok(recipe) if recipe.is_without_spans != 0 => {
            let count = place.memory.read_u64(recipe.runtime_context_place);
            count == Some(recipe.runtime_context)
        }
        Ok(_) => true,
        // It may have used by now what it has imported.
        Err(_) => false,
    }
}
