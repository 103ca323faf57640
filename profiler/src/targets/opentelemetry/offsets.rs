//! What differs between versions on the way to the current span.

/// Offsets in bytes, and how a version stores things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextOffsets {
    /// `sizeof(PyObject)`: 32 without the GIL, else 16.
    pub object_size: u8,
    /// `PyThreadState.context`.
    pub thread_context: u16,
    /// `PyTypeObject.tp_name`.
    pub type_name: u64,
    /// `PyTypeObject.tp_basicsize`.
    pub type_size: u64,
    /// `PyTypeObject.tp_dictoffset`.
    pub type_dictionary: u64,
    /// `PyTypeObject.tp_dict`.
    pub type_attributes: u64,
    /// `PyTypeObject.tp_mro`.
    pub type_mro: u64,
    /// `PyHeapTypeObject.ht_cached_keys`.
    pub type_keys: u64,
    /// `PyContextVar.var_hash`.
    pub variable_hash: u64,
    /// `PyTupleObject.ob_item`.
    pub tuple_items: u16,
    /// One of [`profiler_common::context::storage`].
    pub storage: u8,
    /// `PyDictValues.values`.
    pub values_start: u8,
    /// Bits of [`profiler_common::context::dialect`].
    pub dialect: u8,
}

impl ContextOffsets {
    /// How far in front of an object the pointer to its dictionary is (`MANAGED_DICT_OFFSET`,
    /// `Include/internal/pycore_object.h`): without the GIL no words of the garbage collector lie there.
    pub fn dictionary_in_front(&self) -> u8 {
        if self.object_size > 16 { 8 } else { 24 }
    }
}
