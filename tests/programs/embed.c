/* A program that is called something else and runs Python: at once, or out of a library that it loads
 * only after some seconds. `embed LIBRARY SECONDS SCRIPT ARGUMENT...` */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int count, char **arguments) {
    if (count < 4)
        return 2;
    sleep((unsigned)atoi(arguments[2]));
    void *library = dlopen(arguments[1], RTLD_NOW | RTLD_GLOBAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    int (*run)(int, char **) = (int (*)(int, char **))dlsym(library, "Py_BytesMain");
    arguments[2] = arguments[0];
    return run(count - 2, arguments + 2);
}
