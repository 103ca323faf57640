/* A program that embeds CPython and hands its thread states about: `host PROGRAM SECONDS`, of CPU time. */
#include "host.h"
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct program *const programs[] = {
    &usual, &made, &pool, &churned, &moved, &tasks, &fibers, &nested, &interpreters, &subinterpreters};
const struct program *program;

void require(bool condition, const char *what) {
    if (condition)
        return;
    fprintf(stderr, "not so: %s\n", what);
    _exit(1);
}

static void call_with(const char *module, const char *function, const char *format, va_list arguments) {
    PyObject *it = PyImport_ImportModule(module);
    PyObject *callable = it ? PyObject_GetAttrString(it, function) : NULL;
    PyObject *values = callable ? Py_VaBuildValue(format, arguments) : NULL;
    PyObject *result = values ? PyObject_CallObject(callable, values) : NULL;
    if (!result) {
        PyErr_Print();
        require(false, function);
    }
    Py_DECREF(result);
    Py_DECREF(values);
    Py_DECREF(callable);
    Py_DECREF(it);
}

void call_in(const char *module, const char *function, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    call_with(module, function, format, arguments);
    va_end(arguments);
}

void call(const char *function, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    call_with("embedding.parts", function, format, arguments);
    va_end(arguments);
}

pthread_t start(const char *name, void *(*function)(void *), void *argument) {
    pthread_t thread;
    require(pthread_create(&thread, NULL, function, argument) == 0, "a thread starts");
    pthread_setname_np(thread, name);
    return thread;
}

void protect(PyThreadState *state, void *stack, size_t size) {
#if PY_VERSION_HEX >= 0x030E0000
    require(PyUnstable_ThreadState_SetStackProtection(state, stack, size) == 0, "the stack is protected");
#endif
}

void protect_here(PyThreadState *state) {
#if PY_VERSION_HEX >= 0x030E0000
    PyUnstable_ThreadState_ResetStackProtection(state);
#endif
}

int main(int count, char **arguments) {
    for (size_t i = 0; count == 3 && i < sizeof programs / sizeof *programs; i++)
        if (!strcmp(arguments[1], programs[i]->name))
            program = programs[i];
    require(program, "the arguments are a program's name and seconds");
    open_record();
    PyImport_AppendInittab("host", PyInit_host);
    Py_InitializeEx(0);
    if (program->before)
        program->before();
    call("set_up", "()");
    if (program->prepare)
        program->prepare();
    call("wait_for_start", "()");
    program->run(atof(arguments[2]));
    call("wait_for_end", "()");
    /* Threads may still be about: nothing is torn down. */
    _exit(0);
}
