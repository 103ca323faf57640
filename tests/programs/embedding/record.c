/* The record, and the module `host` by which Python parts write it, too. */
#include "host.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int file;

void open_record(void) {
    const char *path = getenv("STATES_FILE");
    file = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
    require(file >= 0, "STATES_FILE names a file");
}

static int64_t nanoseconds(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

double used(void) {
    return nanoseconds(CLOCK_PROCESS_CPUTIME_ID) / 1e9;
}

/* In one write, so that threads do not mix their lines. */
static void record(const char *kind, int64_t begin, int64_t cpu, uint64_t span, const char *stack) {
    char line[2048];
    int size = snprintf(line, sizeof line, "%s %ld %lld %lld %lld %llu %s\n", kind, syscall(SYS_gettid),
                        (long long)begin, (long long)nanoseconds(CLOCK_BOOTTIME), (long long)cpu,
                        (unsigned long long)span, stack);
    require(size < (int)sizeof line && write(file, line, size) == size, "a line of the record is written");
}

/* Uses CPU time of this thread; returns when it began and how much it was. */
static int64_t burn(double seconds, int64_t *spent) {
    int64_t begin = nanoseconds(CLOCK_BOOTTIME), cpu = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
    while ((*spent = nanoseconds(CLOCK_THREAD_CPUTIME_ID) - cpu) < seconds * 1e9)
        for (volatile int i = 0; i < 20000; i++)
            ;
    return begin;
}

__attribute__((noinline)) void burn_without_python(double seconds) {
    int64_t spent, begin = burn(seconds, &spent);
    record("native", begin, spent, 0, "");
}

__attribute__((noinline)) static void burn_detached(const char *kind, double seconds, uint64_t span,
                                                    const char *stack) {
    int64_t spent, begin = burn(seconds, &spent);
    record(kind, begin, spent, span, stack);
}

static PyObject *host_now(PyObject *self, PyObject *none) {
    return PyLong_FromLongLong(nanoseconds(CLOCK_BOOTTIME));
}

/* stretch(kind, begin, cpu, span, stack): ends a stretch. */
static PyObject *host_stretch(PyObject *self, PyObject *arguments) {
    const char *kind, *stack;
    long long begin, cpu;
    unsigned long long span;
    if (!PyArg_ParseTuple(arguments, "sLLKs", &kind, &begin, &cpu, &span, &stack))
        return NULL;
    record(kind, begin, cpu, span, stack);
    return PyLong_FromLong(0);
}

/* unlocked(kind, seconds, span, stack): burns without the GIL, and records it. */
static PyObject *host_unlocked(PyObject *self, PyObject *arguments) {
    double seconds;
    const char *kind, *stack;
    unsigned long long span;
    if (!PyArg_ParseTuple(arguments, "sdKs", &kind, &seconds, &span, &stack))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    burn_detached(kind, seconds, span, stack);
    Py_END_ALLOW_THREADS
    return PyLong_FromLong(0);
}

/* act(): what the program does in the midst of its Python part. */
static PyObject *host_act(PyObject *self, PyObject *none) {
    program->act();
    return PyErr_Occurred() ? NULL : PyLong_FromLong(0);
}

static PyMethodDef functions[] = {
    {"now", host_now, METH_NOARGS, 0},
    {"stretch", host_stretch, METH_VARARGS, 0},
    {"unlocked", host_unlocked, METH_VARARGS, 0},
    {"act", host_act, METH_NOARGS, 0},
    {0},
};
/* Every interpreter may have it. */
static PyModuleDef_Slot slots[] = {
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "host", 0, 0, functions, slots};

PyMODINIT_FUNC PyInit_host(void) {
    return PyModuleDef_Init(&module);
}
