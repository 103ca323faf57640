//! How to read the current span of one process: what user space ships.

use crate::wire::record;

/// Span classes a recipe can hold: the SDK's, the API's, and room for an application's own.
pub const MAX_SPAN_CLASSES: usize = 6;
/// Says that a class has no such attribute.
pub const NO_ATTRIBUTE: u8 = u8::MAX;

record! {
    /// How to read the current span of one process. Written by the agent, copied at fork and
    /// removed at exec and exit by the kernel programs.
    SpanRecipe: 424 bytes {
        /// Where the module `opentelemetry.context` keeps its runtime context.
        runtime_context_place: u64,
        /// The runtime context to which this variable belongs: if another one is there, nothing here fits.
        runtime_context: u64,
        /// The context variable of OpenTelemetry's runtime context.
        variable: u64,
        /// The class of its values, `opentelemetry.context.context.Context`.
        context_class: u64,
        /// The key of the current span in a `Context`: a string used for nothing else.
        span_key: u64,
        /// `opentelemetry.trace.span.SpanContext`.
        span_context_class: u64,
        /// The type of HAMT nodes with a bitmap of their children.
        bitmap_node: u64,
        /// The type of HAMT nodes with 32 children.
        array_node: u64,
        /// The type of HAMT nodes whose keys have one hash.
        collision_node: u64,
        /// `None`.
        none: u64,
        /// `True`.
        truth: u64,
        /// The interned string `_context`.
        name_context: u64,
        /// The interned string `_end_time`.
        name_end_time: u64,
        /// The interned string `_name`.
        name_name: u64,
        /// The interned string `_parent`.
        name_parent: u64,
        /// The interned string `_spanprof_local_root`, the attribute of a span's context in which the
        /// hook keeps its local root.
        name_local_root: u64,
        /// The variable's hash, folded as `hamt_hash` does.
        variable_hash: u32,
        /// `PyThreadState.context`.
        thread_context: u16,
        /// `PyTupleObject.ob_item`.
        tuple_items: u16,
        /// Where the values start in `PyDictValues`.
        values_start: u8,
        /// One of [`storage`].
        storage: u8,
        /// Bits of [`dialect`].
        dialect: u8,
        /// Classes in use.
        class_count: u8,
        /// `sizeof(PyObject)`: 32 without the GIL, else 16.
        object_size: u8,
        /// How far in front of an object the pointer to its dictionary is.
        dictionary_in_front: u8,
        /// Where span contexts keep their attributes: one of [`storage`].
        local_root_storage: u8,
        /// Not 0 if the interpreter has not imported OpenTelemetry. Then the only other fields set are the two of the
        /// runtime context: where the interpreter counts its modules, and how many it had.
        is_without_spans: u8,
        /// Where span contexts keep the local root: its index is in the place of that of `_context`. All 0 if no hook
        /// has stored one.
        local_root: SpanClass,
        /// The classes of spans that are known.
        classes: [SpanClass; MAX_SPAN_CLASSES],
    }

    /// An interpreter of a process, as the key of its recipe: addresses are used again, ids are not.
    InterpreterKey: 24 bytes {
        /// Address of the `PyInterpreterState`.
        address: u64,
        /// Its id.
        id: u64,
        /// Process (host thread group id).
        tgid: u32,
        /// Always 0: makes the padding explicit.
        reserved: u32,
    }

    /// Where instances of one class of spans keep their attributes.
    SpanClass: 40 bytes {
        /// The class.
        class: u64,
        /// The keys that its instances share.
        keys: u64,
        /// Of a class of wrappers: the interned string that names the attribute with the span inside.
        inner_name: u64,
        /// Where the dictionary's pointer (3.10) or the inline values (3.13) lie in an instance.
        offset: u16,
        /// Where the first entry of the shared keys has its key, with [`UNPROVEN`] if the keys were read in another
        /// process.
        first_key: u16,
        /// Index of `_context` in the shared keys, or [`NO_ATTRIBUTE`]; of a class of wrappers that of the attribute with the span inside.
        context: u8,
        /// Index of `_end_time`, or [`NO_ATTRIBUTE`].
        end_time: u8,
        /// Index of `_name`, or [`NO_ATTRIBUTE`].
        name: u8,
        /// Index of `_parent`, or [`NO_ATTRIBUTE`].
        parent: u8,
        /// What its instances are: one of [`instances`].
        instances: u8,
        /// Always 0.
        reserved: [u8; 7],
    }
}

impl SpanClass {
    /// A class none of whose attributes are known.
    pub const fn without_attributes(class: u64, instances: u8) -> Self {
        Self {
            class,
            keys: 0,
            inner_name: 0,
            offset: 0,
            context: NO_ATTRIBUTE,
            end_time: NO_ATTRIBUTE,
            name: NO_ATTRIBUTE,
            parent: NO_ATTRIBUTE,
            instances,
            reserved: [0; 7],
            first_key: 0,
        }
    }
}

/// In [`SpanClass::first_key`]: the keys were read in another process that was forked from the same one. The class's own
/// code fills them, in each process anew: so each reading compares the names in them first.
pub const UNPROVEN: u16 = 1 << 15;

impl SpanRecipe {
    /// `PyObject.ob_type`: its last field.
    #[inline(always)]
    pub fn type_offset(&self) -> u16 {
        u16::from(self.object_size).wrapping_sub(8)
    }

    /// Bytes from one entry of shared keys to the next: all keys are strings.
    #[inline(always)]
    pub fn keys_stride(&self) -> u64 {
        if self.dialect & dialect::PLAIN_KEYS != 0 {
            24
        } else {
            16
        }
    }
}

/// What the instances of a class are, in [`SpanClass::instances`].
pub mod instances {
    /// Spans that are recorded until they end.
    pub const RECORDED: u8 = 0;
    /// Spans that this process does not record: their ids are read only if the place of their context is known.
    pub const NOT_RECORDED: u8 = 1;
    /// Wrappers: each has a span of another class in one attribute, and is current instead of it.
    pub const WRAPPERS: u8 = 2;
}

/// Where an instance keeps its attributes, in [`SpanRecipe::storage`].
pub mod storage {
    /// A pointer to a dictionary, at [`super::SpanClass::offset`] (3.10).
    pub const DICTIONARY: u8 = 0;
    /// A pointer to values 32 bytes in front of the object, or to a dictionary 24 in front (3.11).
    pub const TWO_POINTERS: u8 = 1;
    /// One word 24 bytes in front of the object: values less one, or a dictionary (3.12).
    pub const TAGGED_POINTER: u8 = 2;
    /// Values in the object at [`super::SpanClass::offset`], as long as they are marked valid, or a
    /// pointer to a dictionary in front of it (3.13 and later).
    pub const INLINE: u8 = 3;
    /// A pointer to a dictionary in front of the object, and nowhere else (3.13 and later: objects of
    /// variable size).
    pub const IN_FRONT: u8 = 4;
}

/// How a version writes dictionaries and integers, in [`SpanRecipe::dialect`].
pub mod dialect {
    /// Keys of dictionaries have their size in words and entries of one kind (3.10).
    pub const PLAIN_KEYS: u8 = 1;
    /// Integers count their digits in `ob_size` (before 3.12), else in `lv_tag`.
    pub const SIZED_INTEGERS: u8 = 2;
}
