//! Python objects in the memory of a process.

use profiler_common::{
    context::{
        ContextScratch, DICTIONARY_KEYS, KEYS_HEAD, KeysShape, NO_ATTRIBUTE, SpanClass, SpanRecipe,
        UNPROVEN, attribute, instances, keys_shape, locate, look, storage,
    },
    python::PythonLayout,
    walk::{Block, Characters, ReadUser as _, characters},
};

use super::offsets::ContextOffsets;
use crate::targets::look::memory::Memory;
use crate::{arch::is_user, events::PythonString};

/// Entries of a dictionary looked at: more than may be read of any `sys.modules`.
const MAX_ENTRIES: u64 = 200_000;
/// Classes that a class derives from and that are looked at.
const MAX_BASES: u64 = 32;
/// Bytes of a string that is compared.
const MAX_NAME: u64 = 256;

/// Reads objects of one interpreter.
pub struct Objects<'a> {
    /// The memory.
    pub memory: &'a Memory,
    /// Offsets of strings.
    pub layout: &'a PythonLayout,
    /// Offsets of the rest.
    pub offsets: &'a ContextOffsets,
}

impl Objects<'_> {
    /// The word at an address; `None` if it cannot be read, or is no address of user space. So
    /// offsets can be added to what is returned.
    pub fn pointer(&self, address: u64) -> Option<u64> {
        self.memory.read_u64(address).filter(|&it| is_user(it))
    }

    /// `sizeof(PyObject)`.
    pub fn object_size(&self) -> u64 {
        u64::from(self.offsets.object_size)
    }

    /// An object's type.
    pub fn class(&self, object: u64) -> Option<u64> {
        self.pointer(object + u64::from(self.layout.object_type))
    }

    /// A type's `tp_name`.
    pub fn class_name(&self, class: u64) -> Option<String> {
        let name = self.pointer(class + self.offsets.type_name)?;
        let mut bytes = [0; 64];
        if !self.memory.fill(name, &mut bytes) {
            return None;
        }
        let end = bytes.iter().position(|&byte| byte == 0)?;
        Some(String::from_utf8_lossy(bytes.get(..end)?).into_owned())
    }

    /// A string's text.
    pub fn text(&self, object: u64) -> Option<String> {
        self.text_of(&self.characters(object)?)
    }

    fn characters(&self, object: u64) -> Option<Characters> {
        let mut head = Block::<64>::zeroed();
        characters(&self.memory.constant(), self.layout, object, &mut head)
    }

    /// Which of these names a string is. Of one that is as long as none of them, the characters are not read.
    fn which(&self, object: u64, names: &[&str]) -> Option<usize> {
        let characters = self.characters(object)?;
        // Names are of ASCII characters.
        let is_as_long = |name: &&str| name.len() as u64 == characters.length;
        if !names.iter().any(is_as_long) {
            return None;
        }
        let text = self.text_of(&characters)?;
        names.iter().position(|name| *name == text)
    }

    fn text_of(&self, characters: &Characters) -> Option<String> {
        if characters.length > MAX_NAME {
            return None;
        }
        let (size, _) = characters.size_within(4 * MAX_NAME);
        let mut bytes = vec![0; usize::try_from(size).ok()?];
        if !self.memory.constant().fill(characters.address, &mut bytes) {
            return None;
        }
        let string = PythonString {
            kind: u8::try_from(characters.kind).ok()?,
            bytes,
            cut: false,
        };
        string.to_text()
    }

    /// The keys object of a dictionary.
    fn keys(&self, dictionary: u64) -> Option<u64> {
        self.pointer(dictionary + self.object_size() + u64::from(DICTIONARY_KEYS))
    }

    /// Keys and values of a dictionary that has a table of its own.
    pub fn items(&self, dictionary: u64) -> Option<Vec<(u64, u64)>> {
        self.entries(self.keys(dictionary)?)
    }

    /// How many entries the keys of a dictionary have: grows with every new key.
    pub fn entry_count(&self, dictionary: u64) -> Option<u64> {
        Some(self.shape(self.keys(dictionary)?)?.count)
    }

    /// How the entries of a keys object lie.
    fn shape(&self, keys: u64) -> Option<KeysShape> {
        let mut head = Block::<64>::zeroed();
        if !self.memory.read(keys, KEYS_HEAD, &mut head) {
            return None;
        }
        keys_shape(&head, self.offsets.dialect)
    }

    /// Where the first entry of a keys object has its key.
    fn first_key(&self, keys: u64) -> Option<u16> {
        let shape = self.shape(keys)?;
        // An entry ends with key and value.
        let offset = shape.start + shape.stride - 16;
        u16::try_from(offset).ok().filter(|it| it & UNPROVEN == 0)
    }

    /// The entries of a keys object, 0 for what is not there. Of shared keys, the values mean nothing.
    pub fn entries(&self, keys: u64) -> Option<Vec<(u64, u64)>> {
        let shape = self.shape(keys)?;
        if shape.count > MAX_ENTRIES {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(shape.count * shape.stride).ok()?];
        if !self.memory.fill(keys + shape.start, &mut bytes) {
            return None;
        }
        let entries = bytes.chunks_exact(usize::try_from(shape.stride).ok()?);
        let entries = entries.filter_map(|entry| {
            let (_, pair) = entry.split_last_chunk::<16>()?;
            let (key, value) = pair.split_first_chunk::<8>()?;
            let value = value.first_chunk::<8>()?;
            let user = |word: &[u8; 8]| {
                let word = u64::from_le_bytes(*word);
                if is_user(word) { word } else { 0 }
            };
            Some((user(key), user(value)))
        });
        Some(entries.collect())
    }

    /// Where a dictionary keeps the value of a key, and the value.
    pub fn place(&self, dictionary: u64, name: &str) -> Option<(u64, u64)> {
        let keys = self.keys(dictionary)?;
        let shape = self.shape(keys)?;
        let entries = self.entries(keys)?;
        let is_it = |key: u64| key != 0 && self.which(key, &[name]).is_some();
        let index = entries.iter().position(|&(key, _)| is_it(key))?;
        let &(_, value) = entries.get(index).filter(|(_, value)| *value != 0)?;
        // An entry ends with its value.
        let place = keys + shape.start + (u64::try_from(index).ok()? + 1) * shape.stride - 8;
        Some((place, value))
    }

    /// The values of these keys in a dictionary, in the order asked for.
    pub fn values<const N: usize>(
        &self,
        dictionary: u64,
        names: [&str; N],
    ) -> Option<[Option<u64>; N]> {
        let mut found = [None; N];
        for (key, value) in self.items(dictionary)? {
            if key == 0 || value == 0 {
                continue;
            }
            let at = self.which(key, &names);
            if let Some(slot) = at.and_then(|at| found.get_mut(at)) {
                *slot = Some(value);
                if found.iter().all(Option::is_some) {
                    break;
                }
            }
        }
        Some(found)
    }

    /// Which of the attributes with these names the instances of a class share, and where they are; `None` if it shares
    /// no keys.
    pub fn shared<const N: usize>(&self, class: u64, names: [&str; N]) -> Option<Shared<N>> {
        let keys = self.pointer(class + self.offsets.type_keys)?;
        let mut indices = [NO_ATTRIBUTE; N];
        let mut keys_of = [0; N];
        for (index, (key, _)) in self.entries(keys)?.into_iter().enumerate() {
            if key == 0 {
                continue;
            }
            if let Some(at) = self.which(key, &names) {
                *indices.get_mut(at)? = u8::try_from(index).ok()?;
                *keys_of.get_mut(at)? = key;
            }
        }
        let offset = if self.offsets.storage == storage::DICTIONARY {
            self.offsets.type_dictionary
        } else {
            self.offsets.type_size
        };
        Some(Shared {
            class: SpanClass {
                keys,
                // Not an address: a small number.
                offset: u16::try_from(self.memory.read_u64(class + offset)?).ok()?,
                first_key: self.first_key(keys)?,
                ..SpanClass::without_attributes(class, instances::RECORDED)
            },
            indices,
            names: keys_of,
        })
    }

    /// Where instances of a class of tuples with `items` items keep an attribute, whose name is the string
    /// at an address, and one of [`storage`]; `None` if the class shares keys, and this is not one yet.
    pub fn of_tuples(&self, class: u64, items: u16, name: u64) -> Option<(SpanClass, u8)> {
        /// `tp_dictoffset` of a class whose instances have their dictionary in front.
        const IN_FRONT: i64 = -1;
        let keys = self.memory.read_u64(class + self.offsets.type_keys)?;
        // If there are no shared keys, each instance has its own dictionary (3.11).
        let mut index = NO_ATTRIBUTE;
        if keys != 0 {
            let entries = self.entries(keys)?;
            let found = entries.iter().position(|&(key, _)| key == name)?;
            index = u8::try_from(found).ok()?;
        }
        let place = self
            .memory
            .read_u64(class + self.offsets.type_dictionary)?
            .cast_signed();
        let storage = match self.offsets.storage {
            // Behind the items: no class of tuples has anything else there.
            _ if place != IN_FRONT => storage::DICTIONARY,
            storage::INLINE => storage::IN_FRONT,
            other => other,
        };
        let class = SpanClass {
            keys,
            offset: self.offsets.tuple_items + 8 * items,
            context: index,
            ..SpanClass::without_attributes(class, instances::RECORDED)
        };
        Some((class, storage))
    }

    /// The dictionary of a module: `PyModuleObject.md_dict` is the first field.
    pub fn globals(&self, module: u64) -> Option<u64> {
        self.pointer(module + self.object_size())
    }

    /// A class and its bases, in the order in which attributes are looked up; up to the first that cannot be read.
    pub fn bases(&self, class: u64) -> impl Iterator<Item = u64> {
        let bases = self.pointer(class + self.offsets.type_mro);
        let count = bases.and_then(|it| self.memory.read_u64(it + self.object_size()));
        let items = u64::from(self.offsets.tuple_items);
        bases.into_iter().flat_map(move |bases| {
            let count = count.unwrap_or(0).min(MAX_BASES);
            (0..count).map_while(move |index| self.pointer(bases + items + 8 * index))
        })
    }

    /// What instances of a class find under a name: the first in the order of its bases.
    pub fn method(&self, class: u64, name: &str) -> Option<u64> {
        for base in self.bases(class) {
            let attributes = base + self.offsets.type_attributes;
            let attributes = self.memory.read_u64(attributes)?;
            if attributes == 0 {
                // A static type of 3.12 and later keeps its attributes elsewhere: `object` at least.
                continue;
            }
            // A class that cannot be read may have the method itself: then it is not known.
            if let [Some(method)] = self.values(attributes, [name])? {
                return Some(method);
            }
        }
        None
    }

    /// One attribute of an instance.
    pub fn attribute(&self, object: u64, name: &str) -> Option<u64> {
        let shared = self.shared(self.class(object)?, [name])?;
        let ([index], [key]) = (shared.indices, shared.names);
        if index == NO_ATTRIBUTE {
            return None;
        }
        let recipe = SpanRecipe {
            storage: self.offsets.storage,
            values_start: self.offsets.values_start,
            dialect: self.offsets.dialect,
            object_size: self.offsets.object_size,
            dictionary_in_front: self.offsets.dictionary_in_front(),
            ..bytemuck::Zeroable::zeroed()
        };
        let mut scratch = ContextScratch::zeroed();
        let storage = recipe.storage;
        let class = &shared.class;
        look(self.memory, &recipe, storage, object, &mut scratch).ok()?;
        locate(self.memory, &recipe, storage, class, object, &mut scratch).ok()?;
        let value = attribute(self.memory, &scratch, index, key).ok()?;
        is_user(value).then_some(value)
    }
}

/// What instances of a class share.
pub struct Shared<const N: usize> {
    /// Where their attributes are, without any of them.
    pub class: SpanClass,
    /// Of each name its index, or [`NO_ATTRIBUTE`].
    pub indices: [u8; N],
    /// The names, as interned strings; 0 if the class has no such attribute.
    pub names: [u64; N],
}
