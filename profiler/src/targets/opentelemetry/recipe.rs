//! An interpreter with OpenTelemetry in it → the recipe to read its current span.

use profiler_common::{
    context::{MAX_SPAN_CLASSES, SpanClass, SpanRecipe},
    walk::ReadUser as _,
};

use super::objects::Objects;
use crate::targets::look::memory::Memory;
use crate::targets::python::detect::{Facts, Objects as KnownObjects};

/// Writable data of an interpreter searched for its types, in bytes.
const MAX_DATA: u64 = 16 << 20;
/// Items of a `SpanContext`: `SpanContext.__new__`, OpenTelemetry API 1.20 to 1.45.
const SPAN_CONTEXT_ITEMS: u16 = 6;
/// The hook's module.
const HOOK: &str = "spanprof._hook";
/// The method that says a span's context.
const GETTER: &str = "get_span_context";

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
    /// Something that should be there was not found.
    #[error("{0} was not found")]
    Missing(&'static str),
}

/// Where an interpreter lies in a process, and what is known of it.
pub struct Place<'a> {
    /// Its memory.
    pub memory: &'a Memory,
    /// Facts of its file.
    pub facts: &'a Facts,
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
        for segment in self.facts.segments.iter().filter(|it| it.writable) {
            if segment.size > MAX_DATA {
                continue;
            }
            let mut data = vec![0; usize::try_from(segment.size).ok()?];
            let start = segment.address.wrapping_add(self.bias);
            if !self.memory.fill(start, &mut data) {
                continue;
            }
            // Words are aligned in memory, which the segment's start need not be.
            let skip = start.wrapping_neg() % 8;
            let words = data.get(usize::try_from(skip).ok()?..)?.as_chunks::<8>().0;
            for (index, word) in words.iter().enumerate() {
                let word = u64::from_le_bytes(*word);
                let at = names
                    .iter()
                    .position(|name| name.wrapping_add(self.bias) == word);
                let Some(slot) = at.and_then(|at| found.get_mut(at)) else {
                    continue;
                };
                let address = start + skip + 8 * u64::try_from(index).ok()?;
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

    /// Whether these are the types of HAMT nodes here.
    pub fn are_node_types(&self, types: &NodeTypes) -> bool {
        self.objects().is_some_and(|objects| {
            types.iter().zip(NODE_NAMES).all(|(class, name)| {
                let class = class.wrapping_add(self.bias);
                objects.class_name(class).as_deref() == Some(name)
            })
        })
    }

    /// Works out the recipe of an interpreter. `wanted` are classes of spans that were met and not known.
    /// `has_hook` says that the process maps a hook, which leaves local roots.
    pub fn recipe(
        &self,
        interpreter: u64,
        nodes: &NodeTypes,
        wanted: &[u64],
        has_hook: bool,
    ) -> Result<SpanRecipe, NoRecipe> {
        let objects = self.objects().ok_or(NoRecipe::Interpreter)?;
        let known = self.facts.objects.ok_or(NoRecipe::Interpreter)?;
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
        let [span_context, non_recording] =
            globals(&objects, span, ["SpanContext", "NonRecordingSpan"])?;
        recipe.span_context_class = span_context.ok_or(NoRecipe::Missing("SpanContext"))?;
        let [recording, base] = match sdk {
            Some(sdk) => globals(&objects, sdk, ["_Span", "Span"])?,
            None => [None, None],
        };
        let usual = [recording, non_recording, base].into_iter().flatten();
        learn_all(&objects, &mut recipe, usual, wanted);
        if has_hook {
            find_local_root(&objects, &mut recipe, modules)?;
        }
        Ok(recipe)
    }

    /// What leads from a thread's state to the current span, whatever class that has.
    fn way_to_the_span(
        &self,
        objects: &Objects<'_>,
        known: &KnownObjects,
        nodes: &NodeTypes,
        [context, propagation]: [u64; 2],
    ) -> Result<SpanRecipe, NoRecipe> {
        let variable_type = known.variable_type.wrapping_add(self.bias);
        let variable = variable(objects, context, variable_type)?;
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
            none: known.none.wrapping_add(self.bias),
            truth: known.truth.wrapping_add(self.bias),
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

/// Adds the usual classes of spans, and those that were met: the last one first, as there is not room for any number.
/// A class that returns its context by another method than the usual ones may keep anything in the places where those
/// keep theirs, so it is left out.
fn learn_all(
    objects: &Objects<'_>,
    recipe: &mut SpanRecipe,
    usual: impl Iterator<Item = u64>,
    wanted: &[u64],
) {
    let mut trusted = Vec::new();
    for class in usual {
        trusted.extend(objects.method(class, GETTER));
        learn(objects, recipe, class);
    }
    for &class in wanted.iter().rev() {
        let getter = objects.method(class, GETTER);
        if getter.is_some_and(|getter| trusted.contains(&getter)) {
            learn(objects, recipe, class);
        }
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

/// Values of a module's globals: `PyModuleObject.md_dict` is the first field.
fn globals<const N: usize>(
    objects: &Objects<'_>,
    module: u64,
    names: [&str; N],
) -> Result<[Option<u64>; N], NoRecipe> {
    objects
        .pointer(module + objects.object_size())
        .and_then(|dictionary| objects.values(dictionary, names))
        .ok_or(NoRecipe::Missing("the dictionary of a module"))
}

/// OpenTelemetry's context variable.
struct Variable {
    runtime_context_place: u64,
    runtime_context: u64,
    address: u64,
    hash: u32,
    context_class: u64,
}

fn variable(objects: &Objects<'_>, module: u64, variable_type: u64) -> Result<Variable, NoRecipe> {
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
        let class = objects
            .class(runtime_context)
            .and_then(|class| objects.class_name(class))
            .unwrap_or_default();
        return Err(match class.as_str() {
            "NoneType" => NoRecipe::NotYet,
            // Its own class, whose instance is not finished or not of a shape that is known.
            "ContextVarsRuntimeContext" => NoRecipe::Missing("the context variable"),
            _ => NoRecipe::RuntimeContext(class),
        });
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

/// `hamt_hash` (`Python/hamt.c`): 64 bits folded to 32, with -1 kept for errors.
fn fold(hash: u64) -> u32 {
    let low = hash & u64::from(u32::MAX);
    match u32::try_from(low ^ hash >> 32) {
        Ok(folded) if folded != u32::MAX => folded,
        _ => u32::MAX - 1,
    }
}

/// Adds a class of spans, if instances of it were made and there is room.
fn learn(objects: &Objects<'_>, recipe: &mut SpanRecipe, class: u64) {
    let count = usize::from(recipe.class_count);
    let is_known = |known: &SpanClass| known.class == class;
    if count >= MAX_SPAN_CLASSES || recipe.classes.iter().take(count).any(is_known) {
        return;
    }
    let names = ["_context", "_end_time", "_name", "_parent"];
    let Some(shared) = objects.shared(class, names) else {
        return;
    };
    if let Some(slot) = recipe.classes.get_mut(count) {
        *slot = shared.class;
        recipe.class_count += 1;
    }
    let keep = |slot: &mut u64, name: u64| {
        if name != 0 {
            *slot = name;
        }
    };
    let [context, end_time, name, parent] = shared.names;
    keep(&mut recipe.name_context, context);
    keep(&mut recipe.name_end_time, end_time);
    keep(&mut recipe.name_name, name);
    keep(&mut recipe.name_parent, parent);
}

#[cfg(test)]
mod fold_tests {
    use super::fold;

    /// As `hamt_hash` computes it.
    #[test]
    fn hashes_are_folded() {
        assert_eq!(fold(0x0000_0001_0000_0002), 3);
        assert_eq!(fold(0xffff_ffff_0000_0000), 0xffff_fffe);
    }
}
