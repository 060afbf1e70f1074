// Memory of the program, pinned where it is: what kernels, copies and the program see of it, and what is refused.
// Argument: saxpy.ptx.
#define _GNU_SOURCE
#include "check.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { INVALID_VALUE = 1, ALREADY = 712, NOT_REGISTERED = 713, NOT_SUPPORTED = 801 };

typedef uint64_t handle;

static volatile int over;

// Counts in words of its own, as fast as it can.
static void *count(void *memory) {
    volatile uint64_t *words = memory;
    uint64_t times = 0;
    while (!over) {
        for (int at = 0; at < 64; at++) words[at * 512]++;
        times++;
    }
    return (void *)times;
}

static sigjmp_buf back;

static void caught(int signal) {
    (void)signal;
    siglongjmp(back, 1);
}

int main(int argc, char **argv) {
    HOLDS(argc == 2);
    void *lib = open_library("libcuda.so.1");
    FIND(int, cuInit, unsigned)
    FIND(int, cuDeviceGetAttribute, int *, int, int)
    FIND(int, cuDevicePrimaryCtxRetain, handle *, int)
    FIND(int, cuDevicePrimaryCtxRelease_v2, int)
    FIND(int, cuCtxSetCurrent, handle)
    FIND(int, cuModuleLoadData, handle *, const void *)
    FIND(int, cuModuleGetFunction, handle *, handle, const char *)
    FIND(int, cuLaunchKernel, handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, handle,
         void **, void **)
    FIND(int, cuStreamCreate, handle *, unsigned)
    FIND(int, cuStreamSynchronize, handle)
    FIND(int, cuStreamQuery, handle)
    FIND(int, cuStreamWaitValue32_v2, handle, handle, unsigned, unsigned)
    FIND(int, cuMemAlloc_v2, handle *, size_t)
    FIND(int, cuMemFree_v2, handle)
    FIND(int, cuMemHostAlloc, void **, size_t, unsigned)
    FIND(int, cuMemFreeHost, void *)
    FIND(int, cuMemHostRegister_v2, void *, size_t, unsigned)
    FIND(int, cuMemHostUnregister, void *)
    FIND(int, cuMemHostGetDevicePointer_v2, handle *, void *, unsigned)
    FIND(int, cuMemcpyHtoDAsync_v2, handle, const void *, size_t, handle)
    FIND(int, cuMemcpyDtoHAsync_v2, void *, handle, size_t, handle)
    FIND(int, cuPointerGetAttribute, void *, int, handle)
    handle context, module, saxpy, stream, device, other;
    int number;
    OK(cuInit(0));
    OK(cuDeviceGetAttribute(&number, 99, 0));
    HOLDS(number == 1);
    OK(cuDevicePrimaryCtxRetain(&context, 0));
    OK(cuCtxSetCurrent(context));
    OK(cuModuleLoadData(&module, read_file(argv[1])));
    OK(cuModuleGetFunction(&saxpy, module, "saxpy"));
    OK(cuStreamCreate(&stream, 1));

    // Not at the start of a page, and with bytes in it. They stay, and so does the address.
    const int n = 100000;
    float *x = (float *)((char *)malloc(n * 4 + 256) + 128), *y = malloc(n * 4);
    for (int at = 0; at < n; at++) x[at] = (float)at, y[at] = 1;
    OK(cuMemHostRegister_v2(x, n * 4, 0));
    OK(cuMemHostRegister_v2(y, n * 4, 3));
    for (int at = 0; at < n; at++) HOLDS(x[at] == (float)at && y[at] == 1);
    OK(cuMemHostGetDevicePointer_v2(&device, y, 0));
    HOLDS(device == (handle)(uintptr_t)y);
    OK(cuMemHostGetDevicePointer_v2(&device, y + 17, 0));
    HOLDS(device == (handle)(uintptr_t)(y + 17));
    OK(cuPointerGetAttribute(&number, 2, (handle)(uintptr_t)x + 9));
    HOLDS(number == 1);
    handle start = 0, bytes = 0;
    OK(cuPointerGetAttribute(&start, 11, (handle)(uintptr_t)x + 9));
    OK(cuPointerGetAttribute(&bytes, 12, (handle)(uintptr_t)x + 9));
    HOLDS(start == (handle)(uintptr_t)x && bytes == (handle)n * 4);

    // The kernel and the program see one another's writes, now and later.
    float a = 2;
    void *params[] = {&a, &x, &y, (void *)&n};
    x[5] = 50;
    OK(cuLaunchKernel(saxpy, (n + 255) / 256, 1, 1, 256, 1, 1, 0, stream, params, NULL));
    OK(cuStreamSynchronize(stream));
    HOLDS(y[4] == 9 && y[5] == 101 && y[n - 1] == 2.0f * (n - 1) + 1);
    // A copy reads what is there when the stream gets there, not when it was called.
    volatile uint32_t *flag;
    OK(cuMemHostAlloc((void **)&flag, 4096, 0));
    *flag = 0;
    OK(cuMemAlloc_v2(&device, n * 4));
    OK(cuStreamWaitValue32_v2(stream, (handle)(uintptr_t)flag, 1, 1));
    OK(cuMemcpyHtoDAsync_v2(device, x, n * 4, stream));
    OK(cuMemcpyDtoHAsync_v2(y, device, n * 4, stream));
    EXPECT(600, cuStreamQuery(stream));
    HOLDS(y[5] == 101);
    x[6] = 66;
    *flag = 1;
    OK(cuStreamSynchronize(stream));
    HOLDS(y[5] == 50 && y[6] == 66);

    // What is refused.
    EXPECT(ALREADY, cuMemHostRegister_v2(x, n * 4, 0));
    EXPECT(ALREADY, cuMemHostRegister_v2(x + 100, 4, 0));
    EXPECT(ALREADY, cuMemHostRegister_v2((void *)flag, 4096, 0));
    EXPECT(INVALID_VALUE, cuMemHostRegister_v2(NULL, 4096, 0));
    EXPECT(INVALID_VALUE, cuMemHostRegister_v2(y, 0, 0));
    EXPECT(INVALID_VALUE, cuMemHostRegister_v2(y, 8, 64));
    EXPECT(INVALID_VALUE, cuMemHostRegister_v2(y, SIZE_MAX, 0));
    EXPECT(NOT_SUPPORTED, cuMemHostRegister_v2(malloc(1 << 20), 4096, 4));
    EXPECT(NOT_SUPPORTED, cuMemHostRegister_v2(malloc(1 << 20), 4096, 8));
    EXPECT(NOT_REGISTERED, cuMemHostUnregister(x + 1));
    EXPECT(NOT_REGISTERED, cuMemHostUnregister((void *)flag));
    EXPECT(INVALID_VALUE, cuMemFreeHost(x));
    EXPECT(INVALID_VALUE, cuMemFree_v2((handle)(uintptr_t)x));
    EXPECT(NOT_SUPPORTED, cuMemHostRegister_v2(&a, 4, 0));
    EXPECT(NOT_SUPPORTED, cuMemHostRegister_v2((void *)main, 4, 0));
    EXPECT(NOT_SUPPORTED, cuMemHostRegister_v2((void *)(uintptr_t)(1ull << 46), 4096, 0));
    int file = memfd_create("shared", 0);
    HOLDS(ftruncate(file, 4096) == 0);
    void *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    EXPECT(NOT_SUPPORTED, cuMemHostRegister_v2(shared, 4096, 0));
    char *locked = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mlock(locked, 4096) == 0) {
        EXPECT(NOT_SUPPORTED, cuMemHostRegister_v2(locked, 4096, 0));
        HOLDS(munlock(locked, 4096) == 0);
    }
    OK(cuMemHostRegister_v2(locked, 8192, 0));

    // Back again: the same bytes, the program's own.
    OK(cuMemHostUnregister(locked));
    OK(cuMemHostUnregister(x));
    OK(cuMemHostUnregister(y));
    EXPECT(NOT_REGISTERED, cuMemHostUnregister(y));
    HOLDS(y[5] == 50 && y[6] == 66 && x[6] == 66);
    EXPECT(INVALID_VALUE, cuPointerGetAttribute(&number, 2, (handle)(uintptr_t)x));
    EXPECT(INVALID_VALUE, cuMemHostGetDevicePointer_v2(&other, y, 0));
    pid_t child = fork();
    if (child == 0) y[5] = 0, _exit(0);
    HOLDS(waitpid(child, &number, 0) == child && number == 0 && y[5] == 50);

    // Threads that write meanwhile lose nothing. Faults of the program's own still reach its handler.
    signal(SIGSEGV, caught);
    char *words = mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_t threads[2];
    for (int at = 0; at < 2; at++) pthread_create(&threads[at], NULL, count, words + at * 8);
    for (int at = 0; at < 30; at++) {
        OK(cuMemHostRegister_v2(words, 64 * 4096, 0));
        OK(cuMemHostUnregister(words));
    }
    over = 1;
    for (int at = 0; at < 2; at++) {
        void *times;
        pthread_join(threads[at], &times);
        for (int word = 0; word < 64; word++)
            HOLDS(((uint64_t *)(words + at * 8))[word * 512] == (uint64_t)(uintptr_t)times);
    }
    for (int round = 0; round < 2; round++)
        if (sigsetjmp(back, 1) == 0) {
            *(volatile int *)16 = 1;
            HOLDS(0);
        }

    // What is still pinned goes back with its context.
    OK(cuMemHostRegister_v2(words, 64 * 4096, 0));
    words[77] = 7;
    OK(cuMemFreeHost((void *)flag));
    OK(cuDevicePrimaryCtxRelease_v2(0));
    HOLDS(words[77] == 7);
    puts("ok");
    return 0;
}
