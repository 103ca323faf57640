/* Threads of C that run Python in a state that was handed to them, save it in the midst of that, and enter Python
 * again by the API for threads without a state: up to CPython 3.11 that gives them another state, later on the one
 * that they had last. The second thread comes from such a state of its own. */
#include "host.h"

enum { THREADS = 2 };
struct nest {
    const char *outer, *middle, *inner;
    PyThreadState *handed;
};
static struct nest nests[THREADS] = {{NULL, "a", "b"}, {"c", "d", "e"}};
static double until;
static __thread struct nest *mine;

static void enter_handed(void) {
    PyEval_AcquireThread(mine->handed);
    call("around_act", "(ssd)", mine->middle, "spin unlocked", 0.003);
    PyEval_ReleaseThread(mine->handed);
}

static void enter_again(void) {
    PyGILState_STATE before = PyGILState_Ensure();
    call("in_span", "(ssd)", mine->inner, "spin unlocked spin", 0.003);
    PyGILState_Release(before);
}

/* Called from Python: goes one level deeper. */
static void act(void) {
    PyThreadState *saved = PyEval_SaveThread();
    if (saved == mine->handed)
        enter_again();
    else
        enter_handed();
    PyEval_RestoreThread(saved);
}

static void *work(void *argument) {
    mine = argument;
    while (used() < until) {
        if (mine->outer) {
            PyGILState_STATE before = PyGILState_Ensure();
            call("around_act", "(ssd)", mine->outer, "spin unlocked", 0.003);
            PyGILState_Release(before);
        } else {
            enter_handed();
        }
        burn_without_python(0.001);
    }
    return NULL;
}

static void prepare(void) {
    for (int i = 0; i < THREADS; i++)
        nests[i].handed = PyThreadState_New(PyInterpreterState_Main());
}

static void run(double seconds) {
    static const char *const names[THREADS] = {"handed", "own"};
    pthread_t threads[THREADS];
    until = used() + seconds;
    PyThreadState *state = PyEval_SaveThread();
    for (int i = 0; i < THREADS; i++)
        threads[i] = start(names[i], work, &nests[i]);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    PyEval_RestoreThread(state);
}

const struct program nested = {"nested", run, .prepare = prepare, .act = act};
