/* A program that has CPython linked into it, and work of its own that runs above Python frames: a
 * function that the interpreter calls whenever Python code calls a function. */
#include <time.h>

void Py_Initialize(void);
void PyEval_SetProfile(int (*function)(void *, void *, int, void *), void *argument);
int PyRun_SimpleString(const char *script);

static double used(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

int own_work(void *argument, void *frame, int what, void *value) {
    (void)argument, (void)frame, (void)value;
    if (what != 0)
        return 0;
    for (double end = used() + 0.01; used() < end;)
        for (volatile int i = 0; i < 200000; i++)
            ;
    return 0;
}

int main(void) {
    Py_Initialize();
    PyEval_SetProfile(own_work, 0);
    return PyRun_SimpleString("def called():\n"
                              "    return None\n"
                              "for _ in range(200):\n"
                              "    called()\n");
}
