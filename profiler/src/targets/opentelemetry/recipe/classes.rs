//! The classes of spans in a recipe.

use profiler_common::context::{MAX_SPAN_CLASSES, SpanClass, SpanRecipe};

use crate::targets::opentelemetry::objects::Objects;

/// The method that says a span's context.
const GETTER: &str = "get_span_context";

/// Adds the usual classes of spans, and those that were met: the last one first, as there is not room for any number.
/// A class that returns its context by another method than the usual ones may keep anything in the places where those
/// keep theirs, so it is left out.
pub(super) fn learn_all(
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
