/* A state is handed over once. Then each task has a thread of its own, with a state that is made for it, at addresses
 * that other threads' states had. */
#include "host.h"

enum { WORKERS = 4 };
static const char *const spans[WORKERS] = {"a", "b", "c", "d"};
static double until;

static void *take(void *state) {
    PyEval_AcquireThread(state);
    call("in_span", "(ssd)", "f", "spin unlocked", 0.02);
    PyThreadState_Clear(state);
    PyThreadState_DeleteCurrent();
    return NULL;
}

static void *do_task(void *span) {
    PyGILState_STATE before = PyGILState_Ensure();
    call("in_span", "(ssd)", span, "spin unlocked", 0.002);
    PyGILState_Release(before);
    burn_without_python(0.001);
    return NULL;
}

static void *work(void *span) {
    while (used() < until)
        pthread_join(start("task", do_task, span), NULL);
    return NULL;
}

static void run(double seconds) {
    pthread_t workers[WORKERS];
    until = used() + seconds;
    PyThreadState *handed = PyThreadState_New(PyInterpreterState_Main()), *mine = PyEval_SaveThread();
    pthread_join(start("handed", take, handed), NULL);
    for (int i = 0; i < WORKERS; i++)
        workers[i] = start("worker", work, (void *)spans[i]);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(workers[i], NULL);
    PyEval_RestoreThread(mine);
}

const struct program churned = {"churned", run};
