//! What a process takes over from one that was forked from it, or beside it.
//!
//! The keys that spans of a class share come with its first span. In a pool of workers that is a span of each worker, and
//! a worker may be gone before the agent has looked at it. Its class is that of all others, as it was made before the
//! fork; and its keys are filled by the same code. That says where they will be, and proves nothing: each reading in
//! another process compares the names in the keys first ([`UNPROVEN`]).

use std::sync::Arc;

use profiler_common::context::{NO_ATTRIBUTE, SpanClass, SpanRecipe, UNPROVEN};

use super::Context;

impl Context {
    /// Whether a class of the SDK's spans is known by keys of its own.
    pub(super) fn knows_own(&self) -> bool {
        matches!(&self.recipe, Some(Ok(recipe)) if knows_own(recipe))
    }

    /// Whether to look although nothing was imported since the last look.
    pub(super) fn is_to_be_looked_at(&self) -> bool {
        match &self.recipe {
            None => true,
            Some(Ok(recipe)) => has_borrowed(recipe),
            Some(Err(_)) => false,
        }
    }

    /// Whether it knows what its kin was not told yet. If so, that counts as told.
    pub(super) fn has_for_kin(&mut self) -> bool {
        let Some(Ok(recipe)) = &self.recipe else {
            return false;
        };
        let known = classes(recipe).filter(|class| is_own(class)).count();
        known > std::mem::replace(&mut self.handed_on, known)
    }

    /// Takes over the classes of spans that are known from elsewhere; whether there were any that it lacked.
    pub(super) fn borrow(&mut self, theirs: &SpanRecipe) -> bool {
        let Some(Ok(own)) = &mut self.recipe else {
            return false;
        };
        borrow(Arc::make_mut(own), theirs)
    }
}

/// The classes of spans in a recipe.
fn classes(recipe: &SpanRecipe) -> impl Iterator<Item = &SpanClass> {
    recipe.classes.iter().take(usize::from(recipe.class_count))
}

/// Whether a class is that of spans that have an end, the SDK's, and its keys were read in the process itself.
fn is_own(class: &SpanClass) -> bool {
    class.end_time != NO_ATTRIBUTE && class.first_key & UNPROVEN == 0
}

/// Whether a recipe knows a class of the SDK's spans by the process's own keys.
fn knows_own(recipe: &SpanRecipe) -> bool {
    classes(recipe).any(is_own)
}

/// Whether a recipe has a class from another process.
fn has_borrowed(recipe: &SpanRecipe) -> bool {
    classes(recipe).any(|class| class.first_key & UNPROVEN != 0)
}

/// Adds the classes of the SDK's spans that a recipe lacks and another knows; whether there were any.
fn borrow(own: &mut SpanRecipe, theirs: &SpanRecipe) -> bool {
    if !is_of_one_program(own, theirs) {
        return false;
    }
    let before = own.class_count;
    for class in classes(theirs).filter(|class| class.end_time != NO_ATTRIBUTE) {
        let count = usize::from(own.class_count);
        let is_known = classes(own).any(|known| known.class == class.class);
        let slot = own.classes.get_mut(count);
        if let Some(slot) = slot.filter(|_| !is_known) {
            *slot = SpanClass {
                first_key: class.first_key | UNPROVEN,
                ..*class
            };
            own.class_count += 1;
        }
    }
    if own.class_count == before {
        return false;
    }
    own.name_context = theirs.name_context;
    own.name_end_time = theirs.name_end_time;
    own.name_name = theirs.name_name;
    own.name_parent = theirs.name_parent;
    true
}

/// Whether what two recipes lead along was there before their processes parted.
fn is_of_one_program(own: &SpanRecipe, theirs: &SpanRecipe) -> bool {
    let way = |it: &SpanRecipe| {
        [
            it.runtime_context_place,
            it.runtime_context,
            it.variable,
            it.context_class,
            it.span_key,
            it.span_context_class,
        ]
    };
    let names = |it: &SpanRecipe| {
        [
            it.name_context,
            it.name_end_time,
            it.name_name,
            it.name_parent,
        ]
    };
    let mut pairs = names(own).into_iter().zip(names(theirs));
    way(own) == way(theirs)
        && own.is_without_spans == theirs.is_without_spans
        && pairs.all(|(own, theirs)| own == 0 || own == theirs)
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;
    use profiler_common::context::{NO_ATTRIBUTE, SpanClass, SpanRecipe, UNPROVEN};

    use super::{borrow, has_borrowed, knows_own};

    fn recipe(classes: &[(u64, u8)]) -> SpanRecipe {
        let mut recipe = SpanRecipe {
            variable: 7,
            name_context: 8,
            class_count: u8::try_from(classes.len()).unwrap(),
            ..SpanRecipe::zeroed()
        };
        for (slot, &(class, end_time)) in recipe.classes.iter_mut().zip(classes) {
            *slot = SpanClass {
                class,
                end_time,
                first_key: 64,
                ..SpanClass::zeroed()
            };
        }
        recipe
    }

    /// A class of spans is taken over once, as one that each reading has to prove; what the process knows itself stays.
    #[test]
    fn classes_are_borrowed() {
        let theirs = recipe(&[(1, NO_ATTRIBUTE), (2, 5)]);
        let mut own = recipe(&[(1, NO_ATTRIBUTE)]);
        assert!(!knows_own(&own) && knows_own(&theirs));
        assert!(borrow(&mut own, &theirs));
        assert!(!knows_own(&own) && has_borrowed(&own) && !has_borrowed(&theirs));
        assert_eq!((own.class_count, own.classes[1].class), (2, 2));
        assert_eq!(own.classes[1].first_key, 64 | UNPROVEN);
        assert!(!borrow(&mut own, &theirs));
        assert!(!borrow(&mut recipe(&[(2, 5)]), &own));
        // It is handed on as what it is.
        let mut next = recipe(&[]);
        assert!(borrow(&mut next, &own) && has_borrowed(&next));
    }

    /// Nothing is taken over from another program, or if its names are other strings.
    #[test]
    fn other_programs_lend_nothing() {
        let mut own = recipe(&[]);
        let theirs = recipe(&[(2, 5)]);
        let other = SpanRecipe {
            variable: 9,
            ..theirs
        };
        assert!(!borrow(&mut own, &other));
        let other = SpanRecipe {
            name_context: 9,
            ..theirs
        };
        assert!(!borrow(&mut own, &other));
    }

    /// There is room for so many classes.
    #[test]
    fn room_for_classes() {
        let mut own = recipe(&[(1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0)]);
        assert!(!borrow(&mut own, &recipe(&[(7, 0)])));
    }
}
