//! An interpreter with OpenTelemetry in it → the recipe to read its current span.

mod classes;
mod no_recipe;
mod variable;

use std::ops::Range;

use profiler_common::{context::SpanRecipe, walk::ReadUser as _};

pub use self::no_recipe::NoRecipe;
use self::{
    classes::{Usual, learn_all, unread},
    variable::variable,
};
use super::{objects::Objects, wanted::ContextLook};
use crate::targets::{
    UnreadClass,
    look::memory::Memory,
    python::{detect::Facts, globals::GlobalsOfContext},
};

/// Writable data of an interpreter searched for its types, in bytes: that of a large program that embeds it.
const MAX_DATA: u64 = 256 << 20;
/// How much of it is in the agent's memory at a time.
const PIECE: usize = 1 << 20;
/// Items of a `SpanContext`: `SpanContext.__new__`, OpenTelemetry API 1.20 to 1.45.
const SPAN_CONTEXT_ITEMS: u16 = 6;
/// The hook's module.
const HOOK: &str = "spanprof._hook";

/// Where an interpreter lies in a process, and what is known of it.
pub struct Place<'a> {
    /// Its memory.
    pub memory: &'a Memory,
    /// Facts of its file.
    pub facts: &'a Facts,
    /// Where its global objects are, if that is known.
    pub globals: Option<GlobalsOfContext>,
    /// What was added to the addresses of the file.
    pub bias: u64,
}

/// The types of HAMT nodes, as addresses in the file: the same for every process that maps it.
pub type NodeTypes = [u64; 3];

const NODE_NAMES: [&str; 3] = ["hamt_bitmap_node", "hamt_array_node", "hamt_collision_node"];

impl Place<'_> {
    fn objects(&self) -> Option<Objects<'_>> {
        let (_, minor, _) = self.facts.version;
        Some(Objects {
            memory: self.memory,
            layout: &self.facts.layout,
            offsets: super::tables::offsets(minor, self.facts.flavour)?,
        })
    }

    /// `sys.modules` of an interpreter.
    fn modules(&self, objects: &Objects<'_>, interpreter: u64) -> Option<u64> {
        objects.pointer(interpreter + self.facts.interpreter_modules)
    }

    /// How many modules an interpreter has imported so far: a recipe is worth a look when it grows.
    pub fn module_count(&self, interpreter: u64) -> Option<u64> {
        let objects = self.objects()?;
        objects.entry_count(self.modules(&objects, interpreter)?)
    }

    /// What stands for the recipe of an interpreter that has not imported OpenTelemetry: as long as it has as many
    /// modules as now its threads are in no span.
    pub fn without_spans(&self, interpreter: u64) -> Option<SpanRecipe> {
        let objects = self.objects()?;
        // `PyDictObject.ma_used`, behind `PyObject`.
        let place = self.modules(&objects, interpreter)? + objects.object_size();
        Some(SpanRecipe {
            runtime_context_place: place,
            runtime_context: self.memory.read_u64(place)?,
            is_without_spans: 1,
            ..bytemuck::Zeroable::zeroed()
        })
    }

    /// Finds the types of HAMT nodes by their names: they are static, so some word of the writable
    /// data points to the name.
    pub fn node_types(&self) -> Option<NodeTypes> {
        let objects = self.objects()?;
        let names = self.facts.objects?.node_names;
        let mut found = [None; 3];
        let mut data = vec![0; PIECE];
        for piece in self.writable_pieces() {
            let data = data.get_mut(..usize::try_from(piece.end - piece.start).ok()?)?;
            if !self.memory.fill(piece.start, data) {
                continue;
            }
            let words = data.as_chunks::<8>().0;
            for (address, word) in (piece.start..).step_by(8).zip(words) {
                let word = u64::from_le_bytes(*word);
                let at = names
                    .iter()
                    .position(|name| name.wrapping_add(self.bias) == word);
                let Some(slot) = at.and_then(|at| found.get_mut(at)) else {
                    continue;
                };
                let class = address.wrapping_sub(objects.offsets.type_name);
                if is_type(&objects, class) {
                    *slot = Some(class.wrapping_sub(self.bias));
                }
            }
        }
        let [Some(bitmap), Some(array), Some(collision)] = found else {
            return None;
        };
        Some([bitmap, array, collision])
    }

    /// Pieces of the interpreter's writable data, of whole words: those are aligned in memory, which the start of a
    /// segment need not be.
    fn writable_pieces(&self) -> impl Iterator<Item = Range<u64>> {
        let writable = self.facts.segments.iter().filter(|it| it.writable);
        writable
            .filter(|it| it.size <= MAX_DATA)
            .flat_map(|segment| {
                let start = segment.address.wrapping_add(self.bias);
                let end = start.saturating_add(segment.size);
                let start = start.checked_next_multiple_of(8).unwrap_or(end);
                let starts = (start..end).step_by(PIECE);
                starts.map(move |start| start..end.min(start.saturating_add(PIECE as u64)))
            })
    }

    /// Whether these are the types of HAMT nodes here.
    pub fn are_node_types(&self, types: &NodeTypes) -> bool {
        self.objects().is_some_and(|objects| {
            types.iter().zip(NODE_NAMES).all(|(class, name)| {
                let class = class.wrapping_add(self.bias);
                objects.class_name(class).as_deref() == Some(name)
            })
        })
    }

    /// Works out the recipe of an interpreter.
    pub fn recipe(
        &self,
        interpreter: u64,
        nodes: &NodeTypes,
        wanted: &ContextLook,
    ) -> Result<SpanRecipe, NoRecipe> {
        let objects = self.objects().ok_or(NoRecipe::Interpreter)?;
        if self.facts.objects.is_none() {
            return Err(NoRecipe::Interpreter);
        }
        let known = self.globals.ok_or(NoRecipe::Missing(
            "None, True or the type of context variables",
        ))?;
        let modules = self.modules(&objects, interpreter);
        let modules = modules.ok_or(NoRecipe::Interpreter)?;
        let names = [
            "opentelemetry.context",
            "opentelemetry.trace.propagation",
            "opentelemetry.trace.span",
            "opentelemetry.sdk.trace",
        ];
        let found = objects
            .values(modules, names)
            .ok_or(NoRecipe::Interpreter)?;
        let [Some(context), Some(propagation), Some(span), sdk] = found else {
            return Err(NoRecipe::NoOpenTelemetry);
        };
        let mut recipe = self.way_to_the_span(&objects, &known, nodes, [context, propagation])?;
        let [span_context, not_recorded] =
            globals(&objects, span, ["SpanContext", "NonRecordingSpan"])?;
        recipe.span_context_class = span_context.ok_or(NoRecipe::Missing("SpanContext"))?;
        let recorded = match sdk {
            Some(sdk) => globals(&objects, sdk, ["_Span", "Span"])?,
            None => [None, None],
        };
        let usual = Usual {
            recorded,
            not_recorded,
        };
        learn_all(&objects, &mut recipe, &usual, wanted);
        // A hook leaves local roots.
        if wanted.has_hook {
            find_local_root(&objects, &mut recipe, modules)?;
        }
        Ok(recipe)
    }

    /// The classes of spans that were met and that none of these recipes can read.
    pub fn unread(&self, recipes: &[&SpanRecipe], wanted: &[u64]) -> Vec<UnreadClass> {
        let objects = self.objects();
        objects.map_or_else(Vec::new, |objects| unread(&objects, recipes, wanted))
    }

    /// What leads from a thread's state to the current span, whatever class that has.
    fn way_to_the_span(
        &self,
        objects: &Objects<'_>,
        known: &GlobalsOfContext,
        nodes: &NodeTypes,
        [context, propagation]: [u64; 2],
    ) -> Result<SpanRecipe, NoRecipe> {
        let variable = variable(objects, context, known.variable_type)?;
        let [span_key] = globals(objects, propagation, ["_SPAN_KEY"])?;
        let span_key = span_key.ok_or(NoRecipe::Missing("the key of the current span"))?;
        let [bitmap_node, array_node, collision_node] =
            nodes.map(|class| class.wrapping_add(self.bias));
        Ok(SpanRecipe {
            runtime_context_place: variable.runtime_context_place,
            runtime_context: variable.runtime_context,
            variable: variable.address,
            context_class: variable.context_class,
            span_key,
            variable_hash: variable.hash,
            none: known.none,
            truth: known.truth,
            thread_context: objects.offsets.thread_context,
            tuple_items: objects.offsets.tuple_items,
            values_start: objects.offsets.values_start,
            storage: objects.offsets.storage,
            dialect: objects.offsets.dialect,
            object_size: objects.offsets.object_size,
            dictionary_in_front: objects.offsets.dictionary_in_front(),
            bitmap_node,
            array_node,
            collision_node,
            ..bytemuck::Zeroable::zeroed()
        })
    }
}

/// Adds where the hook leaves the local root in a span's context, if it has left one.
fn find_local_root(
    objects: &Objects<'_>,
    recipe: &mut SpanRecipe,
    modules: u64,
) -> Result<(), NoRecipe> {
    if let Some([Some(hook)]) = objects.values(modules, [HOOK])
        && let [Some(name)] = globals(objects, hook, ["_LOCAL_ROOT"])?
        && let Some((class, storage)) =
            objects.of_tuples(recipe.span_context_class, SPAN_CONTEXT_ITEMS, name)
    {
        recipe.local_root = class;
        recipe.local_root_storage = storage;
        recipe.name_local_root = name;
    }
    Ok(())
}

/// Whether an address holds a type: its own type is `type`.
fn is_type(objects: &Objects<'_>, address: u64) -> bool {
    objects
        .class(address)
        .and_then(|class| objects.class_name(class))
        .is_some_and(|name| name == "type")
}

/// Values of a module's globals.
fn globals<const N: usize>(
    objects: &Objects<'_>,
    module: u64,
    names: [&str; N],
) -> Result<[Option<u64>; N], NoRecipe> {
    objects
        .globals(module)
        .and_then(|dictionary| objects.values(dictionary, names))
        .ok_or(NoRecipe::Missing("the dictionary of a module"))
}
