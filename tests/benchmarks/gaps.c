/* Reads the time stamp counter in a loop, and sums the gaps: the time that something else had the CPU.
 * Below some frames that a frame-pointer walk can follow. Built and called by gaps.py. */
#include <stdint.h>
#include <time.h>
#include <x86intrin.h>

struct result {
    double stolen_nanoseconds;
    double stopped_nanoseconds;
    double gaps;
    double nanoseconds;
};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return 1e9 * (double)time.tv_sec + (double)time.tv_nsec;
}

/* Shorter gaps are the loop's own; longer ones another process's turn, or a debugger's that stops this one. */
static const double SHORTEST = 1e3, LONGEST = 1.5e6;

static void spin(double seconds, double ticks_per_nanosecond, struct result *result) {
    const uint64_t shortest = (uint64_t)(SHORTEST * ticks_per_nanosecond);
    const uint64_t longest = (uint64_t)(LONGEST * ticks_per_nanosecond);
    const uint64_t start = __rdtsc();
    const uint64_t end = start + (uint64_t)(1e9 * seconds * ticks_per_nanosecond);
    uint64_t before = start, stolen = 0, stopped = 0, gaps = 0;
    while (before < end) {
        const uint64_t at = __rdtsc(), gap = at - before;
        if (gap > shortest && gap < longest) {
            stolen += gap;
            gaps += 1;
        } else if (gap >= longest) {
            stopped += gap;
        }
        before = at;
    }
    result->stolen_nanoseconds = (double)stolen / ticks_per_nanosecond;
    result->stopped_nanoseconds = (double)stopped / ticks_per_nanosecond;
    result->gaps = (double)gaps;
    result->nanoseconds = (double)(before - start) / ticks_per_nanosecond;
}

__attribute__((noinline)) static void below(int frames, double seconds, double ticks,
                                            struct result *result) {
    if (frames > 1) {
        below(frames - 1, seconds, ticks, result);
    } else {
        spin(seconds, ticks, result);
    }
    __asm__ volatile("");
}

void watch(int frames, double seconds, struct result *result) {
    const double start = now();
    const uint64_t ticks = __rdtsc();
    while (now() - start < 2e7) {
    }
    const double elapsed = now() - start;
    below(frames, seconds, (double)(__rdtsc() - ticks) / elapsed, result);
}
