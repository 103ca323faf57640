/* Tasks that take turns on one thread, as runtimes of tasks have them: two with a state of their own, suspended
 * in a call from Python to C, and one that has nothing to do with Python. Their stacks are side by side: in one
 * array (`tasks`), or mapped below the stack of the thread that runs them (`fibers`). */
#include "host.h"
#ifdef __GLIBC__
#include <sys/mman.h>
#include <ucontext.h>

enum { TASKS = 3, SIZE = 1 << 20, MAPPED = 256 << 10, GUARD = 4096 };
static char array[TASKS][SIZE];
static char *stacks[TASKS];
static size_t size;
static ucontext_t main_task, contexts[TASKS];
static PyThreadState *states[TASKS];
static int current;
static double until;

/* Goes on in another task. */
static void turn_to(int next) {
    int last = current;
    current = next;
    swapcontext(&contexts[last], &contexts[next]);
}

/* The first task goes on after each other one, so that most of the time is its own. */
static void act(void) {
    static int turns;
    PyThreadState *mine = PyEval_SaveThread();
    turn_to(current == 0 ? 1 + turns++ % (TASKS - 1) : 0);
    PyEval_RestoreThread(mine);
}

static void run_python(int number, const char *span, double seconds) {
    PyEval_RestoreThread(states[number]);
    call("turns", "(sdd)", span, seconds, until);
    PyEval_SaveThread();
    /* The first to end ends all. */
    setcontext(&main_task);
}

static void first(void) { run_python(0, "a", 0.006); }
static void second(void) { run_python(1, "b", 0.004); }

static void third(void) {
    for (;;) {
        burn_without_python(0.004);
        turn_to(0);
    }
}

static void make_states(void) {
    for (int i = 0; i < 2; i++) {
        states[i] = PyThreadState_New(PyThreadState_Get()->interp);
        protect(states[i], stacks[i], size);
    }
}

static void prepare(void) {
    size = SIZE;
    for (int i = 0; i < TASKS; i++)
        stacks[i] = array[i];
    make_states();
}

static void run(double seconds) {
    void (*const functions[TASKS])(void) = {first, second, third};
    until = used() + seconds;
    for (int i = 0; i < TASKS; i++) {
        getcontext(&contexts[i]);
        contexts[i].uc_stack.ss_sp = stacks[i];
        contexts[i].uc_stack.ss_size = size;
        makecontext(&contexts[i], functions[i], 0);
    }
    PyThreadState *mine = PyEval_SaveThread();
    current = 0;
    swapcontext(&main_task, &contexts[0]);
    PyEval_RestoreThread(mine);
}

static void *work(void *seconds) {
    PyGILState_STATE before = PyGILState_Ensure();
    size = MAPPED;
    for (int i = 0; i < TASKS; i++) {
        char *mapped = mmap(NULL, MAPPED + GUARD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        require(mapped != MAP_FAILED && !mprotect(mapped, GUARD, PROT_NONE), "there is room for a stack");
        stacks[i] = mapped + GUARD;
    }
    make_states();
    run(*(double *)seconds);
    PyGILState_Release(before);
    return NULL;
}

static void run_in_thread(double seconds) {
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 1 << 20);
    PyThreadState *mine = PyEval_SaveThread();
    require(!pthread_create(&thread, &attributes, work, &seconds), "there is a thread");
    pthread_join(thread, NULL);
    PyEval_RestoreThread(mine);
}

const struct program tasks = {"tasks", run, .prepare = prepare, .act = act};
const struct program fibers = {"fibers", run_in_thread, .act = act};
#else
static void run(double seconds) {
    require(false, "the C library has swapcontext");
}

const struct program tasks = {"tasks", run}, fibers = {"fibers", run};
#endif
