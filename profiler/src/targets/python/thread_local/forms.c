/* Two halves: functions that return a thread-local, as CPython's do and under their names (FUNCTIONS), and a
   program that gives it a value in some threads and says which (PROGRAM). */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef FUNCTIONS

/* So that the other one is not the first. */
__thread void *before = (void *)1;
LINKAGE __thread void *_Py_tss_tstate;

static inline void *current(void) { return _Py_tss_tstate; }

static inline void *ensure(const char *function, void *state) {
    if (state == NULL) {
        fprintf(stderr, "%s: no thread state\n", function);
        abort();
    }
    return state;
}

void *_PyThreadState_GetCurrent(void) { return current(); }

void *PyThreadState_GetUnchecked(void) { return _Py_tss_tstate; }

void *PyThreadState_Get(void) { return ensure(__func__, current()); }

/* Another one, unless told otherwise. */
#ifndef OTHER
#define OTHER before
#endif
void *_PyThreadState_UncheckedGet(void) { return OTHER; }

void attach(void *state) { _Py_tss_tstate = state; }

#endif

#ifdef PROGRAM

typedef void *get_function(void);
typedef void attach_function(void *);

static get_function *get;
static attach_function *attach_state;
static pthread_barrier_t barrier;

static void say(void *state) {
    unsigned long pointer;
    __asm__("mov %%fs:0, %0" : "=r"(pointer));
    if (state != NULL) {
        attach_state(state);
        state = get();
    }
    printf("%#lx %#lx\n", pointer, (unsigned long)state);
}

/* Never uses the thread-local if it is given none. */
static void *run(void *state) {
    say(state);
    pthread_barrier_wait(&barrier);
    pause();
    return NULL;
}

static void start(void *state) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, state) != 0)
        abort();
    pthread_barrier_wait(&barrier);
}

int main(int count, char **arguments) {
    (void)count;
    (void)arguments;
    pthread_barrier_init(&barrier, NULL, 2);
    start(NULL);
#ifdef LOADS
    void *library = dlopen(arguments[1], RTLD_NOW);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    get = (get_function *)dlsym(library, "PyThreadState_GetUnchecked");
    attach_state = (attach_function *)dlsym(library, "attach");
#else
    extern get_function PyThreadState_GetUnchecked;
    extern attach_function attach;
    get = PyThreadState_GetUnchecked;
    attach_state = attach;
#endif
    start(NULL);
    start((void *)0x5eed0);
    say((void *)0x5eed8);
    puts("end");
    fflush(stdout);
    getchar();
    return 0;
}

#endif
