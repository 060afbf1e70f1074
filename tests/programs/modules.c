// Modules, libraries, kernels, the compiler's options and the linker: what they answer, from many threads too, and with
// images that are broken or change while they are loaded. Argument: saxpy.ptx.
#include "check.h"
#include <pthread.h>
#include <stdint.h>
#include <unistd.h>

enum {
    INVALID_VALUE = 1,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    INVALID_PTX = 218,
    FILE_NOT_FOUND = 301,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    NOT_SUPPORTED = 801
};
enum { MAX_REGISTERS = 0, WALL_TIME = 2, INFO_BUFFER = 3, INFO_BYTES = 4, ERROR_BUFFER = 5, ERROR_BYTES = 6 };
enum { INPUT_CUBIN = 0, INPUT_PTX = 1, INPUT_FATBIN = 2 };
enum { FUNC_MAX_DYNAMIC_SHARED = 8 };

typedef uint64_t handle;

static void *lib;
static const char *ptx;
static handle primary;

// A copy of the text in which an instruction is none.
static char *broken(void) {
    char *text = strdup(ptx);
    memcpy(strstr(text, "ld.param.f32"), "ld.param!f32", 12);
    return text;
}

static void options_and_logs(void) {
    FIND(int, cuModuleLoadDataEx, handle *, const void *, unsigned, int *, void **)
    FIND(int, cuModuleUnload, handle)
    handle module;
    char info[256], error[256];
    int options[] = {MAX_REGISTERS, INFO_BUFFER, INFO_BYTES, ERROR_BUFFER, ERROR_BYTES, WALL_TIME};
    void *values[] = {(void *)32, info, (void *)sizeof info, error, (void *)sizeof error, NULL};
    memset(error, 'x', sizeof error);
    OK(cuModuleLoadDataEx(&module, ptx, 6, options, values));
    HOLDS(error[0] == 0 && values[4] == NULL);
    OK(cuModuleUnload(module));
    values[2] = (void *)sizeof info;
    values[4] = (void *)sizeof error;
    char *text = broken();
    EXPECT(INVALID_PTX, cuModuleLoadDataEx(&module, text, 6, options, values));
    HOLDS(strstr(error, "line") && (size_t)values[4] == strlen(error));
    // Room for less than there is to say, and none at all.
    values[4] = (void *)4;
    EXPECT(INVALID_PTX, cuModuleLoadDataEx(&module, text, 6, options, values));
    HOLDS(strlen(error) == 3 && (size_t)values[4] == 3);
    values[4] = NULL;
    EXPECT(INVALID_PTX, cuModuleLoadDataEx(&module, text, 6, options, values));
    HOLDS(values[4] == NULL);
    options[0] = 999;
    EXPECT(INVALID_VALUE, cuModuleLoadDataEx(&module, ptx, 6, options, values));
    // Symbols at addresses of the program.
    options[0] = 17;
    EXPECT(NOT_SUPPORTED, cuModuleLoadDataEx(&module, ptx, 6, options, values));
    EXPECT(INVALID_VALUE, cuModuleLoadDataEx(&module, ptx, 1, options, NULL));
    free(text);
}

static void modules(void) {
    FIND(int, cuModuleLoad, handle *, const char *)
    FIND(int, cuModuleLoadData, handle *, const void *)
    FIND(int, cuModuleUnload, handle)
    FIND(int, cuModuleGetFunction, handle *, handle, const char *)
    FIND(int, cuModuleGetFunctionCount, unsigned *, handle)
    FIND(int, cuModuleEnumerateFunctions, handle *, unsigned, handle)
    FIND(int, cuModuleGetGlobal_v2, handle *, size_t *, handle, const char *)
    FIND(int, cuModuleGetLoadingMode, int *)
    FIND(int, cuFuncGetName, const char **, handle)
    FIND(int, cuFuncGetModule, handle *, handle)
    FIND(int, cuFuncIsLoaded, int *, handle)
    FIND(int, cuFuncLoad, handle)
    handle module, functions[3] = {0}, function, owner, address;
    unsigned count;
    int number;
    OK(cuModuleGetLoadingMode(&number));
    EXPECT(2, number);
    OK(cuModuleLoadData(&module, ptx));
    OK(cuModuleGetFunctionCount(&count, module));
    EXPECT(2, count);
    OK(cuModuleEnumerateFunctions(functions, 1, module));
    HOLDS(functions[0] && !functions[1]);
    OK(cuModuleEnumerateFunctions(functions, 3, module));
    HOLDS(functions[1] && functions[0] != functions[1] && !functions[2]);
    for (int at = 0; at < 2; at++) {
        const char *name;
        OK(cuFuncGetName(&name, functions[at]));
        OK(cuModuleGetFunction(&function, module, name));
        HOLDS(function == functions[at]);
        OK(cuFuncGetModule(&owner, function));
        HOLDS(owner == module);
        OK(cuFuncLoad(function));
        OK(cuFuncIsLoaded(&number, function));
        EXPECT(1, number);
    }
    EXPECT(NOT_FOUND, cuModuleGetFunction(&function, module, "no_such_kernel"));
    EXPECT(NOT_FOUND, cuModuleGetGlobal_v2(&address, NULL, module, "no_such_variable"));
    EXPECT(INVALID_VALUE, cuModuleEnumerateFunctions(NULL, 2, module));
    OK(cuModuleUnload(module));
    EXPECT(INVALID_HANDLE, cuModuleEnumerateFunctions(functions, 2, module));
    EXPECT(INVALID_HANDLE, cuFuncLoad(function));
    EXPECT(FILE_NOT_FOUND, cuModuleLoad(&module, "/no/such/file"));
}

static void libraries(void) {
    FIND(int, cuCtxSetCurrent, handle)
    FIND(int, cuCtxCreate_v2, handle *, unsigned, int)
    FIND(int, cuCtxDestroy_v2, handle)
    FIND(int, cuCtxSynchronize, void)
    FIND(int, cuLibraryLoadData, handle *, const void *, int *, void **, unsigned, int *, void **, unsigned)
    FIND(int, cuLibraryGetKernel, handle *, handle, const char *)
    FIND(int, cuLibraryGetKernelCount, unsigned *, handle)
    FIND(int, cuLibraryEnumerateKernels, handle *, unsigned, handle)
    FIND(int, cuLibraryGetModule, handle *, handle)
    FIND(int, cuLibraryGetGlobal, handle *, size_t *, handle, const char *)
    FIND(int, cuLibraryGetUnifiedFunction, void **, handle, const char *)
    FIND(int, cuLibraryUnload, handle)
    FIND(int, cuModuleUnload, handle)
    FIND(int, cuKernelGetFunction, handle *, handle)
    FIND(int, cuKernelGetLibrary, handle *, handle)
    FIND(int, cuKernelGetName, const char **, handle)
    FIND(int, cuKernelGetAttribute, int *, int, handle, int)
    FIND(int, cuKernelSetAttribute, int, int, handle, int)
    FIND(int, cuKernelGetParamInfo, handle, size_t, size_t *, size_t *)
    FIND(int, cuFuncGetAttribute, int *, int, handle)
    FIND(int, cuLaunchKernel, handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, handle,
         void **, void **)
    handle library, kernel, kernels[2], function, other_function, module, other, address;
    unsigned count;
    int number;
    size_t offset, bytes;
    const char *name;
    // Without a current context: a library belongs to none.
    OK(cuCtxSetCurrent(0));
    OK(cuLibraryLoadData(&library, ptx, NULL, NULL, 0, NULL, NULL, 0));
    OK(cuLibraryGetKernel(&kernel, library, "saxpy"));
    EXPECT(NOT_FOUND, cuLibraryGetKernel(&other, library, "no_such_kernel"));
    OK(cuLibraryGetKernelCount(&count, library));
    EXPECT(2, count);
    OK(cuLibraryEnumerateKernels(kernels, 2, library));
    HOLDS(kernels[0] == kernel || kernels[1] == kernel);
    EXPECT(INVALID_CONTEXT, cuLibraryGetModule(&module, library));
    EXPECT(INVALID_CONTEXT, cuKernelGetFunction(&function, kernel));
    OK(cuKernelGetName(&name, kernel));
    HOLDS(strcmp(name, "saxpy") == 0);
    OK(cuKernelGetLibrary(&other, kernel));
    HOLDS(other == library);
    OK(cuKernelGetParamInfo(kernel, 3, &offset, &bytes));
    HOLDS(offset == 24 && bytes == 4);
    EXPECT(INVALID_VALUE, cuKernelGetParamInfo(kernel, 4, &offset, &bytes));
    OK(cuKernelSetAttribute(FUNC_MAX_DYNAMIC_SHARED, 4096, kernel, 0));
    OK(cuKernelGetAttribute(&number, FUNC_MAX_DYNAMIC_SHARED, kernel, 0));
    EXPECT(4096, number);
    EXPECT(NOT_FOUND, cuLibraryGetUnifiedFunction((void **)&address, library, "saxpy"));
    // In two contexts: one kernel, two functions, and what was set holds in both.
    OK(cuCtxSetCurrent(primary));
    OK(cuLibraryGetKernel(&other, library, "saxpy"));
    HOLDS(other == kernel);
    OK(cuKernelGetFunction(&function, kernel));
    OK(cuLibraryGetModule(&module, library));
    EXPECT(INVALID_VALUE, cuModuleUnload(module));
    EXPECT(NOT_FOUND, cuLibraryGetGlobal(&address, NULL, library, "no_such_variable"));
    OK(cuCtxCreate_v2(&other, 0, 0));
    OK(cuKernelGetFunction(&other_function, kernel));
    HOLDS(function != other_function);
    OK(cuFuncGetAttribute(&number, FUNC_MAX_DYNAMIC_SHARED, other_function));
    EXPECT(4096, number);
    OK(cuKernelSetAttribute(FUNC_MAX_DYNAMIC_SHARED, 8192, kernel, 0));
    OK(cuCtxDestroy_v2(other));
    OK(cuCtxSetCurrent(primary));
    OK(cuFuncGetAttribute(&number, FUNC_MAX_DYNAMIC_SHARED, function));
    EXPECT(8192, number);
    // A kernel is launched as a function is.
    float a = 1;
    int n = 0;
    handle nothing = 0;
    void *params[] = {&a, &nothing, &nothing, &n};
    OK(cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, 0, params, NULL));
    OK(cuCtxSynchronize());
    OK(cuLibraryUnload(library));
    EXPECT(INVALID_HANDLE, cuLibraryUnload(library));
    EXPECT(INVALID_HANDLE, cuKernelGetFunction(&function, kernel));
    // What does not compile says so at once, in the buffers of the call.
    char error[256], *text = broken();
    int options[] = {ERROR_BUFFER, ERROR_BYTES};
    void *values[] = {error, (void *)sizeof error};
    EXPECT(INVALID_PTX, cuLibraryLoadData(&library, text, options, values, 2, NULL, NULL, 0));
    HOLDS(strstr(error, "line"));
    int preserved[] = {1}, unknown[] = {7};
    OK(cuLibraryLoadData(&library, ptx, NULL, NULL, 0, preserved, values, 1));
    OK(cuLibraryUnload(library));
    EXPECT(INVALID_VALUE, cuLibraryLoadData(&library, ptx, NULL, NULL, 0, unknown, values, 1));
    free(text);
}

static handle shared_library;

static void *uses_library(void *out) {
    FIND(int, cuCtxSetCurrent, handle)
    FIND(int, cuLibraryGetKernel, handle *, handle, const char *)
    FIND(int, cuKernelGetFunction, handle *, handle)
    FIND(int, cuModuleLoadData, handle *, const void *)
    FIND(int, cuModuleGetFunction, handle *, handle, const char *)
    FIND(int, cuModuleUnload, handle)
    handle kernel, module, function;
    OK(cuCtxSetCurrent(primary));
    OK(cuLibraryGetKernel(&kernel, shared_library, "saxpy"));
    OK(cuKernelGetFunction((handle *)out, kernel));
    for (int round = 0; round < 4; round++) {
        OK(cuModuleLoadData(&module, ptx));
        OK(cuModuleGetFunction(&function, module, "saxpy_vector"));
        OK(cuModuleUnload(module));
    }
    return NULL;
}

static void many_threads(void) {
    enum { THREADS = 16 };
    FIND(int, cuLibraryLoadData, handle *, const void *, int *, void **, unsigned, int *, void **, unsigned)
    FIND(int, cuLibraryUnload, handle)
    FIND(int, cuCtxSetCurrent, handle)
    OK(cuCtxSetCurrent(0));
    OK(cuLibraryLoadData(&shared_library, ptx, NULL, NULL, 0, NULL, NULL, 0));
    OK(cuCtxSetCurrent(primary));
    pthread_t threads[THREADS];
    handle functions[THREADS];
    for (int at = 0; at < THREADS; at++) OK(pthread_create(&threads[at], NULL, uses_library, &functions[at]));
    for (int at = 0; at < THREADS; at++) OK(pthread_join(threads[at], NULL));
    for (int at = 1; at < THREADS; at++) HOLDS(functions[at] == functions[0]);
    OK(cuLibraryUnload(shared_library));
}

static void links(const char *path) {
    FIND(int, cuLinkCreate_v2, unsigned, int *, void **, handle *)
    FIND(int, cuLinkAddData_v2, handle, int, void *, size_t, const char *, unsigned, int *, void **)
    FIND(int, cuLinkAddFile_v2, handle, int, const char *, unsigned, int *, void **)
    FIND(int, cuLinkComplete, handle, void **, size_t *)
    FIND(int, cuLinkDestroy, handle)
    FIND(int, cuModuleLoadData, handle *, const void *)
    FIND(int, cuModuleGetFunction, handle *, handle, const char *)
    FIND(int, cuModuleUnload, handle)
    handle state, module, function;
    char error[256], *text = broken();
    int options[] = {MAX_REGISTERS, ERROR_BUFFER, ERROR_BYTES};
    void *values[] = {(void *)64, error, (void *)sizeof error}, *image, *again;
    size_t bytes;
    OK(cuLinkCreate_v2(3, options, values, &state));
    OK(cuLinkAddData_v2(state, INPUT_PTX, (void *)ptx, strlen(ptx) + 1, "saxpy", 0, NULL, NULL));
    OK(cuLinkComplete(state, &image, &bytes));
    HOLDS(image && bytes > 0);
    OK(cuLinkComplete(state, &again, NULL));
    HOLDS(image == again);
    OK(cuModuleLoadData(&module, image));
    OK(cuModuleGetFunction(&function, module, "saxpy"));
    OK(cuModuleUnload(module));
    OK(cuLinkDestroy(state));
    EXPECT(INVALID_HANDLE, cuLinkDestroy(state));
    EXPECT(INVALID_HANDLE, cuLinkComplete(state, &image, &bytes));

    OK(cuLinkCreate_v2(0, NULL, NULL, &state));
    EXPECT(FILE_NOT_FOUND, cuLinkAddFile_v2(state, INPUT_PTX, "/no/such/file", 0, NULL, NULL));
    EXPECT(INVALID_VALUE, cuLinkAddData_v2(state, 77, (void *)ptx, 4, NULL, 0, NULL, NULL));
    EXPECT(INVALID_VALUE, cuLinkAddData_v2(state, INPUT_PTX, NULL, 4, NULL, 0, NULL, NULL));
    EXPECT(INVALID_VALUE, cuLinkAddData_v2(state, INPUT_PTX, (void *)ptx, 0, NULL, 0, NULL, NULL));
    // More than an image may have is refused before it is read.
    EXPECT(2, cuLinkAddData_v2(state, INPUT_PTX, (void *)ptx, (size_t)1 << 40, NULL, 0, NULL, NULL));
    EXPECT(INVALID_VALUE, cuLinkComplete(state, &image, &bytes));
    OK(cuLinkAddFile_v2(state, INPUT_PTX, path, 0, NULL, NULL));
    OK(cuLinkAddFile_v2(state, INPUT_PTX, path, 0, NULL, NULL));
    // The software GPU links one text.
    EXPECT(NOT_SUPPORTED, cuLinkComplete(state, &image, &bytes));
    OK(cuLinkDestroy(state));

    values[2] = (void *)sizeof error;
    OK(cuLinkCreate_v2(3, options, values, &state));
    OK(cuLinkAddData_v2(state, INPUT_PTX, text, strlen(text) + 1, NULL, 0, NULL, NULL));
    EXPECT(INVALID_PTX, cuLinkComplete(state, &image, &bytes));
    HOLDS(strstr(error, "line") && (size_t)values[2] == strlen(error));
    OK(cuLinkDestroy(state));
    free(text);
}

// What cuBLAS asks of contexts and streams, in a table without names.
static void context_table(void) {
    FIND(int, cuGetExportTable, const void ***, const unsigned char *)
    FIND(int, cuCtxGetId, handle, handle *)
    FIND(int, cuStreamGetId, handle, handle *)
    FIND(int, cuStreamCreate, handle *, unsigned)
    FIND(int, cuStreamDestroy_v2, handle)
    static const unsigned char name[16] = {0x21, 0x31, 0x8c, 0x60, 0x97, 0x14, 0x32, 0x48,
                                           0x8c, 0xa6, 0x41, 0xff, 0x73, 0x24, 0xc8, 0xf2};
    const void **table;
    OK(cuGetExportTable(&table, name));
    HOLDS((size_t)table[0] > 51 * sizeof *table);
    int (*context_id)(handle, handle *) = (int (*)(handle, handle *))table[4];
    int (*stream_id)(handle, handle, handle *) = (int (*)(handle, handle, handle *))table[39];
    int (*stream_object)(handle, handle, handle *, int) = (int (*)(handle, handle, handle *, int))table[51];
    handle id, wanted, object, stream;
    OK(cuCtxGetId(primary, &wanted));
    OK(context_id(primary, &id));
    HOLDS(id == wanted);
    EXPECT(INVALID_CONTEXT, context_id(12345, &id));
    OK(cuStreamCreate(&stream, 0));
    handle streams[] = {0, 1, 2, stream};
    for (int at = 0; at < 4; at++) {
        OK(cuStreamGetId(streams[at], &wanted));
        OK(stream_object(primary, streams[at], &object, streams[at] == 2));
        OK(stream_id(primary, object, &id));
        HOLDS(id == wanted);
    }
    OK(cuStreamDestroy_v2(stream));
    EXPECT(INVALID_HANDLE, stream_object(primary, stream, &object, 0));
    EXPECT(INVALID_HANDLE, stream_id(primary, stream, &id));
    EXPECT(NOT_SUPPORTED, ((int (*)(void))table[94])());
}

static volatile int stop;

static void *scribbles(void *text) {
    char *at = strstr(text, "ld.param.f32");
    while (!stop) {
        *(volatile char *)at ^= 1;
    }
    return NULL;
}

static void broken_images(void) {
    FIND(int, cuModuleLoadData, handle *, const void *)
    FIND(int, cuModuleLoad, handle *, const char *)
    FIND(int, cuModuleUnload, handle)
    FIND(int, cuLibraryLoadFromFile, handle *, const char *, int *, void **, unsigned, int *, void **, unsigned)
    handle module;
    EXPECT(INVALID_VALUE, cuModuleLoadData(&module, NULL));
    HOLDS(cuModuleLoadData(&module, "noise that is no code") != 0);
    // An ELF file without sections, and one whose table of sections is longer than any image.
    uint64_t elf[8] = {0x00010102464c457f};
    EXPECT(INVALID_IMAGE, cuModuleLoadData(&module, elf));
    elf[5] = 64, elf[7] = 64ull << 16 | 0xffffull << 32;
    // A file ends where it ends, whatever a container in it claims.
    char path[] = "/tmp/vgpu-image-XXXXXX";
    int file = mkstemp(path);
    HOLDS(file >= 0);
    uint64_t container[16] = {0x00100001ba55ed50, 1 << 20, 0x0000004001010001, 1 << 19, 0, 50ull << 32};
    HOLDS(write(file, container, sizeof container) == sizeof container);
    EXPECT(INVALID_IMAGE, cuModuleLoad(&module, path));
    EXPECT(INVALID_IMAGE, cuLibraryLoadFromFile(&module, path, NULL, NULL, 0, NULL, NULL, 0));
    HOLDS(pwrite(file, elf, sizeof elf, 0) == sizeof elf);
    EXPECT(INVALID_IMAGE, cuModuleLoad(&module, path));
    // The wrapper of a container names memory, which a file has none of.
    container[0] = 0x00000001466243b1;
    HOLDS(pwrite(file, container, sizeof container, 0) == sizeof container);
    EXPECT(INVALID_IMAGE, cuModuleLoad(&module, path));
    close(file);
    unlink(path);
    // An image that changes while it is loaded: it is copied once, and loads or does not.
    char *text = strdup(ptx);
    pthread_t thread;
    OK(pthread_create(&thread, NULL, scribbles, text));
    for (int round = 0; round < 50; round++) {
        int answer = cuModuleLoadData(&module, text);
        HOLDS(answer == 0 || answer == INVALID_PTX);
        if (answer == 0) OK(cuModuleUnload(module));
    }
    stop = 1;
    OK(pthread_join(thread, NULL));
    OK(cuModuleLoadData(&module, ptx));
    OK(cuModuleUnload(module));
}

int main(int argc, char **argv) {
    HOLDS(argc == 2);
    lib = open_library("libcuda.so.1");
    ptx = read_file(argv[1]);
    FIND(int, cuInit, unsigned)
    FIND(int, cuDevicePrimaryCtxRetain, handle *, int)
    FIND(int, cuCtxSetCurrent, handle)
    OK(cuInit(0));
    OK(cuDevicePrimaryCtxRetain(&primary, 0));
    OK(cuCtxSetCurrent(primary));
    options_and_logs();
    modules();
    libraries();
    many_threads();
    links(argv[1]);
    context_table();
    broken_images();
    puts("ok");
    return 0;
}
