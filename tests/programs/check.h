// What the test programs share: checks that name the line, and symbols found at run time.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Fails the program where `call` does not answer `code`.
#define EXPECT(code, call)                                                                     \
    do {                                                                                       \
        int answer_ = (int)(call);                                                             \
        if (answer_ != (code)) {                                                               \
            fprintf(stderr, "%s:%d: %s = %d, not %d\n", __FILE__, __LINE__, #call, answer_,    \
                    (int)(code));                                                              \
            exit(1);                                                                           \
        }                                                                                      \
    } while (0)
#define OK(call) EXPECT(0, call)
#define HOLDS(what) EXPECT(1, (what) ? 1 : 0)

// Declares a function and finds it in the library `lib`.
#define FIND(result, name, ...)                                                                \
    result (*name)(__VA_ARGS__) = (result(*)(__VA_ARGS__))dlsym(lib, #name);                   \
    if (!name) {                                                                               \
        fprintf(stderr, "no %s\n", #name);                                                     \
        exit(1);                                                                               \
    }

// Opens a library or ends the program.
static inline void *open_library(const char *name) {
    void *lib = dlopen(name, RTLD_NOW | RTLD_GLOBAL);
    if (!lib) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    return lib;
}

// The bytes of a file and a NUL, never freed.
static inline char *read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    size_t room = 4 << 20;
    char *bytes = calloc(1, room);
    if (!file || !bytes || fread(bytes, 1, room - 1, file) == 0) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(1);
    }
    fclose(file);
    return bytes;
}
