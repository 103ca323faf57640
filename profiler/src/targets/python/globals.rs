//! Where the global objects of an interpreter are in one process.
//!
//! Not always where its own file has them. If a program that is not position-independent names an object of a library,
//! the linker makes room for it in the program, the loader copies the object there, and from then on everybody uses the
//! copy: the library, too. A library that is loaded before it can take its place as well. In all cases the loader
//! writes the address into a word of the library's, where its own code reads it, and so is it read here.

use profiler_common::walk::ReadUser as _;

use super::{detect::Facts, global::Global, objects::Objects as Named};
use crate::targets::look::memory::Memory;

/// Where the global objects of an interpreter are in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Globals {
    /// `_PyRuntime`.
    pub runtime: u64,
    /// `PyCode_Type`.
    pub code_type: u64,
    /// What the current span is checked against; `None` if that is not known.
    pub of_context: Option<GlobalsOfContext>,
}

/// Those that the current span is checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalsOfContext {
    /// `_Py_NoneStruct`.
    pub none: u64,
    /// `_Py_TrueStruct`.
    pub truth: u64,
    /// `PyContextVar_Type`.
    pub variable_type: u64,
}

impl Globals {
    /// Reads where the loader has put them, and that they are what they should be. The error says which is not: the
    /// loader may not have put it there yet.
    pub fn read(memory: &Memory, facts: &Facts, bias: u64) -> Result<Self, &'static str> {
        let objects = Objects {
            memory,
            class: u64::from(facts.layout.object_type),
        };
        let runtime = facts.runtime.loaded(memory, bias).ok_or("_PyRuntime")?;
        let code_type = facts
            .code_type
            .loaded(memory, bias)
            .filter(|&it| objects.is_type(it, "code"))
            .ok_or("PyCode_Type")?;
        let named = facts.objects.as_ref();
        let of_context = named.and_then(|named| of_context(named, objects, bias));
        Ok(Self {
            runtime,
            code_type,
            of_context,
        })
    }
}

/// The same of those that the current span is checked against; `None` if one of them is not what it should be.
fn of_context(named: &Named, objects: Objects<'_>, bias: u64) -> Option<GlobalsOfContext> {
    let loaded = |global: Global| global.loaded(objects.memory, bias);
    let is_of = |class| move |object: &u64| objects.is_of(*object, class);
    let is_variable = |class: &u64| objects.is_type(*class, "ContextVar");
    Some(GlobalsOfContext {
        none: loaded(named.none).filter(is_of("NoneType"))?,
        truth: loaded(named.truth).filter(is_of("bool"))?,
        variable_type: loaded(named.variable_type).filter(is_variable)?,
    })
}

/// Objects in the memory of a process, as far as their classes go.
#[derive(Clone, Copy)]
struct Objects<'a> {
    memory: &'a Memory,
    /// Offset of an object's class.
    class: u64,
}

impl Objects<'_> {
    /// Whether an object is of the class of this name.
    fn is_of(self, object: u64, class: &str) -> bool {
        let its = self.memory.read_u64(object.wrapping_add(self.class));
        its.is_some_and(|its| self.is_type(its, class))
    }

    /// Whether a class has this name, with or without that of its module.
    fn is_type(self, class: u64, name: &str) -> bool {
        /// `PyTypeObject.tp_name`, from the class's own class on: behind `ob_type` and `ob_size`.
        const NAME: u64 = 16;
        let mut text = [0; 64];
        let at = class.wrapping_add(self.class).wrapping_add(NAME);
        let is_read = self
            .memory
            .read_u64(at)
            .is_some_and(|at| self.memory.fill(at, &mut text));
        let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
        let last = text.rsplit(|&byte| byte == b'.').next();
        is_read && last == Some(name.as_bytes())
    }
}
