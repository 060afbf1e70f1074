// A kernel spins on a word of pinned memory until the host sets it, while another stream works.
#include <unistd.h>

#include "fixture.h"

enum { NOT_READY = 600, NON_BLOCKING = 1 };

int main(void) {
    void *lib = open_driver();
    FIND(int, cuMemAlloc_v2, handle *, size_t)
    FIND(int, cuMemsetD8_v2, handle, unsigned char, size_t)
    FIND(int, cuMemcpyDtoH_v2, void *, handle, size_t)
    FIND(int, cuMemHostAlloc, void **, size_t, unsigned)
    FIND(int, cuMemFreeHost, void *)
    FIND(int, cuCtxSynchronize, void)
    FIND(int, cuStreamCreate, handle *, unsigned)
    FIND(int, cuStreamQuery, handle)
    FIND(int, cuStreamSynchronize, handle)
    FIND(int, cuLaunchKernel, handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, handle,
         void **, void **)
    handle endless = kernel_of(lib, load_fixture(lib, "endless"), "endless");
    handle fill = kernel_of(lib, load_fixture(lib, "tiny"), "fill");
    handle rounds, words, spinning, other;
    volatile int *flag;
    OK(cuMemHostAlloc((void **)&flag, 4096, 0));
    *flag = 0;
    OK(cuMemAlloc_v2(&rounds, 8));
    OK(cuMemAlloc_v2(&words, 4096));
    OK(cuMemsetD8_v2(rounds, 0, 8));
    OK(cuStreamCreate(&spinning, NON_BLOCKING));
    OK(cuStreamCreate(&other, NON_BLOCKING));
    OK(cuCtxSynchronize());
    void *params[] = {&flag, &rounds};
    OK(cuLaunchKernel(endless, 1, 1, 1, 1, 1, 1, 0, spinning, params, NULL));
    usleep(100000);
    EXPECT(NOT_READY, cuStreamQuery(spinning));
    int value = 41, count = 1024;
    void *others[] = {&words, &value, &count};
    OK(cuLaunchKernel(fill, 8, 1, 1, 128, 1, 1, 0, other, others, NULL));
    OK(cuStreamSynchronize(other));
    EXPECT(NOT_READY, cuStreamQuery(spinning));
    *flag = 1;
    OK(cuStreamSynchronize(spinning));
    OK(cuStreamQuery(spinning));
    unsigned long long counted = 0;
    int filled[1024];
    OK(cuMemcpyDtoH_v2(&counted, rounds, sizeof counted));
    OK(cuMemcpyDtoH_v2(filled, words, sizeof filled));
    HOLDS(counted > 0 && filled[0] == 41 && filled[1023] == 41);
    OK(cuMemFreeHost((void *)flag));
    printf("{\"holds\": {\"spins_until_set\": true}, \"info\": {\"rounds\": %llu}}\n", counted);
    return 0;
}
