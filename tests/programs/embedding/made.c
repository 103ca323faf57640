/* The main thread makes a state for each of its workers and hands it over, before anybody has seen either; the
 * workers acquire them, and it goes on in Python itself. */
#include "host.h"

struct worker {
    const char *span, *ways;
    PyThreadState *state;
    pthread_t thread;
};
static struct worker workers[] = {
    {"c", "spin"},
    {"d", "unlocked checksum"},
    {"plain", "spin sleep"},
    /* The last is the first that is found, and and gives most away. */
    {"b", "sleep"},
};
enum { COUNT = sizeof workers / sizeof *workers };
static double until;

static void *work(void *argument) {
    struct worker *its = argument;
    PyEval_AcquireThread(its->state);
    call("wait_in", "(s)", its->span);
    call("loop", "(ssd)", its->span, its->ways, until);
    PyEval_ReleaseThread(its->state);
    return NULL;
}

static void prepare(void) {
    for (int i = 0; i < COUNT; i++) {
        workers[i].state = PyThreadState_New(PyThreadState_Get()->interp);
        workers[i].thread = start(workers[i].span, work, &workers[i]);
    }
}

static void run(double seconds) {
    until = used() + seconds;
    call("begin", "()");
    call("loop", "(ssd)", "a", "spin unlocked", until);
    PyThreadState *mine = PyEval_SaveThread();
    for (int i = 0; i < COUNT; i++)
        pthread_join(workers[i].thread, NULL);
    PyEval_RestoreThread(mine);
}

const struct program made = {"made", run, .prepare = prepare};
