/* Prints one `Offsets` (profiler/src/targets/python/layout.rs) as Rust, for the headers it is
 * compiled against. Run by `cargo xtask codegen`. */
#define Py_BUILD_CORE 1
#include <Python.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#if PY_VERSION_HEX >= 0x03090000
#include "internal/pycore_runtime.h"
#include "internal/pycore_interp.h"
#else
#include "internal/pycore_pystate.h"
#endif
#if PY_VERSION_HEX >= 0x030B0000
#include "internal/pycore_frame.h"
#include "internal/pycore_code.h"
#else
#include "frameobject.h"
#endif

#define OFFSET(field, type, member) printf("    %s: %zu,\n", #field, offsetof(type, member))
#define VALUE(field, value) printf("    %s: %zu,\n", #field, (size_t)(value))

/* The lowest bit that a bit field of the string state occupies. */
#define BIT(field, member)                                                        \
    do {                                                                          \
        PyASCIIObject it;                                                         \
        unsigned int word;                                                        \
        memset(&it, 0, sizeof it);                                                \
        it.state.member = 1;                                                      \
        memcpy(&word, &it.state, sizeof word);                                    \
        printf("    %s: %d,\n", #field, __builtin_ctz(word));                     \
    } while (0)

int main(void) {
    printf("Offsets = Offsets {\n");
    VALUE(runtime_size, sizeof(_PyRuntimeState));
    OFFSET(runtime_interpreters, _PyRuntimeState, interpreters.head);
    VALUE(interpreter_size, sizeof(PyInterpreterState));
    OFFSET(interpreter_next, PyInterpreterState, next);
    OFFSET(interpreter_id, PyInterpreterState, id);
#if PY_VERSION_HEX >= 0x030C0000
    VALUE(runtime_current, 0);
#else
    OFFSET(runtime_current, _PyRuntimeState, gilstate.tstate_current);
#endif
#if PY_VERSION_HEX >= 0x030B0000
    OFFSET(interpreter_threads, PyInterpreterState, threads.head);
#else
    OFFSET(interpreter_threads, PyInterpreterState, tstate_head);
#endif
#if PY_VERSION_HEX >= 0x030C0000
    OFFSET(interpreter_modules, PyInterpreterState, imports.modules);
#else
    OFFSET(interpreter_modules, PyInterpreterState, modules);
#endif
    VALUE(interpreter_code_version, 0);
    VALUE(interpreter_version_cache, 0);
    VALUE(thread_size, sizeof(PyThreadState));
    OFFSET(thread_next, PyThreadState, next);
    OFFSET(thread_id, PyThreadState, thread_id);
    OFFSET(thread_interpreter, PyThreadState, interp);
#if PY_VERSION_HEX >= 0x030C0000
    OFFSET(thread_status, PyThreadState, _status);
#else
    VALUE(thread_status, 0);
#endif
#if PY_VERSION_HEX >= 0x030A0000
    OFFSET(thread_cframe, PyThreadState, cframe);
#else
    VALUE(thread_cframe, 0);
#endif
#if PY_VERSION_HEX >= 0x030B0000
    OFFSET(thread_frame, PyThreadState, cframe);
    OFFSET(cframe_frame, _PyCFrame, current_frame);
    VALUE(frame_size, offsetof(_PyInterpreterFrame, localsplus));
    OFFSET(frame_code, _PyInterpreterFrame, f_code);
    OFFSET(frame_previous, _PyInterpreterFrame, previous);
    OFFSET(frame_instruction, _PyInterpreterFrame, prev_instr);
    OFFSET(frame_owner, _PyInterpreterFrame, owner);
#else
    OFFSET(thread_frame, PyThreadState, frame);
    VALUE(cframe_frame, 0);
    VALUE(frame_size, sizeof(PyFrameObject));
    OFFSET(frame_code, PyFrameObject, f_code);
    OFFSET(frame_previous, PyFrameObject, f_back);
    OFFSET(frame_instruction, PyFrameObject, f_lasti);
    VALUE(frame_owner, 0);
#endif
    VALUE(code_size, sizeof(PyCodeObject));
    OFFSET(code_first_line, PyCodeObject, co_firstlineno);
    OFFSET(code_file, PyCodeObject, co_filename);
#if PY_VERSION_HEX >= 0x030B0000
    OFFSET(code_name, PyCodeObject, co_qualname);
    OFFSET(code_instructions, PyCodeObject, co_code_adaptive);
#else
    OFFSET(code_name, PyCodeObject, co_name);
    VALUE(code_instructions, 0);
#endif
#if PY_VERSION_HEX >= 0x030A0000
    OFFSET(code_line_table, PyCodeObject, co_linetable);
#else
    OFFSET(code_line_table, PyCodeObject, co_lnotab);
#endif
    VALUE(code_bytecodes, 0);
    VALUE(frame_bytecode, 0);
    OFFSET(string_length, PyASCIIObject, length);
    OFFSET(string_state, PyASCIIObject, state);
    VALUE(string_ascii_data, sizeof(PyASCIIObject));
    VALUE(string_compact_data, sizeof(PyCompactUnicodeObject));
    OFFSET(bytes_size, PyBytesObject, ob_base.ob_size);
    OFFSET(bytes_data, PyBytesObject, ob_sval);
    OFFSET(object_type, PyObject, ob_type);
    BIT(string_kind_shift, kind);
    BIT(string_compact_bit, compact);
    BIT(string_ascii_bit, ascii);
#if PY_VERSION_HEX >= 0x030C0000
    VALUE(owner_trampoline, FRAME_OWNED_BY_CSTACK);
    printf("    line_table_format: line_table::LOCATIONS,\n");
    VALUE(instruction_shift, 0);
    printf("    flags: flags::FRAME_IN_CFRAME | flags::FRAME_HAS_OWNER,\n");
#elif PY_VERSION_HEX >= 0x030B0000
    VALUE(owner_trampoline, 0);
    printf("    line_table_format: line_table::LOCATIONS,\n");
    VALUE(instruction_shift, 0);
    printf("    flags: flags::FRAME_IN_CFRAME,\n");
#else
    VALUE(owner_trampoline, 0);
#if PY_VERSION_HEX >= 0x030A0000
    /* `f_lasti` counts code units; before 3.10, bytes. */
    printf("    line_table_format: line_table::PEP626,\n");
    VALUE(instruction_shift, 1);
#else
    printf("    line_table_format: line_table::LNOTAB,\n");
    VALUE(instruction_shift, 0);
#endif
    printf("    flags: flags::INSTRUCTION_IS_INDEX,\n");
#endif
    printf("};\n");
    return 0;
}
