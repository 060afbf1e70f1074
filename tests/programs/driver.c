// The driver API by itself: what it refuses, and that it goes on afterwards. Runs on any driver; argument: saxpy.ptx.
#include "check.h"
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    INVALID_VALUE = 1,
    NOT_INITIALIZED = 3,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    NO_BINARY_FOR_GPU = 209,
    INVALID_PTX = 218,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500
};

typedef uint64_t handle;

int main(int argc, char **argv) {
    HOLDS(argc == 2);
    void *lib = open_library("libcuda.so.1");
    FIND(int, cuInit, unsigned)
    FIND(int, cuDriverGetVersion, int *)
    FIND(int, cuDeviceGet, int *, int)
    FIND(int, cuDeviceGetCount, int *)
    FIND(int, cuDeviceGetName, char *, int, int)
    FIND(int, cuDeviceGetAttribute, int *, int, int)
    FIND(int, cuDevicePrimaryCtxRetain, handle *, int)
    FIND(int, cuDevicePrimaryCtxRelease, int)
    FIND(int, cuDevicePrimaryCtxGetState, int, unsigned *, int *)
    FIND(int, cuCtxGetCurrent, handle *)
    FIND(int, cuCtxSetCurrent, handle)
    FIND(int, cuCtxCreate_v2, handle *, unsigned, int)
    FIND(int, cuCtxPushCurrent_v2, handle)
    FIND(int, cuCtxPopCurrent_v2, handle *)
    FIND(int, cuCtxDestroy_v2, handle)
    FIND(int, cuCtxSynchronize, void)
    FIND(int, cuMemAlloc_v2, handle *, size_t)
    FIND(int, cuMemFree_v2, handle)
    FIND(int, cuMemcpyHtoD_v2, handle, const void *, size_t)
    FIND(int, cuMemcpyDtoH_v2, void *, handle, size_t)
    FIND(int, cuMemsetD32_v2, handle, unsigned, size_t)
    FIND(int, cuModuleLoadData, handle *, const void *)
    FIND(int, cuModuleLoadDataEx, handle *, const void *, unsigned, int *, void **)
    FIND(int, cuModuleGetFunction, handle *, handle, const char *)
    FIND(int, cuModuleUnload, handle)
    FIND(int, cuLibraryLoadData, handle *, const void *, void *, void *, unsigned, void *, void *, unsigned)
    FIND(int, cuLibraryGetKernel, handle *, handle, const char *)
    FIND(int, cuLibraryUnload, handle)
    FIND(int, cuLaunchKernel, handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, handle,
         void **, void **)
    FIND(int, cuStreamCreate, handle *, unsigned)
    FIND(int, cuStreamDestroy_v2, handle)
    FIND(int, cuStreamSynchronize, handle)
    FIND(int, cuStreamQuery, handle)
    FIND(int, cuEventCreate, handle *, unsigned)
    FIND(int, cuEventElapsedTime, float *, handle, handle)
    FIND(int, cuEventDestroy_v2, handle)
    FIND(int, cuPointerGetAttribute, void *, int, handle)
    FIND(int, cuGetErrorName, int, const char **)
    FIND(int, cuGetProcAddress_v2, const char *, void **, int, uint64_t, int *)
    FIND(int, cuGetExportTable, const void **, const void *)

    // Before cuInit nothing works that needs a device; the version does.
    int number = 0;
    EXPECT(NOT_INITIALIZED, cuDeviceGetCount(&number));
    OK(cuDriverGetVersion(&number));
    EXPECT(INVALID_VALUE, cuInit(1));
    OK(cuInit(0));
    OK(cuInit(0));
    EXPECT(INVALID_VALUE, cuDeviceGetCount(NULL));
    EXPECT(INVALID_DEVICE, cuDeviceGet(&number, 99));
    EXPECT(INVALID_VALUE, cuDeviceGetAttribute(&number, 100000, 0));
    char name[8];
    OK(cuDeviceGetName(name, sizeof name, 0));
    HOLDS(strlen(name) == 7);

    // Contexts.
    handle primary, current, other, memory;
    EXPECT(INVALID_CONTEXT, cuMemAlloc_v2(&memory, 16));
    EXPECT(INVALID_CONTEXT, cuCtxSynchronize());
    OK(cuDevicePrimaryCtxRetain(&primary, 0));
    OK(cuCtxGetCurrent(&current));
    HOLDS(current == 0);
    OK(cuCtxSetCurrent(primary));
    OK(cuCtxCreate_v2(&other, 0, 0));
    OK(cuCtxGetCurrent(&current));
    HOLDS(current == other);
    OK(cuCtxPopCurrent_v2(&current));
    HOLDS(current == other);
    OK(cuCtxPushCurrent_v2(other));
    OK(cuCtxDestroy_v2(other));
    OK(cuCtxGetCurrent(&current));
    HOLDS(current == primary);
    unsigned flags;
    OK(cuDevicePrimaryCtxGetState(0, &flags, &number));
    HOLDS(number == 1);

    // Memory.
    EXPECT(INVALID_VALUE, cuMemAlloc_v2(NULL, 16));
    EXPECT(INVALID_VALUE, cuMemAlloc_v2(&memory, 0));
    OK(cuMemAlloc_v2(&memory, 4096));
    char here[64] = {0};
    EXPECT(INVALID_VALUE, cuMemcpyHtoD_v2((handle)(uintptr_t)here, here, sizeof here));
    EXPECT(INVALID_VALUE, cuMemcpyDtoH_v2(here, 0, sizeof here));
    EXPECT(INVALID_VALUE, cuMemFree_v2(memory + 256));
    OK(cuMemFree_v2(0));
    OK(cuMemsetD32_v2(memory, 7, 1024));
    EXPECT(INVALID_VALUE, cuMemsetD32_v2(memory + 2, 7, 4));
    EXPECT(INVALID_VALUE, cuPointerGetAttribute(&number, 2, (handle)(uintptr_t)here));
    OK(cuPointerGetAttribute(&number, 2, memory + 100));
    HOLDS(number == 2);

    // Streams and events.
    handle stream, start, end;
    EXPECT(INVALID_VALUE, cuStreamCreate(&stream, 12));
    OK(cuStreamCreate(&stream, 1));
    OK(cuEventCreate(&start, 0));
    OK(cuEventCreate(&end, 2));
    float elapsed;
    EXPECT(INVALID_HANDLE, cuEventElapsedTime(&elapsed, start, end));

    // Images.
    handle module, saxpy, kernel, library;
    const char *ptx = read_file(argv[1]);
    EXPECT(INVALID_VALUE, cuModuleLoadData(&module, NULL));
    int answer = cuModuleLoadData(&module, "this is no image of any kind, whatever one calls it");
    HOLDS(answer == INVALID_IMAGE || answer == INVALID_PTX);
    char log[256] = {0};
    int options[] = {5, 6};
    void *values[] = {log, (void *)sizeof log};
    answer = cuModuleLoadDataEx(&module, ".version 7.0\n.target sm_70\n.address_size 64\nnonsense", 2, options, values);
    HOLDS(answer == INVALID_PTX && log[0] && (size_t)values[1] > 0);
    OK(cuModuleLoadData(&module, ptx));
    EXPECT(NOT_FOUND, cuModuleGetFunction(&saxpy, module, "no_such_kernel"));
    OK(cuModuleGetFunction(&saxpy, module, "saxpy"));
    OK(cuLibraryLoadData(&library, ptx, NULL, NULL, 0, NULL, NULL, 0));
    EXPECT(NOT_FOUND, cuLibraryGetKernel(&kernel, library, "no_such_kernel"));
    OK(cuLibraryGetKernel(&kernel, library, "saxpy"));

    // Launches: with wrong shapes, by kernel and by function, with pointers and with a block.
    float a = 2;
    int n = 1024;
    void *params[] = {&a, &memory, &memory, &n};
    EXPECT(INVALID_VALUE, cuLaunchKernel(saxpy, 0, 1, 1, 32, 1, 1, 0, stream, params, NULL));
    EXPECT(INVALID_VALUE, cuLaunchKernel(saxpy, 1, 1, 1, 4096, 1, 1, 0, stream, params, NULL));
    EXPECT(INVALID_VALUE, cuLaunchKernel(saxpy, 1, 1, 1, 32, 1, 1, 1 << 30, stream, params, NULL));
    OK(cuLaunchKernel(kernel, 4, 1, 1, 256, 1, 1, 0, stream, params, NULL));
    struct {
        float a;
        handle x, y;
        int n;
    } block = {a, memory, memory, n};
    size_t bytes = 28;
    void *extra[] = {(void *)1, &block, (void *)2, &bytes, (void *)0};
    OK(cuLaunchKernel(saxpy, 4, 1, 1, 256, 1, 1, 0, stream, NULL, extra));
    OK(cuStreamSynchronize(stream));
    OK(cuLibraryUnload(library));
    OK(cuModuleUnload(module));
    OK(cuStreamDestroy_v2(stream));
    OK(cuEventDestroy_v2(start));
    OK(cuEventDestroy_v2(end));

    // Names.
    const char *text = NULL;
    OK(cuGetErrorName(700, &text));
    HOLDS(!strcmp(text, "CUDA_ERROR_ILLEGAL_ADDRESS"));
    EXPECT(INVALID_VALUE, cuGetErrorName(12345, &text));
    void *function = NULL;
    OK(cuGetProcAddress_v2("cuMemAlloc", &function, 12000, 0, &number));
    HOLDS(function == (void *)cuMemAlloc_v2 && number == 0);
    OK(cuGetProcAddress_v2("cuMemAlloc_v2", &function, 12000, 0, &number));
    HOLDS(function == NULL && number == 1);
    OK(cuGetProcAddress_v2("cuLibraryLoadData", &function, 11000, 0, &number));
    HOLDS(function == NULL && number == 2);
    const void *table = NULL;
    HOLDS(cuGetExportTable(&table, "0123456789abcdef") != 0 && table == NULL);

    // A child has no driver of its own until it is another program.
    pid_t child = fork();
    if (child == 0) _exit(cuMemAlloc_v2(&memory, 16) == NOT_INITIALIZED && cuInit(0) == NOT_INITIALIZED ? 0 : 1);
    int status = 1;
    HOLDS(waitpid(child, &status, 0) == child && status == 0);

    OK(cuMemFree_v2(memory));
    EXPECT(INVALID_VALUE, cuMemFree_v2(memory));
    OK(cuDevicePrimaryCtxRelease(0));
    OK(cuDevicePrimaryCtxGetState(0, &flags, &number));
    HOLDS(number == 0);
    OK(cuDevicePrimaryCtxRelease(0));
    puts("ok");
    return 0;
}
