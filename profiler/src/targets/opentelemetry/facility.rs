//! The facility of the current span: how it is read from the context of each interpreter in a process.

use std::{collections::HashMap, sync::Arc};

use profiler_common::context::SpanRecipe;

use super::{
    look::{ContextLook, ContextSeen},
    others::OtherRecipe,
    recipe::NoRecipe,
};
use crate::{
    health::Loss,
    id::Pid,
    kernel::InterpreterId,
    targets::{
        SpansSeen, UnreadClass,
        facility::{Desk, Facility, Next, NotLooked, Why, Word},
        hook::{HookInProcess, Need, ProbesOn},
        look::{Answer, Part},
        python::Python,
        registry::Known,
    },
    time::BootNanos,
};

/// Classes of spans remembered per process.
const MAX_WANTED: usize = 16;
/// Why a recipe is not used that was found.
const NO_ROOM: NoRecipe = NoRecipe::Missing("room for it in the kernel's map");

/// How the current span of a process is read.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// In its main interpreter, or why not; `None` until a worker has looked.
    pub recipe: Option<Result<Arc<SpanRecipe>, NoRecipe>>,
    /// Whether that is new since the kernel was told, and whether the kernel has one.
    is_news: bool,
    is_told: bool,
    /// In its other interpreters, as of the last look; and what the kernel was told of them.
    pub others: HashMap<InterpreterId, OtherRecipe>,
    others_told: HashMap<InterpreterId, OtherRecipe>,
    /// Classes of spans that were met and not known.
    wanted: Vec<u64>,
    /// Those that cannot be read.
    unread: Arc<[UnreadClass]>,
    /// Whether it was counted that there is no room for its recipe.
    is_counted: bool,
    /// How many of its own classes of spans its kin was told of.
    pub(super) handed_on: usize,
}

impl Context {
    /// Remembers a class of spans; whether it is new.
    fn want(&mut self, class: u64) -> bool {
        if class == 0 || self.wanted.contains(&class) {
            return false;
        }
        if self.wanted.len() >= MAX_WANTED {
            self.wanted.remove(0);
        }
        self.wanted.push(class);
        true
    }

    /// Whether spans are followed by the probes of the hook alone, or local roots are.
    fn need_of_probes(&self) -> Need {
        match &self.recipe {
            // Once there are spans, the hook has left their local roots beside them.
            Some(Ok(recipe)) if self.knows_own() && recipe.local_root.class == 0 => {
                Need::WhileItRuns
            }
            Some(Ok(_)) => Need::No,
            Some(Err(NoRecipe::NoOpenTelemetry | NoRecipe::NotYet)) => Need::WhileItRuns,
            Some(Err(_)) | None => Need::Always,
        }
    }

    /// Whether its spans are seen, after the kernel was told: samples taken later go by what it was told. `is_new`: the
    /// kernel can read them only from now on; `probes`: those of the hook that reports spans if they cannot be read.
    fn are_seen(&self, before: SpansSeen, is_new: bool, probes: Option<ProbesOn>) -> SpansSeen {
        match &self.recipe {
            None => before,
            // What it makes when it first runs is not followed yet.
            Some(Err(NoRecipe::NoOpenTelemetry | NoRecipe::NotYet))
                if probes == Some(ProbesOn::No) =>
            {
                SpansSeen::NotYet
            }
            Some(Ok(_) | Err(NoRecipe::NoOpenTelemetry | NoRecipe::NotYet)) => match before {
                SpansSeen::Since(_) if !is_new => before,
                _ => SpansSeen::Since(BootNanos::now()),
            },
            Some(Err(_)) => match probes {
                Some(ProbesOn::Since(time)) => SpansSeen::Since(time),
                Some(ProbesOn::No) => SpansSeen::NotYet,
                Some(ProbesOn::Refused) | None => SpansSeen::Never,
            },
        }
    }

    /// Tells the kernel of the main interpreter's recipe; whether the kernel has one only from now on.
    fn tell_recipe(&mut self, pid: Pid, desk: &mut Desk<'_>) -> bool {
        if !std::mem::take(&mut self.is_news) {
            return false;
        }
        let recipe = match &self.recipe {
            Some(Ok(recipe)) => Some(Arc::clone(recipe)),
            _ => None,
        };
        let had = std::mem::replace(&mut self.is_told, recipe.is_some());
        if !had && recipe.is_none() {
            return false;
        }
        if let Err(error) = desk.control.set_span_recipe(pid, recipe.as_deref()) {
            tracing::warn!(%pid, %error, "cannot tell the kernel how to read spans");
            if recipe.is_some() {
                if !std::mem::replace(&mut self.is_counted, true) {
                    desk.health.count(Loss::RecipeNotKept);
                }
                // Then its probes are needed.
                self.recipe = Some(Err(NO_ROOM));
                self.is_told = false;
            }
        }
        !had
    }

    /// Tells the kernel how to read the spans of the interpreters beside the main one, as far as they can be read.
    fn tell_others(&mut self, pid: Pid, desk: &mut Desk<'_>) {
        let before = std::mem::replace(&mut self.others_told, self.others.clone());
        for (&interpreter, recipe) in &before {
            let stays = |recipe: &OtherRecipe| recipe.is_ok();
            if recipe.is_ok() && !self.others.get(&interpreter).is_some_and(stays) {
                forget_interpreter(pid, interpreter, desk);
            }
        }
        for (&interpreter, recipe) in &self.others {
            let (Ok(readable), false) = (recipe.as_ref(), before.get(&interpreter) == Some(recipe))
            else {
                continue;
            };
            let told = desk
                .control
                .set_interpreter_recipe(pid, interpreter, Some(readable));
            if let Err(error) = told {
                let no_room: OtherRecipe = Arc::new(Err(NO_ROOM));
                // At the next look it is tried again, and not counted again.
                if before.get(&interpreter) != Some(&no_room) {
                    desk.health.count(Loss::OtherRecipeNotKept);
                    tracing::warn!(%pid, %error, "cannot tell the kernel how to read a sub-interpreter's spans");
                }
                self.others_told.insert(interpreter, no_room);
            }
        }
        self.others.clone_from(&self.others_told);
    }
}

fn forget_interpreter(pid: Pid, interpreter: InterpreterId, desk: &mut Desk<'_>) {
    let forgotten = desk.control.set_interpreter_recipe(pid, interpreter, None);
    if let Err(error) = forgotten {
        tracing::debug!(%pid, %error, "cannot forget an interpreter");
    }
}

/// Whether a process maps a hook that may be used, which leaves local roots.
fn maps_hook(process: &Known) -> bool {
    let hook = process.kept::<HookInProcess>();
    hook.is_some_and(|it| it.file.is_some())
}

/// How current spans are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ContextFacility {
    /// Whether the ids of spans that are not recorded are read.
    pub not_recorded_ids: bool,
}

impl Facility for ContextFacility {
    fn look(&self, process: &Known, why: Why) -> Option<Arc<dyn Part>> {
        let interpreter = process.target().interpreter.as_ref()?;
        let python = process.kept::<Python>()?;
        let context = process.kept::<Context>();
        let is_misfit = matches!(why, Why::NotYet | Why::Misfit | Why::NewMisfit);
        Some(Arc::new(ContextLook {
            file: interpreter.file,
            facts: Arc::clone(python.facts()?),
            bias: python.bias()?,
            wanted: context.map_or_else(Vec::new, |it| it.wanted.clone()),
            // After an exec the looker remembers what is forgotten here.
            again: is_misfit || context.is_none_or(Context::is_to_be_looked_at),
            has_hook: maps_hook(process),
            not_recorded_ids: self.not_recorded_ids,
            has_others: context.is_some_and(|it| !it.others.is_empty()),
        }))
    }

    fn learn(&mut self, process: &mut Known, answer: Answer, _: &mut Desk<'_>) -> Next {
        let Ok(seen) = answer.downcast::<ContextSeen>() else {
            return Next::Unchanged;
        };
        let pid = process.pid();
        let has_hook = maps_hook(process);
        let context = process.keep::<Context>();
        context.others = seen.others.into_iter().collect();
        let Some(recipe) = seen.recipe else {
            return Next::Unchanged;
        };
        let classes = recipe.as_ref().map(|recipe| recipe.class_count);
        let took_us = seen.took.as_micros();
        tracing::debug!(%pid, ?classes, took_us, "looked for the current span");
        if *context.unread != *seen.unread {
            for class in seen.unread.iter().filter_map(|it| it.name.as_deref()) {
                tracing::info!(%pid, class, "spans of this class cannot be read");
            }
            context.unread = seen.unread.into();
        }
        let is_not_yet = match &recipe {
            // Its hook will have left local roots once there are more spans.
            Ok(recipe) => has_hook && recipe.local_root.class == 0,
            Err(reason) => matches!(reason, NoRecipe::NotYet | NoRecipe::Missing(_)),
        };
        let before = context.recipe.replace(recipe.map(Arc::new));
        if let Some(Ok(before)) = before.filter(|_| !context.knows_own()) {
            // What its kin has told stays until it has spans itself.
            context.borrow(&before);
        }
        context.is_news = true;
        if is_not_yet {
            Next::Later
        } else {
            Next::Settled
        }
    }

    fn not_looked(&mut self, process: &mut Known, why: NotLooked) {
        let pid = process.pid();
        let reason = match why {
            NotLooked::Blocked => NoRecipe::Blocked,
            NotLooked::NoWorker => NoRecipe::NoWorker,
        };
        tracing::debug!(%pid, %reason, "did not look for the current span");
        // What was known of how it is read stays. If nothing was, its probes are needed.
        let context = process.keep::<Context>();
        if !matches!(context.recipe, Some(Ok(_))) {
            context.recipe = Some(Err(reason));
        }
    }

    fn tell(&mut self, process: &mut Known, desk: &mut Desk<'_>) {
        let pid = process.pid();
        let is_profiled = process.is_profiled();
        let need = |need| if is_profiled { need } else { Need::No };
        let hook = process.kept::<HookInProcess>();
        let probes = hook.filter(|it| it.is_present()).map(|it| it.probes);
        let before = process.target().spans;
        let Some(context) = process.kept_mut::<Context>() else {
            if let Some(hook) = process.kept_mut::<HookInProcess>() {
                hook.need = need(Need::Always);
            }
            return;
        };
        let is_new = context.tell_recipe(pid, desk);
        context.tell_others(pid, desk);
        let spans = context.are_seen(before, is_new, probes);
        let needed = need(context.need_of_probes());
        let unread = Arc::clone(&context.unread);
        if let Some(hook) = process.kept_mut::<HookInProcess>() {
            hook.need = needed;
        }
        if spans != before {
            process.change().spans = spans;
        }
        if process.target().unread_spans != unread {
            process.change().unread_spans = unread;
        }
    }

    fn hear(&mut self, process: &mut Known, word: &Word<'_>, _: &mut Desk<'_>) -> Option<Why> {
        match word {
            Word::StaleRecipe(class) => {
                let is_new = process.keep::<Context>().want(class.unwrap_or(0));
                Some(if is_new { Why::NewMisfit } else { Why::Misfit })
            }
            Word::UnknownInterpreter => Some(Why::UnknownInterpreter),
            Word::Resource(_) | Word::HasRun => None,
        }
    }

    fn lacks(&self, process: &Known) -> bool {
        let recipe = |it: &Context| matches!(it.recipe, Some(Ok(_)));
        !process.kept::<Context>().is_some_and(recipe)
    }

    fn forked(&mut self, child: &mut Known) -> Option<Why> {
        let Some(context) = child.kept_mut::<Context>() else {
            return Some(Why::Imports);
        };
        // Of its parent's interpreters it has the main one only, from when it runs Python (`PyOS_AfterFork_Child`).
        context.others.clear();
        context.others_told.clear();
        // What its parent lacked was counted for its parent.
        context.is_counted = false;
        // The kernel program has copied the recipe, unless there was none yet.
        context.is_news = true;
        let is_readable = matches!(context.recipe, Some(Ok(_)));
        (!is_readable).then_some(Why::Imports)
    }

    fn has_for_kin(&mut self, process: &mut Known) -> bool {
        let context = process.kept_mut::<Context>();
        context.is_some_and(Context::has_for_kin)
    }

    fn take_from_kin(&mut self, process: &mut Known, kin: &Known) {
        if let Some(context) = process.kept_mut::<Context>()
            && let Some(Ok(theirs)) = kin.kept::<Context>().and_then(|it| it.recipe.as_ref())
            && context.borrow(theirs)
        {
            context.is_news = true;
        }
    }

    fn ended(&mut self, process: &Known, _: Option<&mut Known>, desk: &mut Desk<'_>) {
        let told = process.kept::<Context>().map(|it| &it.others_told);
        for (&interpreter, recipe) in told.into_iter().flatten() {
            if recipe.is_ok() {
                forget_interpreter(process.pid(), interpreter, desk);
            }
        }
    }
}
