/* A library that burns CPU in a thread of its own, which runs no Python. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <time.h>

static void *burn(void *milliseconds) {
    struct timespec now;
    intptr_t used;
    do {
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        used = now.tv_sec * 1000 + now.tv_nsec / 1000000;
    } while (used < (intptr_t)milliseconds);
    return NULL;
}

/* Starts it; returns at once. */
int start(long milliseconds, pthread_t *thread) {
    return pthread_create(thread, NULL, burn, (void *)(intptr_t)milliseconds);
}

int wait_for(pthread_t thread) { return pthread_join(thread, NULL); }
