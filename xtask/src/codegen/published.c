/* Prints one `Published` (profiler/src/targets/python/offsets.rs) as Rust, for the headers it is compiled
 * against: which word of `_Py_DebugOffsets` says what. Run by `cargo xtask codegen`. */
#define Py_BUILD_CORE 1
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#if PY_VERSION_HEX >= 0x030E0000
#include "internal/pycore_debug_offsets.h"
#else
#include "internal/pycore_runtime.h"
#endif

#define INDEX(member) (offsetof(_Py_DebugOffsets, member) / sizeof(uint64_t))
/* Anything but a word would not be told by an index. */
#define CHECK(member)                                                                       \
    _Static_assert(sizeof(((_Py_DebugOffsets *)0)->member) == sizeof(uint64_t), #member);    \
    _Static_assert(offsetof(_Py_DebugOffsets, member) % sizeof(uint64_t) == 0, #member)
#define WORD(field, member)                                                                 \
    do {                                                                                    \
        CHECK(member);                                                                      \
        printf("    %s: %zu,\n", #field, INDEX(member));                                    \
    } while (0)
#define SOME(field, member)                                                                 \
    do {                                                                                    \
        CHECK(member);                                                                      \
        printf("    %s: Some(%zu),\n", #field, INDEX(member));                              \
    } while (0)
#define NONE(field) printf("    %s: None,\n", #field)

int main(void) {
    printf("Published = Published {\n");
    printf("    words: %zu,\n", sizeof(_Py_DebugOffsets) / sizeof(uint64_t));
    WORD(runtime_size, runtime_state.size);
    WORD(runtime_interpreters, runtime_state.interpreters_head);
    WORD(interpreter_size, interpreter_state.size);
    WORD(interpreter_next, interpreter_state.next);
    WORD(interpreter_threads, interpreter_state.threads_head);
    WORD(interpreter_id, interpreter_state.id);
    WORD(interpreter_modules, interpreter_state.imports_modules);
    WORD(thread_size, thread_state.size);
    WORD(thread_next, thread_state.next);
    WORD(thread_id, thread_state.thread_id);
    WORD(thread_frame, thread_state.current_frame);
    WORD(thread_interpreter, thread_state.interp);
    WORD(thread_status, thread_state.status);
    WORD(frame_size, interpreter_frame.size);
    WORD(frame_code, interpreter_frame.executable);
    WORD(frame_previous, interpreter_frame.previous);
    WORD(frame_instruction, interpreter_frame.instr_ptr);
    WORD(frame_owner, interpreter_frame.owner);
    WORD(code_size, code_object.size);
    WORD(code_first_line, code_object.firstlineno);
    WORD(code_file, code_object.filename);
    WORD(code_name, code_object.qualname);
    WORD(code_instructions, code_object.co_code_adaptive);
    WORD(code_line_table, code_object.linetable);
    WORD(string_length, unicode_object.length);
    WORD(string_state, unicode_object.state);
    WORD(string_ascii_data, unicode_object.asciiobject_size);
    WORD(bytes_size, bytes_object.ob_size);
    WORD(bytes_data, bytes_object.ob_sval);
    WORD(object_type, pyobject.ob_type);
#if PY_VERSION_HEX >= 0x030E0000
    SOME(frame_bytecode, interpreter_frame.tlbc_index);
    SOME(code_bytecodes, code_object.co_tlbc);
#else
    NONE(frame_bytecode);
    NONE(code_bytecodes);
#endif
#if PY_VERSION_HEX >= 0x030F0000
    SOME(string_compact_data, unicode_object.compactunicodeobject_size);
#else
    NONE(string_compact_data);
#endif
    printf("};\n");
    return 0;
}
