// What a kernel prints stands between what the program prints before and after it, also where its output is no terminal. A
// failed assertion is told on the same output. Argument: printf_assert.ptx.
#include "check.h"
#include <stdint.h>

enum { ASSERT = 710 };

typedef uint64_t handle;

int main(int argc, char **argv) {
    HOLDS(argc == 2);
    void *lib = open_library("libcuda.so.1");
    FIND(int, cuInit, unsigned)
    FIND(int, cuDevicePrimaryCtxRetain, handle *, int)
    FIND(int, cuCtxSetCurrent, handle)
    FIND(int, cuCtxSynchronize, void)
    FIND(int, cuStreamSynchronize, handle)
    FIND(int, cuMemAlloc_v2, handle *, size_t)
    FIND(int, cuMemcpyHtoD_v2, handle, const void *, size_t)
    FIND(int, cuModuleLoadData, handle *, const void *)
    FIND(int, cuModuleGetFunction, handle *, handle, const char *)
    FIND(int, cuLaunchKernel, handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, handle,
         void **, void **)
    handle context, module, print, asserting, values, limits;
    OK(cuInit(0));
    OK(cuDevicePrimaryCtxRetain(&context, 0));
    OK(cuCtxSetCurrent(context));
    OK(cuModuleLoadData(&module, read_file(argv[1])));
    OK(cuModuleGetFunction(&print, module, "print_values"));
    OK(cuModuleGetFunction(&asserting, module, "assert_below"));
    OK(cuMemAlloc_v2(&values, 16));
    OK(cuMemAlloc_v2(&limits, 4));
    float floats[4] = {0.5, 1.5, 2.5, 3.5};
    int limit = 5, count = 4, one = 1;
    OK(cuMemcpyHtoD_v2(values, floats, sizeof floats));
    OK(cuMemcpyHtoD_v2(limits, &limit, sizeof limit));
    puts("before");
    for (int round = 0; round < 2; round++) {
        void *arguments[] = {&values, &count};
        OK(cuLaunchKernel(print, 1, 1, 1, 4, 1, 1, 0, 0, arguments, NULL));
        if (round == 0) {
            OK(cuStreamSynchronize(0));
        } else {
            OK(cuCtxSynchronize());
        }
        puts("after");
    }
    void *arguments[] = {&limits, &limit, &one};
    OK(cuLaunchKernel(asserting, 1, 1, 1, 1, 1, 1, 0, 0, arguments, NULL));
    EXPECT(ASSERT, cuStreamSynchronize(0));
    puts("end");
    return 0;
}
