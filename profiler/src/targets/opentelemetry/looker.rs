//! Looks at processes when asked, and remembers what need not be looked at again.

use std::{collections::HashMap, sync::Arc, time::Duration};

use profiler_common::{context::SpanRecipe, event::HookProcess, walk::ReadUser as _};

use super::{
    others::{OtherRecipe, Others},
    recipe::{self, NoRecipe, NodeTypes},
};
use crate::{
    events::Resource,
    id::{Pid, ProcessKey},
    kernel::InterpreterId,
    targets::{
        FileId,
        hook::attributes,
        look::memory::Memory,
        python::{
            detect::Facts,
            thread_local::{Place, ThreadLocal, Unresolved, fits, resolve},
        },
    },
    time::monotonic_now,
};

/// The version of the hook's ABI that is spoken.
const ABI_VERSION: u32 = 1;
/// Processes and files remembered; when full all are forgotten and looked at anew.
const MAX_REMEMBERED: usize = 16_384;

/// A process to look at.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which.
    pub process: ProcessKey,
    /// The file of its interpreter.
    pub file: FileId,
    /// What that file says.
    pub facts: Arc<Facts>,
    /// What was added to the file's addresses.
    pub bias: u64,
    /// Classes of spans that were met and not known.
    pub wanted: Vec<u64>,
    /// Whether to look although the process has imported nothing since the last look: what was found
    /// then no longer fits.
    pub again: bool,
    /// Whether it maps a hook.
    pub has_hook: bool,
    /// Where its hook keeps the process's resource, if that is to be read.
    pub process_block: Option<ProcessBlock>,
    /// How its interpreter reaches the thread-local with a thread's state, if where that lies is to be found out; and
    /// whether its libc is musl.
    pub thread_local: Option<(ThreadLocal, bool)>,
    /// Whether the last look has found interpreters beside the main one.
    pub has_others: bool,
}

impl Request {
    /// A look at a process whose interpreter was placed, for nothing yet.
    pub fn new(process: ProcessKey, file: FileId, facts: Arc<Facts>, bias: u64) -> Self {
        Self {
            process,
            file,
            facts,
            bias,
            wanted: Vec::new(),
            again: false,
            has_hook: false,
            process_block: None,
            thread_local: None,
            has_others: false,
        }
    }
}

/// Where a process keeps its resource (`python/ABI.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessBlock {
    /// Where it has the address of its hook's process block.
    pub address: u64,
    /// Where its process attributes are; `None` if its hook is of a release without.
    pub attributes: Option<u64>,
}

/// What a look has found.
#[derive(Clone, Debug)]
pub struct Answer {
    /// In which process.
    pub process: ProcessKey,
    /// How to read its current span, or why that cannot be done; `None` if the last answer stands.
    pub recipe: Option<Result<SpanRecipe, NoRecipe>>,
    /// Where it counts the code objects it makes; told with the recipe. 0 if that is not known.
    pub code_count: u64,
    /// Address of its main interpreter; 0 if that is not known.
    pub main_interpreter: u64,
    /// Its other interpreters, and how to read their current spans.
    pub others: Vec<(InterpreterId, OtherRecipe)>,
    /// Where the thread-local lies, if that was to be found out; or why it is not known yet.
    pub thread_local: Option<Result<Place, Unresolved>>,
    /// Its resource, if that was to be read and is there.
    pub resource: Option<Resource>,
    /// How long the look took.
    pub took: Duration,
}

/// What the process block says; `None` if it is not written yet, or of another version.
fn resource(memory: &Memory, pid: Pid, place: ProcessBlock) -> Option<Resource> {
    let address = memory
        .read_u64(place.address)
        .filter(|&address| address != 0)?;
    let mut bytes = [0; size_of::<HookProcess>()];
    if !memory.fill(address, &mut bytes) {
        return None;
    }
    let block: HookProcess = bytemuck::pod_read_unaligned(&bytes);
    (block.abi_version == ABI_VERSION).then(|| Resource {
        // They are written before the block has an address.
        attributes: place.attributes.and_then(|it| attributes::read(memory, it)),
        ..Resource::new(pid, &block)
    })
}

/// Looks at processes.
#[derive(Debug, Default)]
pub struct Looker {
    types: HashMap<FileId, NodeTypes>,
    /// Modules that a process had imported at the last look.
    modules: HashMap<ProcessKey, u64>,
    others: Others,
}

impl Looker {
    /// Looks at one process; `None` if there is nothing new.
    pub fn look(&mut self, request: &Request) -> Option<Answer> {
        let start = monotonic_now();
        let memory = match Memory::open(request.process) {
            Ok(memory) => memory,
            Err(error) => {
                return Some(Answer {
                    process: request.process,
                    recipe: Some(Err(NoRecipe::Memory(error.to_string()))),
                    code_count: 0,
                    main_interpreter: 0,
                    others: Vec::new(),
                    thread_local: None,
                    resource: None,
                    took: start.elapsed(),
                });
            }
        };
        let place = recipe::Place {
            memory: &memory,
            facts: &request.facts,
            bias: request.bias,
        };
        let interpreters = place.interpreters();
        let thread_local = request.thread_local.map(|(it, is_musl)| {
            let found = resolve(it, request.bias, is_musl, &memory)?;
            let addresses: Vec<u64> = interpreters.iter().map(|it| it.address).collect();
            fits(&memory, &request.facts.layout, &addresses, found)
                .then_some(found)
                .ok_or(Unresolved::Misfit)
        });
        let main = interpreters.iter().find(|it| it.id == 0);
        let main = main.map_or(0, |it| it.address);
        let count = place.module_count(main).unwrap_or(0);
        if self.modules.len() >= MAX_REMEMBERED {
            self.modules.clear();
        }
        let before = self.modules.insert(request.process, count);
        let recipe = (before != Some(count) || request.again).then(|| {
            self.types(request.file, &place)
                .ok_or(NoRecipe::Missing("the types of the context's nodes"))
                .and_then(|types| place.recipe(main, &types, &request.wanted, request.has_hook))
        });
        let others = if interpreters.len() > 1 {
            let types = self.types(request.file, &place);
            self.others.look(request, &place, types, &interpreters)
        } else {
            Vec::new()
        };
        let block = request.process_block;
        let resource = block.and_then(|block| resource(&memory, request.process.pid, block));
        let has_others = request.has_others || !others.is_empty();
        let is_new = recipe.is_some() || resource.is_some() || thread_local.is_some();
        (is_new || has_others).then(|| Answer {
            process: request.process,
            code_count: recipe
                .as_ref()
                .and_then(|_| place.code_count(main))
                .unwrap_or_default(),
            main_interpreter: main,
            others,
            thread_local,
            recipe,
            resource,
            took: start.elapsed(),
        })
    }

    fn types(&mut self, file: FileId, place: &recipe::Place<'_>) -> Option<NodeTypes> {
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
