//! Looks at processes when asked, and remembers what need not be looked at again.

use std::{collections::HashMap, sync::Arc, time::Duration};

use profiler_common::{context::SpanRecipe, event::HookProcess, walk::ReadUser as _};

use super::{
    attributes,
    memory::Memory,
    recipe::{CodeCount, NoRecipe, NodeTypes, Place},
};
use crate::{
    events::Resource,
    id::{Pid, ProcessKey},
    targets::{FileId, python::detect::Facts},
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
    /// Where its hook says who it is, if that is to be read.
    pub process_block: Option<ProcessBlock>,
}

/// Where a process says who it is (`python/ABI.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessBlock {
    /// Where it has the address of its hook's process block.
    pub address: u64,
    /// Where its process attributes are; `None` where its hook is of a release without.
    pub attributes: Option<u64>,
}

/// What a look has found.
#[derive(Clone, Debug)]
pub struct Answer {
    /// In which process.
    pub process: ProcessKey,
    /// How to read its current span, or why that cannot be done; `None` where the last answer stands.
    pub recipe: Option<Result<SpanRecipe, NoRecipe>>,
    /// Where it counts the code objects it makes; told with the recipe.
    pub code_count: CodeCount,
    /// Its resource, if that was to be read and is there.
    pub resource: Option<Resource>,
    /// How long the look took.
    pub took: Duration,
}

/// What the process block says; `None` where it is not written yet, or of another version.
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
}

impl Looker {
    /// Looks at one process; `None` where there is nothing new.
    pub fn look(&mut self, request: &Request) -> Option<Answer> {
        let start = monotonic_now();
        let memory = match Memory::open(request.process) {
            Ok(memory) => memory,
            Err(error) => {
                return Some(Answer {
                    process: request.process,
                    recipe: Some(Err(NoRecipe::Memory(error.to_string()))),
                    code_count: CodeCount::default(),
                    resource: None,
                    took: start.elapsed(),
                });
            }
        };
        let place = Place {
            memory: &memory,
            facts: &request.facts,
            bias: request.bias,
        };
        let count = place.module_count().unwrap_or(0);
        if self.modules.len() >= MAX_REMEMBERED {
            self.modules.clear();
        }
        let before = self.modules.insert(request.process, count);
        let recipe = (before != Some(count) || request.again).then(|| {
            self.types(request.file, &place)
                .ok_or(NoRecipe::Missing("the types of the context's nodes"))
                .and_then(|types| place.recipe(&types, &request.wanted, request.has_hook))
        });
        let block = request.process_block;
        let resource = block.and_then(|block| resource(&memory, request.process.pid, block));
        (recipe.is_some() || resource.is_some()).then(|| Answer {
            process: request.process,
            code_count: recipe
                .as_ref()
                .and_then(|_| place.code_count())
                .unwrap_or_default(),
            recipe,
            resource,
            took: start.elapsed(),
        })
    }

    fn types(&mut self, file: FileId, place: &Place<'_>) -> Option<NodeTypes> {
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
