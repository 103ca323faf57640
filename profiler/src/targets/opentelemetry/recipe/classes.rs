//! The classes of spans in a recipe.

use profiler_common::context::{NO_ATTRIBUTE, SpanClass, SpanRecipe, instances};

use crate::{
    events::printable,
    targets::{
        UnreadClass,
        opentelemetry::{objects::Objects, wanted::ContextLook},
    },
};

/// The method that says a span's context.
const GETTER: &str = "get_span_context";
/// The method that says whether a span is recorded.
const IS_RECORDING: &str = "is_recording";

/// Attributes in which wrappers have the span inside.
const INNER: [&str; 5] = ["span", "_span", "wrapped", "_wrapped", "__wrapped__"];

/// The usual classes of spans, as far as a process has them.
pub(super) struct Usual {
    /// The SDK's, whose instances are recorded.
    pub(super) recorded: [Option<u64>; 2],
    /// The API's `NonRecordingSpan`: what a sampler has dropped, and what came from another process.
    pub(super) not_recorded: Option<u64>,
}

/// Adds the usual classes of spans, and those that were met: the last one first, as there is not room for any number.
/// A class whose spans say by the API's own method that they are not recorded is of such spans, whatever else it does.
/// Another class that returns its context by a method of its own may keep anything in the places where the usual ones
/// keep theirs: it is followed to the span inside if it is of wrappers, and else left out.
pub(super) fn learn_all(
    objects: &Objects<'_>,
    recipe: &mut SpanRecipe,
    usual: &Usual,
    wanted: &ContextLook,
) {
    let says_no = usual.not_recorded;
    let says_no = says_no.and_then(|class| objects.method(class, IS_RECORDING));
    let mut trusted = Vec::new();
    let recorded = usual.recorded.into_iter().flatten();
    for class in recorded.clone().chain(usual.not_recorded) {
        trusted.extend(objects.method(class, GETTER));
    }
    for class in recorded {
        learn(objects, recipe, class);
    }
    let not_recorded = |class: u64, recipe: &mut SpanRecipe| {
        let getter = objects.method(class, GETTER);
        let has_usual = getter.is_some_and(|getter| trusted.contains(&getter));
        let described = (wanted.not_recorded_ids && has_usual)
            .then(|| not_recorded_with_ids(objects, class, recipe));
        let without = || SpanClass::without_attributes(class, instances::NOT_RECORDED);
        add(recipe, described.flatten().unwrap_or_else(without));
    };
    if let Some(class) = usual.not_recorded {
        not_recorded(class, recipe);
    }
    for &class in wanted.wanted.iter().rev() {
        if says_no.is_some() && objects.method(class, IS_RECORDING) == says_no {
            not_recorded(class, recipe);
            continue;
        }
        match objects.method(class, GETTER) {
            Some(getter) if trusted.contains(&getter) => learn(objects, recipe, class),
            Some(_) => {
                if let Some(class) = wrappers(objects, class) {
                    add(recipe, class);
                }
            }
            None => {}
        }
    }
}

/// A class of spans that are not recorded, with the place of their context.
fn not_recorded_with_ids(
    objects: &Objects<'_>,
    class: u64,
    recipe: &mut SpanRecipe,
) -> Option<SpanClass> {
    let shared = objects.shared(class, ["_context"])?;
    let ([context], [name]) = (shared.indices, shared.names);
    if name != 0 {
        recipe.name_context = name;
    }
    (context != NO_ATTRIBUTE).then_some(SpanClass {
        context,
        instances: instances::NOT_RECORDED,
        ..shared.class
    })
}

/// A class of wrappers, if its instances have one attribute that may hold the span inside. The kernel program checks in
/// each what it holds.
fn wrappers(objects: &Objects<'_>, class: u64) -> Option<SpanClass> {
    let shared = objects.shared(class, INNER)?;
    let mut found = shared.indices.iter().zip(shared.names);
    let (&index, name) = found.find(|&(&index, _)| index != NO_ATTRIBUTE)?;
    // With several of them nothing outside its code says which one it forwards to.
    found
        .all(|(&index, _)| index == NO_ATTRIBUTE)
        .then_some(SpanClass {
            instances: instances::WRAPPERS,
            context: index,
            inner_name: name,
            ..shared.class
        })
}

/// Those classes that were met and that the recipes cannot read.
pub(super) fn unread(
    objects: &Objects<'_>,
    recipes: &[&SpanRecipe],
    wanted: &[u64],
) -> Vec<UnreadClass> {
    let is_read = |class: u64| recipes.iter().any(|recipe| has(recipe, class));
    let unread = wanted.iter().filter(|&&class| !is_read(class));
    let unread = unread.map(|&class| UnreadClass {
        address: class,
        // What is no span is in a wrapper by mistake.
        name: objects
            .method(class, GETTER)
            .and_then(|_| full_name(objects, class)),
    });
    unread.collect()
}

/// A class's name behind that of its module, if that is known, fit to show.
fn full_name(objects: &Objects<'_>, class: u64) -> Option<String> {
    let name = objects.class_name(class)?;
    let attributes = objects.pointer(class + objects.offsets.type_attributes);
    let module = attributes.and_then(|it| objects.values(it, ["__module__"]));
    let module = module.and_then(|[module]| objects.text(module?));
    let name = module.map_or_else(|| name.clone(), |module| format!("{module}.{name}"));
    Some(printable(&name).into_owned())
}

/// Whether a recipe has a class.
fn has(recipe: &SpanRecipe, class: u64) -> bool {
    let count = usize::from(recipe.class_count);
    let mut known = recipe.classes.iter().take(count);
    known.any(|known| known.class == class)
}

/// Adds a class; whether it is new and there was room.
fn add(recipe: &mut SpanRecipe, class: SpanClass) -> bool {
    if has(recipe, class.class) {
        return false;
    }
    let Some(slot) = recipe.classes.get_mut(usize::from(recipe.class_count)) else {
        return false;
    };
    *slot = class;
    recipe.class_count += 1;
    true
}

/// Adds a class of spans that are recorded, if instances of it were made.
fn learn(objects: &Objects<'_>, recipe: &mut SpanRecipe, class: u64) {
    let names = ["_context", "_end_time", "_name", "_parent"];
    let Some(shared) = objects.shared(class, names) else {
        return;
    };
    let [context, end_time, name, parent] = shared.indices;
    let described = SpanClass {
        context,
        end_time,
        name,
        parent,
        ..shared.class
    };
    if context == NO_ATTRIBUTE || !add(recipe, described) {
        return;
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
