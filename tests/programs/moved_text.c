/* A library that moves the code of every file whose path has MOVED_TEXT in it to memory of no file, as programs do that
 * want it in huge pages: when it is loaded, if MOVED_AT_START is set, or when it is called. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MOST 16

struct range {
    unsigned long start, end;
};

static void move(struct range range) {
    size_t size = range.end - range.start;
    void *copy = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED)
        abort();
    madvise(copy, size, MADV_HUGEPAGE);
    memcpy(copy, (void *)range.start, size);
    if (mprotect(copy, size, PROT_READ | PROT_EXEC))
        abort();
    if (mremap(copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)range.start) == MAP_FAILED)
        abort();
}

int move_text(void) {
    const char *wanted = getenv("MOVED_TEXT");
    FILE *maps = fopen("/proc/self/maps", "r");
    if (!wanted || !maps)
        abort();
    struct range found[MOST];
    int count = 0;
    char line[4096], rights[8];
    while (count < MOST && fgets(line, sizeof line, maps)) {
        struct range *range = &found[count];
        int fields = sscanf(line, "%lx-%lx %7s", &range->start, &range->end, rights);
        count += fields == 3 && rights[2] == 'x' && strstr(line, wanted);
    }
    fclose(maps);
    for (int index = 0; index < count; index++)
        move(found[index]);
    return count;
}

__attribute__((constructor)) static void start(void) {
    if (getenv("MOVED_AT_START"))
        move_text();
}
