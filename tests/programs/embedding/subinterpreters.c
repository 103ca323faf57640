/* Sub-interpreters that Python code makes: all is in the Python part. */
#include "host.h"

static void before(void) {
    call_in("embedding.subinterpreters", "start_early", "()");
}

static void prepare(void) {
    call_in("embedding.subinterpreters", "prepare", "()");
}

static void run(double seconds) {
    call_in("embedding.subinterpreters", "run", "(d)", seconds);
}

const struct program subinterpreters = {"subinterpreters", run, .before = before, .prepare = prepare};
