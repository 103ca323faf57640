//! The classes of spans in a recipe.

use profiler_common::context::{NO_ATTRIBUTE, SpanClass, SpanRecipe, instances};

use crate::targets::opentelemetry::objects::Objects;

/// The method that says a span's context.
const GETTER: &str = "get_span_context";
/// The method that says whether a span is recorded.
const IS_RECORDING: &str = "is_recording";

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
/// keep theirs, so it is left out.
pub(super) fn learn_all(
    objects: &Objects<'_>,
    recipe: &mut SpanRecipe,
    usual: &Usual,
    wanted: &[u64],
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
    if let Some(class) = usual.not_recorded {
        add(recipe, not_recorded(class));
    }
    for &class in wanted.iter().rev() {
        if says_no.is_some() && objects.method(class, IS_RECORDING) == says_no {
            add(recipe, not_recorded(class));
            continue;
        }
        let getter = objects.method(class, GETTER);
        if getter.is_some_and(|getter| trusted.contains(&getter)) {
            learn(objects, recipe, class);
        }
    }
}

/// A class of spans that are not recorded.
fn not_recorded(class: u64) -> SpanClass {
    SpanClass {
        class,
        keys: 0,
        offset: 0,
        context: NO_ATTRIBUTE,
        end_time: NO_ATTRIBUTE,
        name: NO_ATTRIBUTE,
        parent: NO_ATTRIBUTE,
        instances: instances::NOT_RECORDED,
        reserved: 0,
    }
}

/// Adds a class; whether it is new and there was room.
fn add(recipe: &mut SpanRecipe, class: SpanClass) -> bool {
    let count = usize::from(recipe.class_count);
    let is_known = |known: &SpanClass| known.class == class.class;
    if recipe.classes.iter().take(count).any(is_known) {
        return false;
    }
    let Some(slot) = recipe.classes.get_mut(count) else {
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
    if !add(recipe, shared.class) {
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
