//! Objects of an interpreter that say who its process is, read from outside.

use std::iter;

use profiler_common::walk::{Block, ReadUser as _, characters};

use crate::{
    events::PythonString,
    targets::{
        look::memory::Memory,
        opentelemetry::{objects::Objects, tables},
        python::detect::Facts,
    },
};

/// Bytes of a string that are read, and of a `bytes` object: what is longer is cut. More than a service's name may have,
/// and than the attributes of a resource do.
const MAX_TEXT: u64 = 1_024;
const MAX_BYTES: u64 = 64 << 10;
/// Items of a list that are read.
const MAX_ITEMS: u64 = 64;

/// The main interpreter of a process.
pub struct Interpreter<'a> {
    /// Its objects.
    pub objects: Objects<'a>,
    /// Its `sys.modules`.
    pub modules: u64,
}

impl<'a> Interpreter<'a> {
    /// The interpreter at an address; `None` if its version is not known, or it has no modules yet.
    pub fn new(memory: &'a Memory, facts: &'a Facts, address: u64) -> Option<Self> {
        let (_, minor, _) = facts.version;
        let objects = Objects {
            memory,
            layout: &facts.layout,
            offsets: tables::offsets(minor, facts.flavour)?,
        };
        let modules = objects.pointer(address + facts.interpreter_modules)?;
        Some(Self { objects, modules })
    }

    /// The dictionary of the module of this name.
    pub fn module(&self, name: &str) -> Option<u64> {
        self.objects.globals(self.value(self.modules, name)?)
    }

    /// One value of a dictionary.
    pub fn value(&self, dictionary: u64, name: &str) -> Option<u64> {
        let [value] = self.objects.values(dictionary, [name])?;
        value
    }

    /// Whether an object is of a class that is called so, or of one that derives from it.
    pub fn is_a(&self, object: u64, name: &str) -> bool {
        let is_it = |class| self.objects.class_name(class).as_deref() == Some(name);
        let class = self.objects.class(object);
        class.is_some_and(|class| is_it(class) || self.objects.bases(class).any(is_it))
    }

    /// Whether an object is of a class, or of one that derives from it.
    pub fn is_of(&self, object: u64, class: u64) -> bool {
        let own = self.objects.class(object);
        own.is_some_and(|own| own == class || self.objects.bases(own).any(|it| it == class))
    }

    /// `PyVarObject.ob_size`.
    fn size(&self, object: u64) -> Option<u64> {
        let size = object + self.objects.object_size();
        self.objects.memory.read_u64(size)
    }

    /// The items of a list, as many as matter.
    pub fn items(&self, list: u64) -> impl Iterator<Item = u64> {
        let count = Some(list)
            .filter(|&it| self.is_a(it, "list"))
            .and_then(|it| self.size(it));
        let items = list + self.objects.object_size() + 8;
        let items = self.objects.pointer(items);
        let mut place = items.map(|items| items..).into_iter().flatten().step_by(8);
        let places = iter::from_fn(move || place.next());
        let most = usize::try_from(count.unwrap_or(0).min(MAX_ITEMS)).unwrap_or(0);
        places
            .take(most)
            .map_while(|place| self.objects.pointer(place))
    }

    /// The text of a string, cut if it is very long; `None` if it is no string.
    pub fn text(&self, object: u64) -> Option<String> {
        if !self.is_a(object, "str") {
            return None;
        }
        let memory = self.objects.memory;
        let mut head = Block::<64>::zeroed();
        let characters = characters(memory, self.objects.layout, object, &mut head)?;
        let (size, _) = characters.size_within(MAX_TEXT);
        let mut bytes = vec![0; usize::try_from(size).ok()?];
        let string = |bytes| PythonString {
            kind: characters.kind.try_into().unwrap_or(0),
            bytes,
            cut: false,
        };
        let is_read = memory.fill(characters.address, &mut bytes);
        is_read.then(|| string(bytes).to_text())?
    }

    /// What a `bytes` object holds, cut if it is very long; `None` if it is none.
    pub fn bytes(&self, object: u64) -> Option<Vec<u8>> {
        if !self.is_a(object, "bytes") {
            return None;
        }
        let layout = self.objects.layout;
        let size = object + u64::from(layout.bytes_size);
        let size = self.objects.memory.read_u64(size)?.min(MAX_BYTES);
        let mut bytes = vec![0; usize::try_from(size).ok()?];
        let data = object + u64::from(layout.bytes_data);
        self.objects.memory.fill(data, &mut bytes).then_some(bytes)
    }
}
