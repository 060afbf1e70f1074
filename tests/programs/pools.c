// Memory pools: what is used again when, what goes back when, and what is refused. The tenant has 512 MiB.
#include "check.h"
#include <stdint.h>

enum { INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101, INVALID_HANDLE = 400, NOT_SUPPORTED = 801 };
enum { OPPORTUNISTIC = 2, INTERNAL = 3, THRESHOLD = 4, RESERVED = 5, RESERVED_HIGH = 6, USED = 7, USED_HIGH = 8 };

typedef uint64_t handle;

struct properties {
    unsigned type, handles, location_type, location_id;
    void *security;
    size_t max_bytes;
    unsigned short usage;
    unsigned char reserved[54];
};

static const size_t KIB = 1024, MIB = 1024 * 1024;

int main(void) {
    void *lib = open_library("libcuda.so.1");
    FIND(int, cuInit, unsigned)
    FIND(int, cuDevicePrimaryCtxRetain, handle *, int)
    FIND(int, cuDevicePrimaryCtxRelease_v2, int)
    FIND(int, cuCtxSetCurrent, handle)
    FIND(int, cuCtxSynchronize, void)
    FIND(int, cuDeviceGetAttribute, int *, int, int)
    FIND(int, cuStreamCreate, handle *, unsigned)
    FIND(int, cuStreamDestroy_v2, handle)
    FIND(int, cuStreamSynchronize, handle)
    FIND(int, cuStreamQuery, handle)
    FIND(int, cuStreamWaitValue32_v2, handle, handle, unsigned, unsigned)
    FIND(int, cuMemAlloc_v2, handle *, size_t)
    FIND(int, cuMemFree_v2, handle)
    FIND(int, cuMemAllocHost_v2, void **, size_t)
    FIND(int, cuMemFreeHost, void *)
    FIND(int, cuMemGetInfo_v2, size_t *, size_t *)
    FIND(int, cuMemsetD8Async, handle, unsigned char, size_t, handle)
    FIND(int, cuMemcpyDtoH_v2, void *, handle, size_t)
    FIND(int, cuMemAllocAsync, handle *, size_t, handle)
    FIND(int, cuMemAllocAsync_ptsz, handle *, size_t, handle)
    FIND(int, cuMemAllocFromPoolAsync, handle *, size_t, handle, handle)
    FIND(int, cuMemFreeAsync, handle, handle)
    FIND(int, cuMemPoolCreate, handle *, const struct properties *)
    FIND(int, cuMemPoolDestroy, handle)
    FIND(int, cuMemPoolTrimTo, handle, size_t)
    FIND(int, cuMemPoolSetAttribute, handle, int, void *)
    FIND(int, cuMemPoolGetAttribute, handle, int, void *)
    FIND(int, cuMemPoolSetAccess, handle, const unsigned *, size_t)
    FIND(int, cuMemPoolGetAccess, unsigned *, handle, const unsigned *)
    FIND(int, cuMemPoolExportToShareableHandle, void *, handle, int, unsigned long long)
    FIND(int, cuDeviceGetDefaultMemPool, handle *, int)
    FIND(int, cuDeviceGetMemPool, handle *, int)
    FIND(int, cuDeviceSetMemPool, int, handle)
    FIND(int, cuMemGetMemPool, handle *, const unsigned *, int)
    FIND(int, cuPointerGetAttribute, void *, int, handle)
    handle context, pool, other, a, b, c, streams[2];
    int number;
    uint64_t bytes;
    OK(cuInit(0));
    OK(cuDeviceGetAttribute(&number, 115, 0));
    HOLDS(number == 1);
    OK(cuDevicePrimaryCtxRetain(&context, 0));
    OK(cuCtxSetCurrent(context));
    OK(cuStreamCreate(&streams[0], 1));
    OK(cuStreamCreate(&streams[1], 1));
    OK(cuDeviceGetDefaultMemPool(&pool, 0));
#define FIGURE(which, value)                                                                   \
    do {                                                                                       \
        OK(cuMemPoolGetAttribute(pool, which, &bytes));                                        \
        EXPECT(value, bytes);                                                                  \
    } while (0)

    // Two blocks of one chunk. Freed memory is the same stream's again before the free is complete, and nobody else's.
    volatile unsigned *flag;
    OK(cuMemAllocHost_v2((void **)&flag, 4096));
    *flag = 0;
    EXPECT(INVALID_VALUE, cuMemAllocAsync(&a, 0, streams[0]));
    EXPECT(INVALID_VALUE, cuMemAllocAsync(NULL, 16, streams[0]));
    EXPECT(INVALID_HANDLE, cuMemAllocAsync(&a, 16, 0xdead));
    OK(cuMemAllocAsync(&a, 1000, streams[0]));
    OK(cuMemAllocAsync(&b, MIB, streams[0]));
    FIGURE(RESERVED, 32 * MIB);
    FIGURE(USED, MIB + KIB);
    OK(cuStreamWaitValue32_v2(streams[0], (handle)(uintptr_t)flag, 1, 1));
    OK(cuMemsetD8Async(b, 7, MIB, streams[0]));
    OK(cuMemFreeAsync(b, streams[0]));
    EXPECT(INVALID_VALUE, cuMemFreeAsync(b, streams[0]));
    OK(cuMemAllocAsync(&c, MIB, streams[1]));
    HOLDS(c != b);
    OK(cuMemFreeAsync(c, streams[1]));
    OK(cuMemAllocAsync(&c, MIB, streams[0]));
    HOLDS(c == b);
    FIGURE(USED_HIGH, MIB + KIB);
    EXPECT(600, cuStreamQuery(streams[0]));

    // A wait for the other stream gives nothing back, and does not wait for this one.
    OK(cuStreamSynchronize(streams[1]));
    FIGURE(RESERVED, 32 * MIB);
    *flag = 1;
    OK(cuStreamSynchronize(streams[0]));
    unsigned char byte = 0;
    OK(cuMemcpyDtoH_v2(&byte, c + MIB - 1, 1));
    HOLDS(byte == 7);

    // Complete frees are everybody's, where the pool allows it.
    OK(cuMemFreeAsync(c, streams[0]));
    OK(cuMemFreeAsync(a, streams[0]));
    number = 0;
    bytes = UINT64_MAX;
    OK(cuMemPoolSetAttribute(pool, OPPORTUNISTIC, &number));
    OK(cuMemPoolSetAttribute(pool, THRESHOLD, &bytes));
    OK(cuMemPoolGetAttribute(pool, OPPORTUNISTIC, &number));
    HOLDS(number == 0);
    OK(cuStreamSynchronize(streams[0]));
    FIGURE(RESERVED, 32 * MIB);
    FIGURE(USED, 0);
    // The program has waited, so it knows that they are complete.
    OK(cuMemAllocAsync(&b, 30 * MIB, streams[1]));
    number = 1;
    OK(cuMemPoolSetAttribute(pool, OPPORTUNISTIC, &number));
    FIGURE(RESERVED, 32 * MIB);

    // What is free is no memory of the program.
    OK(cuPointerGetAttribute(&number, 2, b + 30 * MIB - 1));
    EXPECT(INVALID_VALUE, cuPointerGetAttribute(&number, 2, b + 30 * MIB));

    // cuMemFree takes it too. What a pool keeps goes back on order, and above the threshold at a wait.
    OK(cuMemFree_v2(b));
    EXPECT(INVALID_VALUE, cuMemFree_v2(b));
    OK(cuMemPoolTrimTo(pool, 16 * MIB));
    FIGURE(RESERVED, 0);
    FIGURE(RESERVED_HIGH, 32 * MIB);
    bytes = 1;
    EXPECT(INVALID_VALUE, cuMemPoolSetAttribute(pool, RESERVED_HIGH, &bytes));
    EXPECT(INVALID_VALUE, cuMemPoolSetAttribute(pool, USED, &bytes));
    EXPECT(INVALID_VALUE, cuMemPoolSetAttribute(pool, 99, &bytes));
    bytes = 0;
    OK(cuMemPoolSetAttribute(pool, RESERVED_HIGH, &bytes));
    FIGURE(RESERVED_HIGH, 0);
    OK(cuMemPoolSetAttribute(pool, THRESHOLD, &bytes));
    OK(cuMemAllocAsync(&a, 100 * MIB, streams[0]));
    FIGURE(RESERVED, 100 * MIB);
    size_t before, after, total;
    OK(cuMemGetInfo_v2(&before, &total));
    OK(cuMemFreeAsync(a, streams[0]));
    OK(cuStreamSynchronize(streams[0]));
    FIGURE(RESERVED, 0);
    OK(cuMemGetInfo_v2(&after, &total));
    HOLDS(after == before + 100 * MIB);

    // Memory that runs out: a stream waits for another one's free, and caches are emptied first.
    *flag = 0;
    OK(cuMemAllocAsync(&a, 400 * MIB, streams[0]));
    OK(cuStreamWaitValue32_v2(streams[0], (handle)(uintptr_t)flag, 1, 1));
    OK(cuMemFreeAsync(a, streams[0]));
    number = 0;
    OK(cuMemPoolSetAttribute(pool, INTERNAL, &number));
    EXPECT(OUT_OF_MEMORY, cuMemAllocAsync(&b, 300 * MIB, streams[1]));
    number = 1;
    OK(cuMemPoolSetAttribute(pool, INTERNAL, &number));
    OK(cuMemAllocAsync(&b, 300 * MIB, streams[1]));
    HOLDS(b == a);
    OK(cuMemsetD8Async(b, 1, MIB, streams[1]));
    EXPECT(600, cuStreamQuery(streams[1]));
    *flag = 1;
    OK(cuStreamSynchronize(streams[1]));
    OK(cuMemFreeAsync(b, streams[1]));
    OK(cuMemAllocAsync(&c, 500 * MIB, streams[0]));
    EXPECT(OUT_OF_MEMORY, cuMemAllocAsync(&b, 100 * MIB, streams[0]));
    EXPECT(OUT_OF_MEMORY, cuMemAllocAsync(&b, SIZE_MAX, streams[0]));
    OK(cuMemFreeAsync(c, streams[0]));

    // A pool of one's own.
    struct properties made = {.type = 1, .location_type = 1, .max_bytes = 4 * MIB};
    EXPECT(INVALID_VALUE, cuMemPoolCreate(&other, NULL));
    OK(cuMemPoolCreate(&other, &made));
    OK(cuMemAllocFromPoolAsync(&a, 3 * MIB, other, 0));
    EXPECT(OUT_OF_MEMORY, cuMemAllocFromPoolAsync(&b, 3 * MIB, other, 0));
    handle found = 0;
    OK(cuPointerGetAttribute(&found, 17, a + 5));
    HOLDS(found == other);
    size_t range = 0;
    OK(cuPointerGetAttribute(&range, 12, a + 5));
    HOLDS(range == 3 * MIB);
    OK(cuPointerGetAttribute(&number, 2, a + 5));
    HOLDS(number == 2);
    OK(cuDeviceSetMemPool(0, other));
    OK(cuDeviceGetMemPool(&found, 0));
    HOLDS(found == other);
    unsigned here[] = {1, 0, 3}, away[] = {1, 1, 3}, host[] = {2, 0, 3}, none[] = {1, 0, 0}, access = 0;
    OK(cuMemGetMemPool(&found, here, 1));
    HOLDS(found == other);
    OK(cuMemPoolSetAccess(other, here, 1));
    EXPECT(INVALID_VALUE, cuMemPoolSetAccess(other, none, 1));
    EXPECT(INVALID_DEVICE, cuMemPoolSetAccess(other, away, 1));
    EXPECT(NOT_SUPPORTED, cuMemPoolGetAccess(&access, other, host));
    OK(cuMemPoolGetAccess(&access, other, here));
    HOLDS(access == 3);
    OK(cuMemPoolDestroy(other));
    EXPECT(INVALID_VALUE, cuMemPoolDestroy(other));
    EXPECT(INVALID_VALUE, cuMemPoolDestroy(pool));
    OK(cuDeviceGetMemPool(&found, 0));
    HOLDS(found == pool);
    OK(cuMemsetD8Async(a, 3, 3 * MIB, 0));
    OK(cuMemFreeAsync(a, 0));
    made.handles = 1;
    EXPECT(NOT_SUPPORTED, cuMemPoolCreate(&other, &made));
    made.handles = 0;
    made.location_type = 2;
    EXPECT(NOT_SUPPORTED, cuMemPoolCreate(&other, &made));
    made.location_type = 0;
    EXPECT(INVALID_VALUE, cuMemPoolCreate(&other, &made));
    EXPECT(NOT_SUPPORTED, cuMemPoolExportToShareableHandle(&found, pool, 1, 0));
    EXPECT(INVALID_VALUE, cuMemPoolTrimTo(0, 0));

    // What a pool keeps and does not use is there for others.
    bytes = UINT64_MAX;
    OK(cuMemPoolSetAttribute(pool, THRESHOLD, &bytes));
    OK(cuMemAllocAsync(&a, 300 * MIB, streams[0]));
    OK(cuMemFreeAsync(a, streams[0]));
    OK(cuStreamSynchronize(streams[0]));
    OK(cuMemAlloc_v2(&b, 300 * MIB));
    OK(cuMemFree_v2(b));
    bytes = 0;
    OK(cuMemPoolSetAttribute(pool, THRESHOLD, &bytes));

    // Memory of cuMemAlloc is freed in a stream too, and memory of a pool goes with its context.
    OK(cuMemAlloc_v2(&a, MIB));
    OK(cuMemFreeAsync(a, streams[0]));
    EXPECT(INVALID_VALUE, cuMemFree_v2(a));
    EXPECT(INVALID_VALUE, cuMemFreeAsync((handle)(uintptr_t)flag, streams[0]));
    OK(cuMemAllocAsync_ptsz(&a, MIB, 0));
    OK(cuMemFreeHost((void *)flag));
    OK(cuStreamDestroy_v2(streams[0]));
    OK(cuCtxSynchronize());
    OK(cuDevicePrimaryCtxRelease_v2(0));
    FIGURE(RESERVED, 0);
    FIGURE(USED, 0);
    puts("ok");
    return 0;
}
