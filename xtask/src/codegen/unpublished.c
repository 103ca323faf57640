/* Prints one `Unpublished` (profiler/src/targets/python/unpublished.rs) as Rust, for the headers it is
 * compiled against. Run by `cargo xtask codegen`. */
#define Py_BUILD_CORE 1
#include <Python.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include "internal/pycore_frame.h"
#include "internal/pycore_interp.h"
#if PY_VERSION_HEX >= 0x030E0000
#include "internal/pycore_interpframe_structs.h"
#define TRAMPOLINE FRAME_OWNED_BY_INTERPRETER
#else
#define TRAMPOLINE FRAME_OWNED_BY_CSTACK
#endif

#define OFFSET(field, type, member) printf("    %s: %zu,\n", #field, offsetof(type, member))

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
    printf("Unpublished = Unpublished {\n");
    printf("    string_compact_data: %zu,\n", sizeof(PyCompactUnicodeObject));
    BIT(string_kind_shift, kind);
    BIT(string_compact_bit, compact);
    BIT(string_ascii_bit, ascii);
    printf("    owner_trampoline: %d,\n", TRAMPOLINE);
    OFFSET(interpreter_code_version, PyInterpreterState, func_state.next_version);
    OFFSET(interpreter_version_cache, PyInterpreterState, func_state.func_version_cache);
    printf("};\n");
    return 0;
}
