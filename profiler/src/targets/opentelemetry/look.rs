//! What the memory of a process says about its current spans, and what need not be read again.

use std::{collections::HashMap, io, time::Duration};

use profiler_common::context::SpanRecipe;

pub use super::wanted::ContextLook;
use super::{
    others::{OtherRecipe, Others},
    recipe::{NoRecipe, NodeTypes, Place},
};
use crate::{
    id::ProcessKey,
    kernel::InterpreterId,
    targets::{
        FileId, UnreadClass,
        look::{Answer, Part, Reading},
        python::look::PythonSeen,
    },
    time::monotonic_now,
};

/// Processes and files remembered; when full all are forgotten and looked at anew.
const MAX_REMEMBERED: usize = 16_384;

/// What the memory tells.
#[derive(Clone, Debug)]
pub struct ContextSeen {
    /// How to read the current span, or why that cannot be done; `None` if the last answer stands.
    pub recipe: Option<Result<SpanRecipe, NoRecipe>>,
    /// The interpreters beside the main one, and how to read their current spans.
    pub others: Vec<(InterpreterId, OtherRecipe)>,
    /// Classes of spans that were met and that cannot be read; empty without a new recipe.
    pub unread: Vec<UnreadClass>,
    /// How long it took.
    pub took: Duration,
}

/// What is remembered of processes from one look to the next.
#[derive(Clone, Debug, Default)]
struct Remembered {
    types: HashMap<FileId, NodeTypes>,
    /// Modules that a process had imported at the last look.
    modules: HashMap<ProcessKey, u64>,
    others: Others,
}

impl Part for ContextLook {
    fn read(&self, reading: &mut Reading<'_>) -> Option<Answer> {
        let start = monotonic_now();
        // Without its interpreters nothing is found out, and what was found last stands.
        let (process, python) = (reading.process, reading.earlier::<PythonSeen>()?);
        let place = Place {
            memory: reading.memory,
            facts: &self.facts,
            globals: python.globals.and_then(|it| it.of_context),
            bias: self.bias,
        };
        let (interpreters, main) = (&python.interpreters, python.main_interpreter());
        let remembered: &mut Remembered = reading.kept();
        let has_imported = remembered.has_imported(process, place.module_count(main).unwrap_or(0));
        let recipe = (has_imported || self.again).then(|| {
            remembered
                .types(self.file, &place)
                .ok_or(NoRecipe::Missing("the types of the context's nodes"))
                .and_then(|types| place.recipe(main, &types, self))
                // What was not read counts as not there.
                .map_err(|reason| {
                    if place.memory.is_used_up() {
                        NoRecipe::TooMuch
                    } else {
                        reason
                    }
                })
        });
        let others = if interpreters.len() > 1 {
            let types = remembered.types(self.file, &place);
            let others = &mut remembered.others;
            others.look(process, self, &place, types, interpreters)
        } else {
            Vec::new()
        };
        let unread = match &recipe {
            Some(Ok(main)) => {
                let others = others
                    .iter()
                    .filter_map(|(_, it)| it.as_ref().as_ref().ok());
                let recipes: Vec<&SpanRecipe> = others.chain([main]).collect();
                place.unread(&recipes, &self.wanted)
            }
            _ => Vec::new(),
        };
        let is_new = recipe.is_some() || self.has_others || !others.is_empty();
        is_new.then(|| -> Answer {
            Box::new(ContextSeen {
                recipe,
                others,
                unread,
                took: start.elapsed(),
            })
        })
    }

    fn unreadable(&self, error: &io::Error) -> Option<Answer> {
        Some(Box::new(ContextSeen {
            recipe: Some(Err(NoRecipe::Memory(error.to_string()))),
            others: Vec::new(),
            unread: Vec::new(),
            took: Duration::ZERO,
        }))
    }
}

impl Remembered {
    /// Whether the number of modules that a process has imported differs from that at the last look.
    fn has_imported(&mut self, process: ProcessKey, count: u64) -> bool {
        if self.modules.len() >= MAX_REMEMBERED {
            self.modules.clear();
        }
        self.modules.insert(process, count) != Some(count)
    }

    fn types(&mut self, file: FileId, place: &Place<'_>) -> Option<NodeTypes> {
        if let Some(types) = self.types.get(&file)
            && place.are_node_types(types)
        {
            return Some(*types);
        }
        let types = place.node_types()?;
        if self.types.len() >= MAX_REMEMBERED {
            self.types.clear();
        }
        self.types.insert(file, types);
        Some(types)
    }
}
