/* A Python that is linked against a shared library and names one of its objects without position-independent code: the
 * linker makes room for the object in this program, and the loader copies it there. */
#include <Python.h>

#if defined(WITH_NONE)
#define NAMED ((void *)Py_None)
#elif defined(WITH_TRUE)
#define NAMED ((void *)Py_True)
#elif defined(WITH_CODE)
#define NAMED ((void *)&PyCode_Type)
#elif defined(WITH_VARIABLE)
#define NAMED ((void *)&PyContextVar_Type)
#elif defined(WITH_RUNTIME)
extern char _PyRuntime[];
#define NAMED ((void *)_PyRuntime)
#else
#define NAMED NULL
#endif

void *volatile named;

int main(int count, char **arguments) {
    named = NAMED;
    return Py_BytesMain(count, arguments);
}
