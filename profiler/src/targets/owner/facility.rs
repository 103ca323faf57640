//! The facility of the owner: which service a process's CPU is counted for, and which container it runs in.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    container,
    look::{OwnerLook, OwnerSeen},
    service::{Said, Source, service},
    started::{Origin, Started},
};
use crate::{
    events::Resource,
    id::ServiceAttribute,
    targets::{
        facility::{Desk, Facility, Next, Why, Word},
        hook::{HookInProcess, process_block::ProcessBlock},
        look::{Answer, Part},
        procfs,
        python::Python,
        registry::Known,
    },
};

/// How often an interpreter is asked how it was started: one that has begun knows.
const MAX_ATTEMPTS: u8 = 8;

/// What is kept of a process's owner. A forked child keeps its parent's.
#[derive(Clone, Debug, Default)]
pub struct Owner {
    /// What the hook has told.
    hook: Option<Said>,
    /// What the tracer provider says.
    provider: Option<Said>,
    /// Whether the objects of the interpreter were read.
    is_read: bool,
    /// What the hook had told and the tracer provider had said in the parent at the fork; `None` if that was not read.
    of_parent: Option<(Option<Said>, Option<Said>)>,
    /// Whether the hook has told its parent's resource, where its own tracer provider says another.
    is_hook_parents: bool,
    /// What it was started with, once that is known.
    started: Option<Started>,
    /// Whether it was named as one that runs Python, or as one that does not; `None` as long as it was not named.
    named_as_python: Option<bool>,
    /// Where its name comes from.
    pub source: Source,
    /// How often its interpreter was asked how it was started.
    attempts: u8,
}

impl Owner {
    /// Takes over what the tracer provider says. The hook tells a resource once in a process: in a forked child that has
    /// a tracer provider of its own, that is still its parent's.
    fn take_provider(&mut self, said: Said) {
        if let Some((hook, provider)) = &self.of_parent {
            let is_own = provider.as_ref() != Some(&said);
            self.is_hook_parents |= is_own && hook.is_some() && *hook == self.hook;
        }
        self.provider = Some(said);
    }

    /// Whether its interpreter is to be asked how it was started: the process has written over that.
    fn lacks_start(&self) -> bool {
        // As long as nobody knows it may be so.
        let started = self.started.as_ref();
        let is_lacking = started.is_none_or(Started::lacks_something);
        is_lacking && self.attempts < MAX_ATTEMPTS
    }
}

/// The owners of processes.
#[derive(Clone, Debug)]
pub struct OwnerFacility {
    /// What tells the profiles of a service apart.
    told_apart: BTreeSet<ServiceAttribute>,
}

impl OwnerFacility {
    /// The profiles of a service are told apart by these attributes.
    pub fn new(told_apart: BTreeSet<ServiceAttribute>) -> Self {
        Self { told_apart }
    }

    /// Names a process by what is said of it, and by its command alone as long as nothing is.
    fn name(&self, process: &mut Known) {
        let pid = process.pid();
        let owner = process.keep::<Owner>();
        let started = owner.started.clone().unwrap_or_else(|| Started {
            command: procfs::comm(pid),
            ..Started::default()
        });
        let source = |origin, other| match origin {
            Origin::Interpreter => Source::Interpreter,
            Origin::Kernel | Origin::Overwritten => other,
        };
        let by_environment = source(started.environment_origin, Source::Environment);
        let by_command = source(started.command_origin, Source::Command);
        let mut resources = [
            (owner.hook.as_ref(), Source::Hook),
            (owner.provider.as_ref(), Source::TracerProvider),
        ];
        if owner.is_hook_parents {
            resources.reverse();
        }
        let [first, second] = resources;
        let said: Vec<(&Said, Source)> =
            [first, second, (Some(&started.environment), by_environment)]
                .into_iter()
                .filter_map(|(said, source)| Some((said?, source)))
                .collect();
        let (named, source) = service(&said, (&started.command, by_command), &self.told_apart);
        owner.source = source;
        if *process.target().service != named {
            process.change().service = Arc::new(named);
        }
    }

    /// Takes over the resource that the hook has told; whether it has more to tell.
    fn take(&self, process: &mut Known, resource: &Resource) -> bool {
        let owner = process.keep::<Owner>();
        let told = Said::by_hook(resource, owner.hook.as_ref());
        let before = owner.of_parent.as_ref().and_then(|(hook, _)| hook.as_ref());
        owner.is_hook_parents &= before == Some(&told);
        owner.hook = Some(told);
        self.name(process);
        untold(process).is_some()
    }

    /// Takes over what a look has found.
    fn learn_seen(&self, process: &mut Known, seen: OwnerSeen) -> Next {
        let owner = process.keep::<Owner>();
        owner.is_read |= seen.is_read;
        if let Some(provider) = seen.provider {
            owner.take_provider(provider);
        }
        if let Some(remembered) = seen.remembered
            && let Some(started) = &mut owner.started
        {
            owner.attempts = owner.attempts.saturating_add(1);
            started.complete(remembered);
        }
        match &seen.resource {
            Some(resource) => {
                self.take(process, resource);
            }
            None => self.name(process),
        }
        // The hook writes it some time after it was mapped.
        if untold(process).is_some() {
            Next::Later
        } else {
            Next::Unchanged
        }
    }
}

/// Where the hook of a process says more than it has told.
fn untold(process: &Known) -> Option<ProcessBlock> {
    let file = process.kept::<HookInProcess>()?.file.as_ref()?;
    let tells_attributes = file.process_block.is_some_and(|it| it.attributes.is_some());
    let told = process
        .kept::<Owner>()
        .and_then(|owner| owner.hook.as_ref());
    let is_told = told.is_some_and(|told| told.is_whole() || !tells_attributes);
    file.process_block.filter(|_| !is_told)
}

impl Facility for OwnerFacility {
    fn look(&self, process: &Known, _: Why) -> Option<Arc<dyn Part>> {
        let facts = process.kept::<Python>()?.facts()?;
        let owner = process.kept::<Owner>();
        process.is_profiled().then(|| -> Arc<dyn Part> {
            Arc::new(OwnerLook {
                block: untold(process),
                facts: Arc::clone(facts),
                is_start_wanted: owner.is_none_or(Owner::lacks_start),
                is_first: owner.is_none_or(|it| !it.is_read),
            })
        })
    }

    fn learn(&mut self, process: &mut Known, answer: Answer, _: &mut Desk<'_>) -> Next {
        match answer.downcast::<Started>() {
            Ok(started) => {
                process.keep::<Owner>().started = Some(*started);
                self.name(process);
                Next::Unchanged
            }
            Err(answer) => match answer.downcast::<OwnerSeen>() {
                Ok(seen) => self.learn_seen(process, *seen),
                Err(_) => Next::Unchanged,
            },
        }
    }

    fn tell(&mut self, process: &mut Known, desk: &mut Desk<'_>) {
        let is_python = process.is_profiled();
        let owner = process.kept::<Owner>();
        let is_named = owner.is_some_and(|it| it.named_as_python == Some(is_python));
        let is_started_known = owner.is_some_and(|it| it.started.is_some());
        let is_wanted = is_python || !desk.whole_host;
        if !is_wanted || is_named && is_started_known {
            return;
        }
        let pid = process.pid();
        if !is_named {
            process.change().container = container::id(pid);
            process.keep::<Owner>().named_as_python = Some(is_python);
        }
        if !is_started_known {
            let started = desk.send(process.process(), move || Box::new(Started::read(pid)));
            let started = started.and_then(|it| it.downcast::<Started>().ok());
            process.keep::<Owner>().started = started.map(|it| *it);
        }
        self.name(process);
    }

    fn hear(&mut self, process: &mut Known, word: &Word<'_>, _: &mut Desk<'_>) -> Option<Why> {
        match word {
            // Written it is, now that the hook has told a part of it.
            Word::Resource(resource) => self.take(process, resource).then_some(Why::Imports),
            Word::StaleRecipe(_) | Word::UnknownInterpreter | Word::HasRun => None,
        }
    }

    fn lacks(&self, process: &Known) -> bool {
        let owner = process.kept::<Owner>();
        let lacks = |it: &Owner| it.provider.is_none() || it.lacks_start();
        untold(process).is_some() || owner.is_some_and(lacks)
    }

    fn forked(&mut self, child: &mut Known) -> Option<Why> {
        if let Some(owner) = child.kept_mut::<Owner>() {
            let both = (owner.hook.clone(), owner.provider.clone());
            owner.of_parent = owner.is_read.then_some(both);
        }
        None
    }
}

#[cfg(test)]
mod tests;
