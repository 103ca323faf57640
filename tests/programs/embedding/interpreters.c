/* Sub-interpreters that C makes, enters from several kinds of threads, and destroys in a loop; in some of them
 * OpenTelemetry is imported, as in application servers that put each application into one. */
#include "host.h"

enum { MANY = 64, EACH = 3 };
/* What enters an interpreter: the thread that made it, one that it hands a state to, and the main thread from a
 * call in the main interpreter. */
static PyThreadState *made_by_thread, *handed, *made_by_main;
static double until;
static sem_t is_made, begun, is_left;
static pthread_t threads[3];

/* A new interpreter of the caller's thread, attached. */
static PyThreadState *make(void) {
    PyThreadState *state = Py_NewInterpreter();
    require(state, "an interpreter is made");
    return state;
}

/* With OpenTelemetry: stays, and is entered from two threads. */
static void *serve(void *argument) {
    PyThreadState *own = PyThreadState_New(PyInterpreterState_Main());
    PyEval_AcquireThread(own);
    made_by_thread = make();
    call("set_up", "()");
    handed = PyThreadState_New(made_by_thread->interp);
    PyEval_SaveThread();
    sem_post(&is_made);
    sem_wait(&begun);
    while (used() < until) {
        PyEval_RestoreThread(made_by_thread);
        call("in_span", "(ssd)", "b", "spin unlocked", 0.004);
        PyEval_SaveThread();
        burn_without_python(0.001);
        PyEval_RestoreThread(own);
        call("in_span", "(ssd)", "c", "spin unlocked", 0.004);
        PyEval_SaveThread();
    }
    sem_wait(&is_left);
    PyEval_RestoreThread(made_by_thread);
    Py_EndInterpreter(made_by_thread);
    PyThreadState_Swap(own);
    PyEval_ReleaseThread(own);
    return NULL;
}

static void *visit(void *argument) {
    while (used() < until) {
        PyEval_RestoreThread(handed);
        call("in_span", "(ssd)", "d", "spin unlocked", 0.004);
        PyEval_SaveThread();
        burn_without_python(0.001);
    }
    PyEval_RestoreThread(handed);
    PyThreadState_Clear(handed);
    PyThreadState_DeleteCurrent();
    sem_post(&is_left);
    return NULL;
}

/* Without OpenTelemetry: each lives for a moment, and the next may have its addresses. */
static void *churn(void *argument) {
    PyThreadState *own = PyThreadState_New(PyInterpreterState_Main());
    PyEval_AcquireThread(own);
    while (used() < until) {
        PyThreadState *state = make();
        call_in("embedding.plain", "burn_plain", "(sd)", "spin unlocked", 0.004);
        Py_EndInterpreter(state);
        PyThreadState_Swap(own);
        call("in_span", "(ssd)", "e", "spin", 0.004);
    }
    PyEval_ReleaseThread(own);
    return NULL;
}

/* Called from Python in the main interpreter: the same thread goes into another and comes back. */
static void act(void) {
    PyThreadState *outer = PyThreadState_Swap(made_by_main);
    call_in("embedding.plain", "burn_plain", "(sd)", "spin unlocked", 0.004);
    PyThreadState_Swap(outer);
}

/* All alive at a time; Python runs in some of them. */
static void have_many(void) {
    PyThreadState *own = PyThreadState_Get(), *states[MANY];
    for (int i = 0; i < MANY; i++) {
        states[i] = make();
        PyThreadState_Swap(own);
    }
    for (int i = 0; i < MANY; i += MANY / EACH) {
        PyThreadState_Swap(states[i]);
        call_in("embedding.plain", "burn_plain", "(sd)", "spin unlocked", 0.01);
        PyThreadState_Swap(own);
        call("around_act", "(ssd)", "f", "spin unlocked", 0.01);
    }
    for (int i = 0; i < MANY; i++) {
        PyThreadState_Swap(states[i]);
        Py_EndInterpreter(states[i]);
    }
    PyThreadState_Swap(own);
}

/* Interpreters whose spans are judged are there before the profiler looks. */
static void prepare(void) {
    PyThreadState *own = PyThreadState_Get();
    sem_init(&is_made, 0, 0);
    sem_init(&begun, 0, 0);
    sem_init(&is_left, 0, 0);
    made_by_main = make();
    PyThreadState_Swap(own);
    threads[0] = start("serve", serve, NULL);
    own = PyEval_SaveThread();
    sem_wait(&is_made);
    PyEval_RestoreThread(own);
}

static void run(double seconds) {
    until = used() + seconds;
    sem_post(&begun);
    threads[1] = start("visit", visit, NULL);
    threads[2] = start("churn", churn, NULL);
    while (used() < until)
        call("around_act", "(ssd)", "a", "spin unlocked", 0.004);
    PyThreadState *mine = PyEval_SaveThread();
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    PyEval_RestoreThread(mine);
    have_many();
}

const struct program interpreters = {"interpreters", run, .prepare = prepare, .act = act};
