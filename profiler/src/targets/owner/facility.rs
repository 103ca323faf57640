//! The facility of the owner: which service a process's CPU is counted for, and which container it runs in.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    container,
    service::{self, StartedWith},
};
use crate::{
    events::Resource,
    id::ServiceAttribute,
    targets::{
        facility::{Desk, Facility, Next, Why, Word},
        hook::{HookInProcess, process_block::ProcessBlock},
        look::{Answer, Part, Reading},
        registry::Known,
    },
};

/// What is kept of a process's owner.
#[derive(Clone, Copy, Debug, Default)]
struct Owner {
    /// What the hook has told.
    by_hook: ByHook,
    /// Whether it was named as one that runs Python, or as one that does not; `None` as long as it was not named.
    named_as_python: Option<bool>,
    /// Whether what it was started with is not known yet.
    is_provisional: bool,
}

/// What the hook has told of a process's owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum ByHook {
    /// Nothing yet.
    #[default]
    Nothing,
    /// Name and namespace.
    Name,
    /// The attributes, too.
    Attributes,
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

    /// Names a process as far as no hook has; by its command alone as long as what it was started with is not known.
    fn name(&self, process: &mut Known, started: Option<&StartedWith>) {
        let owner = process.keep::<Owner>();
        owner.is_provisional = started.is_none();
        let by_hook = owner.by_hook;
        let pid = process.pid();
        let unknown = StartedWith::default();
        let started = started.unwrap_or(&unknown);
        let mut named = service::service(pid, started, &self.told_apart);
        let before = &process.target().service;
        match by_hook {
            ByHook::Nothing => {}
            ByHook::Name => {
                named.name.clone_from(&before.name);
                named.namespace.clone_from(&before.namespace);
            }
            ByHook::Attributes => return,
        }
        if *process.target().service != named {
            process.change().service = Arc::new(named);
        }
    }

    /// Takes over the resource that the hook has told; whether it has more to tell.
    fn take(&self, process: &mut Known, resource: &Resource) -> bool {
        let before = &process.target().service;
        let named = service::with_resource(before, resource, &self.told_apart);
        process.change().service = Arc::new(named);
        let owner = process.keep::<Owner>();
        owner.by_hook = owner.by_hook.max(match resource.attributes {
            Some(_) => ByHook::Attributes,
            None => ByHook::Name,
        });
        self.lacks(process)
    }
}

/// Where the hook of a process says more than it has told.
fn untold(process: &Known) -> Option<ProcessBlock> {
    let file = process.kept::<HookInProcess>()?.file.as_ref()?;
    let tells_attributes = file.process_block.is_some_and(|it| it.attributes.is_some());
    let all = if tells_attributes {
        ByHook::Attributes
    } else {
        ByHook::Name
    };
    let told = process.kept::<Owner>().copied().unwrap_or_default().by_hook;
    file.process_block.filter(|_| told < all)
}

/// The owner's part of a look: what the hook says.
struct ResourceLook(ProcessBlock);

/// What it says, if it has said anything yet.
struct ResourceSeen(Option<Resource>);

impl Part for ResourceLook {
    fn read(&self, reading: &mut Reading<'_>) -> Option<Answer> {
        let resource = self.0.resource(reading.memory, reading.process.pid);
        Some(Box::new(ResourceSeen(resource)))
    }
}

impl Facility for OwnerFacility {
    fn look(&self, process: &Known, _: Why) -> Option<Arc<dyn Part>> {
        let block = untold(process).filter(|_| process.is_profiled())?;
        Some(Arc::new(ResourceLook(block)))
    }

    fn learn(&mut self, process: &mut Known, answer: Answer, _: &mut Desk<'_>) -> Next {
        let answer = match answer.downcast::<StartedWith>() {
            Ok(started) => {
                self.name(process, Some(&started));
                return Next::Unchanged;
            }
            Err(answer) => answer,
        };
        if let Ok(ResourceSeen(Some(resource))) = answer.downcast().map(|it| *it) {
            self.take(process, &resource);
        }
        // The hook writes it some time after it was mapped.
        if self.lacks(process) {
            Next::Later
        } else {
            Next::Unchanged
        }
    }

    fn tell(&mut self, process: &mut Known, desk: &mut Desk<'_>) {
        let is_python = process.is_profiled();
        let owner = process.kept::<Owner>().copied().unwrap_or_default();
        let is_wanted = is_python || !desk.whole_host;
        let is_named = owner.named_as_python == Some(is_python);
        if !is_wanted || is_named && !owner.is_provisional {
            return;
        }
        let pid = process.pid();
        if !is_named {
            process.change().container = container::id(pid);
            process.keep::<Owner>().named_as_python = Some(is_python);
        }
        if owner.by_hook != ByHook::Attributes {
            let started = desk.send(process.process(), move || Box::new(StartedWith::read(pid)));
            let started = started.and_then(|it| it.downcast::<StartedWith>().ok());
            if started.is_some() || !is_named {
                self.name(process, started.as_deref());
            }
        }
    }

    fn hear(&mut self, process: &mut Known, word: &Word<'_>, _: &mut Desk<'_>) -> Option<Why> {
        match word {
            // Written it is, now that the hook has told a part of it.
            Word::Resource(resource) => self.take(process, resource).then_some(Why::Imports),
            Word::StaleRecipe(_) | Word::UnknownInterpreter | Word::HasRun => None,
        }
    }

    fn lacks(&self, process: &Known) -> bool {
        untold(process).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::{OwnerFacility, StartedWith};
    use crate::{
        events::Resource,
        health::Health,
        id::ServiceAttribute,
        kernel::NoKernel,
        targets::{
            Targets,
            python::live::interpreters,
            tests::{Spawned, all_of, errands, only},
        },
    };

    /// What a process was started with may be known only after its hook has told its name, and then says what the hook
    /// has not told: its attributes.
    #[test]
    fn what_comes_late_completes_what_the_hook_tells() {
        let child = Spawned::python(&interpreters().pop().unwrap());
        let targets = Targets::new(
            all_of(only(vec![child.pid()])),
            Vec::new(),
            Box::new(NoKernel),
            Health::default(),
            errands(&Health::default()),
        );
        let mut process = targets.known().next().unwrap().clone();
        let version = ServiceAttribute::Version;
        let facility = OwnerFacility::new(BTreeSet::from([version]));
        let mut resource = Resource {
            pid: child.pid(),
            service_name: "cart".to_owned(),
            service_namespace: "store".to_owned(),
            attributes: None,
        };
        facility.name(&mut process, None);
        facility.take(&mut process, &resource);
        facility.name(&mut process, Some(&StartedWith::read(child.pid())));
        let service = &process.target().service;
        assert_eq!((&*service.name, &*service.namespace), ("cart", "store"));
        let expected = BTreeMap::from([(version, "7".to_owned())]);
        assert_eq!(service.attributes, expected);
        // The hook's attributes are all that there are.
        resource.attributes = Some(BTreeMap::new());
        facility.take(&mut process, &resource);
        facility.name(&mut process, Some(&StartedWith::read(child.pid())));
        assert_eq!(process.target().service.attributes, BTreeMap::new());
    }
}
