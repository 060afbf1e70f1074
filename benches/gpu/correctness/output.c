// What kernels print and assert: output print|assert. The text is checked by who runs this.
#include "fixture.h"

enum { COUNT = 64 };

int main(int argc, char **argv) {
    HOLDS(argc == 2);
    void *lib = open_driver();
    FIND(int, cuMemAlloc_v2, handle *, size_t)
    FIND(int, cuMemcpyHtoD_v2, handle, const void *, size_t)
    FIND(int, cuCtxSynchronize, void)
    FIND(int, cuLaunchKernel, handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, handle,
         void **, void **)
    handle module = load_fixture(lib, "printf_assert"), values;
    int count = COUNT, limit = COUNT - 4, numbers[COUNT];
    float floats[COUNT];
    for (int i = 0; i < COUNT; i++) numbers[i] = i, floats[i] = 0.5f * (float)i;
    OK(cuMemAlloc_v2(&values, sizeof numbers));
    if (strcmp(argv[1], "print") == 0) {
        OK(cuMemcpyHtoD_v2(values, floats, sizeof floats));
        void *params[] = {&values, &count};
        OK(cuLaunchKernel(kernel_of(lib, module, "print_values"), 2, 1, 1, COUNT / 2, 1, 1, 0, 0, params, NULL));
        OK(cuLaunchKernel(kernel_of(lib, module, "print_plain"), 1, 1, 1, 4, 1, 1, 0, 0, NULL, NULL));
        OK(cuCtxSynchronize());
        printf("{\"exact\": {\"synchronize\": 0}}\n");
        return 0;
    }
    OK(cuMemcpyHtoD_v2(values, numbers, sizeof numbers));
    void *params[] = {&values, &limit, &count};
    OK(cuLaunchKernel(kernel_of(lib, module, "assert_below"), 1, 1, 1, COUNT, 1, 1, 0, 0, params, NULL));
    int first = cuCtxSynchronize(), second = cuCtxSynchronize();
    printf("{\"exact\": {\"synchronize\": %d, \"again\": %d}}\n", first, second);
    return 0;
}
