/* What tells PyPy: the function that its library exports and its program calls. It burns CPU for so many
   seconds, or for three. */
#include <stdlib.h>
#include <time.h>

int pypy_main_startup(int argc, char **argv) {
    time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 3);
    volatile int turns = argc;
    while (time(NULL) < end)
        turns++;
    return 0;
}

int main(int argc, char **argv) { return pypy_main_startup(argc, argv); }
