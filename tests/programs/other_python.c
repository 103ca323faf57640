/* What tells PyPy: the function that its library exports and its program calls. It burns CPU for three seconds. */
#include <time.h>

int pypy_main_startup(int argc, char **argv) {
    (void)argv;
    time_t end = time(NULL) + 3;
    volatile int turns = argc;
    while (time(NULL) < end)
        turns++;
    return 0;
}

int main(int argc, char **argv) { return pypy_main_startup(argc, argv); }
