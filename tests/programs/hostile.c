/* Processes that lie about the Python in them. `hostile HOW LIBRARY SECONDS`; the library is that of
 * CPython 3.12, whose structures are built here by hand (`cargo xtask codegen` has the offsets).
 *
 *   garbage   _PyRuntime is overwritten with noise, again and again
 *   frames    a frame that is its own caller, of a function whose name claims 2^60 bytes
 *   threads   a thread state that follows itself
 *   mapping   the library is mapped and unmapped, again and again
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { INTERPRETERS = 40, THREADS = 72, NEXT = 8, CFRAME = 56 };
enum { FRAME_CODE = 0, FRAME_PREVIOUS = 8, FRAME_INSTRUCTION = 56 };
enum { CODE_LINE = 68, CODE_FILE = 112, CODE_NAME = 128, CODE_TABLE = 136 };

static char interpreter[1 << 19], thread[4096], cframe[64], frame[256], code[512], text[4096];

static void put(char *at, uint64_t value) { memcpy(at, &value, sizeof value); }

/* Has every thread-local word of CPython's library lead to the state: one of them says which is attached. */
static int attach(struct dl_phdr_info *info, size_t size, void *state) {
    (void)size;
    if (!strstr(info->dlpi_name, "libpython") || !info->dlpi_tls_data)
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_TLS)
            for (size_t at = 0; at + 8 <= info->dlpi_phdr[i].p_memsz; at += 8)
                put((char *)info->dlpi_tls_data + at, (uint64_t)state);
    return 1;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int count, char **arguments) {
    if (count != 4)
        return 2;
    const char *how = arguments[1];
    double end = now() + atof(arguments[3]);
    if (!strcmp(how, "mapping")) {
        int file = open(arguments[2], O_RDONLY);
        while (now() < end) {
            void *map = mmap(NULL, 1 << 16, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
            munmap(map, 1 << 16);
        }
        return 0;
    }
    void *library = dlopen(arguments[2], RTLD_NOW);
    char *runtime = library ? dlsym(library, "_PyRuntime") : NULL;
    if (!runtime)
        return 1;
    if (!strcmp(how, "garbage")) {
        while (now() < end)
            for (size_t at = 0; at < 4096; at += 8)
                put(runtime + at, (uint64_t)random() << 20 ^ (uint64_t)random());
        _exit(0);
    }
    put(runtime + INTERPRETERS, (uint64_t)interpreter);
    put(interpreter + THREADS, (uint64_t)thread);
    put(thread + NEXT, (uint64_t)thread);
    if (!strcmp(how, "frames")) {
        /* The block is made when it is first asked for. */
        ((void *(*)(void))dlsym(library, "_PyThreadState_UncheckedGet"))();
        if (!dl_iterate_phdr(attach, thread))
            return 1;
        put(thread + CFRAME, (uint64_t)cframe);
        put(cframe, (uint64_t)frame);
        put(frame + FRAME_CODE, (uint64_t)code);
        put(frame + FRAME_PREVIOUS, (uint64_t)frame);
        put(frame + FRAME_INSTRUCTION, (uint64_t)code + 192);
        put(code + 8, (uint64_t)dlsym(library, "PyCode_Type"));
        put(code + CODE_LINE, 1);
        put(code + CODE_FILE, (uint64_t)text);
        put(code + CODE_NAME, (uint64_t)text);
        put(code + CODE_TABLE, (uint64_t)text);
        /* Length, then a state: one byte a character, compact, ASCII. */
        put(text + 16, UINT64_C(1) << 60);
        put(text + 32, 1 << 2 | 1 << 5 | 1 << 6);
        memset(text + 40, 'x', sizeof text - 40);
    }
    while (now() < end)
        ;
    _exit(0);
}
