/* Prints one `ContextOffsets` (profiler/src/targets/opentelemetry/offsets.rs) as Rust, for the headers
 * it is compiled against. Run by `cargo xtask codegen`. */
#define Py_BUILD_CORE 1
#include <Python.h>
#include <stddef.h>
#include <stdio.h>
#include "internal/pycore_context.h"
#include "internal/pycore_hamt.h"
#if PY_VERSION_HEX >= 0x03090000
#include "internal/pycore_interp.h"
#else
#include "internal/pycore_pystate.h"
#endif
#if PY_VERSION_HEX >= 0x030A0000
#include "internal/pycore_moduleobject.h"
#endif
#if PY_VERSION_HEX >= 0x030B0000
#include "internal/pycore_dict.h"
#endif

#define OFFSET(field, type, member) printf("    %s: %zu,\n", #field, offsetof(type, member))
#define CHECK(type, member, offset) \
    _Static_assert(offsetof(type, member) == (offset), "profiler-common/src/context.rs has it so")

/* The offsets behind `PyObject` that the walk assumes in all versions. */
#define CHECK_BEHIND(type, member, distance) CHECK(type, member, sizeof(PyObject) + (distance))
CHECK(PyObject, ob_type, sizeof(PyObject) - 8);
CHECK_BEHIND(PyContext, ctx_vars, 8);
CHECK_BEHIND(PyHamtObject, h_root, 0);
CHECK_BEHIND(PyDictObject, ma_used, 0);
CHECK_BEHIND(PyDictObject, ma_keys, 16);
CHECK_BEHIND(PyDictObject, ma_values, 24);
CHECK_BEHIND(PyVarObject, ob_size, 0);
CHECK_BEHIND(PyContextVar, var_default, 8);
#if PY_VERSION_HEX >= 0x030C0000
CHECK_BEHIND(PyLongObject, long_value.lv_tag, 0);
CHECK_BEHIND(PyLongObject, long_value.ob_digit, 8);
#else
CHECK_BEHIND(PyLongObject, ob_digit, 8);
#endif
#if PY_VERSION_HEX >= 0x030A0000
CHECK_BEHIND(PyModuleObject, md_dict, 0);
#endif
#if PY_VERSION_HEX >= 0x030B0000
CHECK(PyDictKeysObject, dk_log2_index_bytes, 9);
CHECK(PyDictKeysObject, dk_kind, 10);
CHECK(PyDictKeysObject, dk_nentries, 24);
CHECK(PyDictKeysObject, dk_indices, 32);
_Static_assert(DICT_KEYS_GENERAL == 0, "entries with a hash");
#endif

int main(void) {
    printf("ContextOffsets = ContextOffsets {\n");
    printf("    object_size: %zu,\n", sizeof(PyObject));
    OFFSET(thread_context, PyThreadState, context);
    OFFSET(type_name, PyTypeObject, tp_name);
    OFFSET(type_size, PyTypeObject, tp_basicsize);
    OFFSET(type_dictionary, PyTypeObject, tp_dictoffset);
    OFFSET(type_attributes, PyTypeObject, tp_dict);
    OFFSET(type_mro, PyTypeObject, tp_mro);
    OFFSET(type_keys, PyHeapTypeObject, ht_cached_keys);
    OFFSET(variable_hash, PyContextVar, var_hash);
    OFFSET(tuple_items, PyTupleObject, ob_item);
#if PY_VERSION_HEX >= 0x030D0000
    printf("    storage: storage::INLINE,\n");
    OFFSET(values_start, PyDictValues, values);
    printf("    dialect: 0,\n");
#elif PY_VERSION_HEX >= 0x030C0000
    printf("    storage: storage::TAGGED_POINTER,\n");
    OFFSET(values_start, PyDictValues, values);
    printf("    dialect: 0,\n");
#elif PY_VERSION_HEX >= 0x030B0000
    printf("    storage: storage::TWO_POINTERS,\n");
    OFFSET(values_start, PyDictValues, values);
    printf("    dialect: dialect::SIZED_INTEGERS,\n");
#else
    printf("    storage: storage::DICTIONARY,\n");
    printf("    values_start: 0,\n");
    printf("    dialect: dialect::SIZED_INTEGERS | dialect::PLAIN_KEYS,\n");
#endif
    printf("};\n");
    return 0;
}
