/* What the programs that embed CPython share: CPU time to burn, and a record of which thread ran what when.
 *
 * A program uses CPU time for some seconds, and records a stretch each time that a thread has done one and the same
 * thing: a line `KIND TID BEGIN END CPU SPAN STACK` in the file that STATES_FILE names. BEGIN and END are
 * nanoseconds of CLOCK_BOOTTIME, which the kernel stamps samples with, CPU nanoseconds of the thread, SPAN the
 * current span's id in decimal or 0, and STACK the names of the Python functions, leaf first, `;` between them.
 */
#pragma once
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>

/* What a program does; but for `run`, there may be nothing. All are called with a state attached. */
struct program {
    const char *name;
    /* While it is profiled. */
    void (*run)(double seconds);
    /* Before OpenTelemetry is imported. */
    void (*before)(void);
    /* Thereafter, before anybody has seen it. */
    void (*prepare)(void);
    /* As `host.act` of the Python part. */
    void (*act)(void);
};
extern const struct program usual, made, pool, churned, moved, tasks, fibers, nested, interpreters, subinterpreters;
extern const struct program *program;

/* The module `host`. */
PyMODINIT_FUNC PyInit_host(void);

void open_record(void);

/* Burns CPU time in C on a stack that has no Python below it, or whose Python's state another thread has taken:
 * a sample here must have no Python. */
void burn_without_python(double seconds);

/* Seconds of CPU time that the process has used: programs work for a number of them, however fast they are. */
double used(void);

/* Calls a function of `embedding.parts`, or of another module, in the interpreter that is attached; ends the
 * program if it raises. */
void call(const char *function, const char *format, ...);
void call_in(const char *module, const char *function, const char *format, ...);

/* Starts a thread of this name. */
pthread_t start(const char *name, void *(*function)(void *), void *argument);

/* Ends the program with a message unless a condition holds. */
void require(bool condition, const char *what);

/* Tells CPython where the stack is on which a state is going to run: 3.14 and later need that. */
void protect(PyThreadState *state, void *stack, size_t size);
/* The same for the current thread's own stack. */
void protect_here(PyThreadState *state);
