/* A pool of states over a pool of threads: each job attaches whichever state is free on whichever thread; the
 * first jobs make them. */
#include "host.h"

enum { STATES = 6, THREADS = 4 };
static const char *const SPANS[STATES] = {"a", "b", "c", "d", "e", "f"};
static PyThreadState *states[STATES];
static bool is_taken[STATES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_t threads[THREADS];
static double until;
static sem_t begun;

/* Takes a state other than the last that was taken, so that threads do not keep theirs; makes it if need be. */
static int take(void) {
    static int last;
    pthread_mutex_lock(&lock);
    do
        last = (last + 1) % STATES;
    while (is_taken[last]);
    int taken = last;
    is_taken[taken] = true;
    if (!states[taken])
        states[taken] = PyThreadState_New(PyInterpreterState_Main());
    pthread_mutex_unlock(&lock);
    return taken;
}

static void give_back(int taken) {
    pthread_mutex_lock(&lock);
    is_taken[taken] = false;
    pthread_mutex_unlock(&lock);
}

static void *work(void *none) {
    sem_wait(&begun);
    while (used() < until) {
        int taken = take();
        PyEval_AcquireThread(states[taken]);
        protect_here(states[taken]);
        call("in_span", "(ssd)", SPANS[taken], "spin unlocked checksum", 0.002);
        PyEval_ReleaseThread(states[taken]);
        give_back(taken);
        burn_without_python(0.001);
    }
    return NULL;
}

static void prepare(void) {
    sem_init(&begun, 0, 0);
    for (int i = 0; i < THREADS; i++)
        threads[i] = start("pool", work, NULL);
}

static void run(double seconds) {
    until = used() + seconds;
    PyThreadState *mine = PyEval_SaveThread();
    for (int i = 0; i < THREADS; i++)
        sem_post(&begun);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    PyEval_RestoreThread(mine);
}

const struct program pool = {"pool", run, .prepare = prepare};
