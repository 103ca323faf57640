/* Two threads make a state each, run Python in it and move it to a worker for good, one after its Python code has
 * returned, the other in a C function that its Python code has called. The workers go on in these states, while
 * their makers burn in C. */
#include "host.h"

struct move {
    const char *before, *after;
    bool is_in_python;
    PyThreadState *state;
    sem_t moved, attached, returned;
};
/* Round after round, each with another state. */
static struct move at_top = {"a", "b", false}, in_call = {"c", "d", true};
static double until;

/* Runs in the worker, in a state that the maker has left to it. */
static void *take_over(void *argument) {
    struct move *its = argument;
    while (sem_wait(&its->moved) == 0 && its->state) {
        PyEval_AcquireThread(its->state);
        protect_here(its->state);
        sem_post(&its->attached);
        /* In the span that the state came with, if it came with one. */
        call("go_on", "(sd)", "spin", 0.001);
        call("in_span", "(ssd)", its->after, "spin unlocked spin", 0.004);
        PyEval_ReleaseThread(its->state);
        /* The maker needs it again, to return from what it was in. */
        sem_post(&its->returned);
    }
    return NULL;
}

/* Burns while the worker has the state. */
static void leave(struct move *its) {
    sem_post(&its->moved);
    sem_wait(&its->attached);
    while (sem_trywait(&its->returned))
        burn_without_python(0.002);
}

static __thread struct move *mine;

static void act(void) {
    PyThreadState *state = PyEval_SaveThread();
    leave(mine);
    PyEval_RestoreThread(state);
    protect_here(state);
}

static void *make(void *argument) {
    struct move *its = mine = argument;
    pthread_t worker = start(its->after, take_over, its);
    while (used() < until) {
        its->state = PyThreadState_New(PyInterpreterState_Main());
        PyEval_AcquireThread(its->state);
        call(its->is_in_python ? "around_act" : "in_span", "(ssd)", its->before, "spin unlocked", 0.004);
        if (!its->is_in_python) {
            PyEval_ReleaseThread(its->state);
            leave(its);
            PyEval_AcquireThread(its->state);
        }
        PyThreadState_Clear(its->state);
        PyThreadState_DeleteCurrent();
    }
    its->state = NULL;
    sem_post(&its->moved);
    pthread_join(worker, NULL);
    return NULL;
}

static void run(double seconds) {
    struct move *moves[] = {&at_top, &in_call};
    pthread_t threads[2];
    until = used() + seconds;
    PyThreadState *state = PyEval_SaveThread();
    for (int i = 0; i < 2; i++) {
        sem_init(&moves[i]->moved, 0, 0);
        sem_init(&moves[i]->attached, 0, 0);
        sem_init(&moves[i]->returned, 0, 0);
        threads[i] = start(moves[i]->before, make, moves[i]);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    PyEval_RestoreThread(state);
}

const struct program moved = {"moved", run, .act = act};
