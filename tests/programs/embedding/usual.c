/* The usual cases: the main thread, threads of Python, and threads of C that use the API for threads without a state,
 * which gives them a new state each time. */
#include "host.h"

enum { THREADS = 2 };
static double until;

static void *work(void *span) {
    while (used() < until) {
        PyGILState_STATE before = PyGILState_Ensure();
        call("in_span", "(ssd)", span, "spin unlocked checksum", 0.003);
        PyGILState_Release(before);
        burn_without_python(0.001);
    }
    return NULL;
}

static void run(double seconds) {
    static char *const spans[THREADS] = {"a", "b"};
    pthread_t threads[THREADS];
    until = used() + seconds;
    for (int i = 0; i < THREADS; i++)
        threads[i] = start(spans[i], work, spans[i]);
    call("loop_in_threads", "(ssd)", "c", "spin unlocked", until);
    call("loop", "(ssd)", "d", "spin unlocked", until);
    PyThreadState *mine = PyEval_SaveThread();
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    PyEval_RestoreThread(mine);
}

const struct program usual = {"usual", run};
