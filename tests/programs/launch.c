// What libraries ask of a card and of kernels, and how they launch. Argument: saxpy.ptx.
#include "check.h"
#include <stdint.h>

enum {
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201,
    UNSUPPORTED_LIMIT = 215,
    UNSUPPORTED_EXEC_AFFINITY = 224,
    INVALID_HANDLE = 400,
    PEER_ACCESS_NOT_ENABLED = 705,
    NOT_SUPPORTED = 801
};

// CUlaunchAttributeID
enum { WINDOW = 1, COOPERATIVE, POLICY, CLUSTER, SCHEDULING, PROGRAMMATIC, EVENT, PRIORITY, DOMAIN_MAP, DOMAIN,
       PREFERRED_CLUSTER, COMPLETION, UPDATABLE, CARVEOUT };

typedef uint64_t handle;

struct attribute {
    uint32_t which, padding;
    union {
        uint32_t words[16];
        int32_t number;
        struct {
            handle event;
            int flags;
        } event;
        struct {
            handle base;
            size_t bytes;
            float ratio;
            int hit, miss;
        } window;
    } value;
};

struct config {
    unsigned grid[3], block[3], shared_bytes;
    handle stream;
    const struct attribute *attributes;
    unsigned count;
};

static void *lib;

static void devices(void) {
    FIND(int, cuDeviceGetAttribute, int *, int, int)
    FIND(int, cuDeviceGetP2PAttribute, int *, int, int, int)
    FIND(int, cuDeviceGetExecAffinitySupport, int *, int, int)
    FIND(int, cuDeviceGetProperties, int *, int)
    FIND(int, cuCtxGetStreamPriorityRange, int *, int *)
    FIND(int, cuCtxSetFlags, unsigned)
    FIND(int, cuCtxGetFlags, unsigned *)
    FIND(int, cuCtxGetExecAffinity, void *, int)
    FIND(int, cuCtxEnablePeerAccess, handle, unsigned)
    FIND(int, cuCtxDisablePeerAccess, handle)
    FIND(int, cuCtxGetCurrent, handle *)
    int value, least, greatest, properties[16];
    // Each attribute has a value, and there are no others.
    for (int number = 1; number <= 147; number++) {
        OK(cuDeviceGetAttribute(&value, number, 0));
    }
    EXPECT(INVALID_VALUE, cuDeviceGetAttribute(&value, 0, 0));
    EXPECT(INVALID_VALUE, cuDeviceGetAttribute(&value, 148, 0));
    OK(cuDeviceGetAttribute(&value, 10, 0));
    HOLDS(value == 32);
    // Pageable access, concurrent managed access, IPC events: not through vgpu, whatever the card can.
    int absent[] = {88, 89, 125};
    for (int at = 0; at < 3; at++) {
        OK(cuDeviceGetAttribute(&value, absent[at], 0));
        HOLDS(value == 0);
    }
    OK(cuDeviceGetProperties(properties, 0));
    OK(cuDeviceGetAttribute(&value, 1, 0));
    HOLDS(properties[0] == value && properties[9] == 32);
    EXPECT(INVALID_DEVICE, cuDeviceGetP2PAttribute(&value, 1, 0, 0));
    EXPECT(INVALID_VALUE, cuDeviceGetP2PAttribute(&value, 77, 0, 0));
    OK(cuDeviceGetExecAffinitySupport(&value, 0, 0));
    HOLDS(value == 0);
    OK(cuCtxGetStreamPriorityRange(&least, &greatest));
    HOLDS(least == 0 && greatest < 0);
    unsigned flags;
    OK(cuCtxSetFlags(4));
    OK(cuCtxGetFlags(&flags));
    HOLDS(flags == 4);
    EXPECT(INVALID_VALUE, cuCtxSetFlags(1u << 20));
    OK(cuCtxSetFlags(0));
    handle current;
    OK(cuCtxGetCurrent(&current));
    EXPECT(UNSUPPORTED_EXEC_AFFINITY, cuCtxGetExecAffinity(properties, 0));
    EXPECT(INVALID_CONTEXT, cuCtxEnablePeerAccess(current, 0));
    EXPECT(PEER_ACCESS_NOT_ENABLED, cuCtxDisablePeerAccess(current));
}

static void launches(handle kernel) {
    FIND(int, cuLaunchKernelEx, const struct config *, handle, void **, void **)
    FIND(int, cuStreamCreate, handle *, unsigned)
    FIND(int, cuStreamSynchronize, handle)
    FIND(int, cuEventCreate, handle *, unsigned)
    FIND(int, cuEventSynchronize, handle)
    FIND(int, cuEventDestroy_v2, handle)
    FIND(int, cuMemAlloc_v2, handle *, size_t)
    FIND(int, cuMemsetD32_v2, handle, unsigned, size_t)
    FIND(int, cuMemcpyDtoH_v2, void *, handle, size_t)
    handle stream, event, timed, x, y;
    OK(cuStreamCreate(&stream, 0));
    OK(cuEventCreate(&event, 2));
    OK(cuEventCreate(&timed, 0));
    OK(cuMemAlloc_v2(&x, 256));
    OK(cuMemAlloc_v2(&y, 256));
    OK(cuMemsetD32_v2(x, 0x3f800000, 64));
    OK(cuMemsetD32_v2(y, 0, 64));
    float a = 1;
    int n = 64;
    void *params[] = {&a, &x, &y, &n};
    struct attribute attributes[6] = {{0}};
    struct config config = {{1, 1, 1}, {64, 1, 1}, 0, stream, attributes, 0};

    // Attributes that each device takes, each alone and then together: y grows by one for each launch.
    attributes[0].which = PROGRAMMATIC;
    attributes[1].which = PRIORITY;
    attributes[1].value.number = -1;
    attributes[2].which = CARVEOUT;
    attributes[2].value.number = 50;
    attributes[3].which = COMPLETION;
    attributes[3].value.event.event = event;
    attributes[4].which = WINDOW;
    attributes[4].value.window.miss = 1;
    config.count = 5;
    for (int launch = 0; launch < 10; launch++) {
        OK(cuLaunchKernelEx(&config, kernel, params, NULL));
    }
    OK(cuEventSynchronize(event));
    float sums[64];
    OK(cuMemcpyDtoH_v2(sums, y, sizeof sums));
    HOLDS(sums[0] == 10 && sums[63] == 10);
    // May overlap what is in front of it, which is nothing.
    attributes[0].value.number = 1;
    OK(cuLaunchKernelEx(&config, kernel, params, NULL));
    OK(cuStreamSynchronize(stream));
    OK(cuMemcpyDtoH_v2(sums, y, sizeof sums));
    HOLDS(sums[0] == 11 && sums[63] == 11);

    // What is refused, and that the next launch works.
    config.count = 1;
    attributes[0].which = COMPLETION;
    attributes[0].value.event.event = event + 1;
    EXPECT(INVALID_HANDLE, cuLaunchKernelEx(&config, kernel, params, NULL));
    attributes[0].which = POLICY;
    EXPECT(INVALID_VALUE, cuLaunchKernelEx(&config, kernel, params, NULL));
    attributes[0].which = SCHEDULING;
    attributes[0].value.number = 9;
    EXPECT(INVALID_VALUE, cuLaunchKernelEx(&config, kernel, params, NULL));
    attributes[0].which = 999;
    EXPECT(NOT_SUPPORTED, cuLaunchKernelEx(&config, kernel, params, NULL));
    config.count = 1000;
    EXPECT(INVALID_VALUE, cuLaunchKernelEx(&config, kernel, params, NULL));
    config.count = 0;
    config.block[0] = 2048;
    EXPECT(INVALID_VALUE, cuLaunchKernelEx(&config, kernel, params, NULL));
    config.block[0] = 64;
    config.grid[1] = 0;
    EXPECT(INVALID_VALUE, cuLaunchKernelEx(&config, kernel, params, NULL));
    config.grid[1] = 1;
    // The block of parameters by itself, with its size.
    struct {
        float a;
        handle x, y;
        int n;
    } block = {a, x, y, n};
    size_t bytes = sizeof block;
    void *extra[] = {(void *)1, &block, (void *)2, &bytes, NULL};
    OK(cuLaunchKernelEx(&config, kernel, NULL, extra));
    EXPECT(INVALID_VALUE, cuLaunchKernelEx(&config, kernel, params, extra));
    bytes = 4;
    EXPECT(INVALID_VALUE, cuLaunchKernelEx(&config, kernel, NULL, extra));
    OK(cuStreamSynchronize(stream));
    OK(cuMemcpyDtoH_v2(sums, y, sizeof sums));
    HOLDS(sums[0] == 12);
    OK(cuEventDestroy_v2(event));
    OK(cuEventDestroy_v2(timed));
}

static size_t shared_of(int threads) {
    return threads * 64;
}

static void occupancy(handle kernel) {
    FIND(int, cuOccupancyMaxActiveBlocksPerMultiprocessor, int *, handle, int, size_t)
    FIND(int, cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags, int *, handle, int, size_t, unsigned)
    FIND(int, cuOccupancyMaxPotentialBlockSize, int *, int *, handle, size_t (*)(int), size_t, int)
    FIND(int, cuOccupancyMaxPotentialBlockSizeWithFlags, int *, int *, handle, size_t (*)(int), size_t, int, unsigned)
    FIND(int, cuOccupancyAvailableDynamicSMemPerBlock, size_t *, handle, int, int)
    FIND(int, cuOccupancyMaxActiveClusters, int *, handle, const struct config *)
    FIND(int, cuDeviceGetAttribute, int *, int, int)
    FIND(int, cuFuncGetAttribute, int *, int, handle)
    FIND(int, cuFuncSetAttribute, handle, int, int)
    int blocks, again, grid, threads, processors, shared;
    OK(cuDeviceGetAttribute(&processors, 16, 0));
    OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, 256, 0));
    HOLDS(blocks > 0);
    OK(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(&again, kernel, 256, 0, 1));
    HOLDS(again == blocks);
    EXPECT(INVALID_VALUE, cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(&again, kernel, 256, 0, 2));
    EXPECT(INVALID_VALUE, cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, 0, 0));
    EXPECT(INVALID_VALUE, cuOccupancyMaxActiveBlocksPerMultiprocessor(NULL, kernel, 256, 0));
    EXPECT(INVALID_HANDLE, cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel + 1, 256, 0));
    OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&again, kernel, 256, 16 << 10));
    HOLDS(again > 0 && again <= blocks);
    OK(cuOccupancyMaxPotentialBlockSize(&grid, &threads, kernel, NULL, 0, 0));
    HOLDS(threads > 0 && threads <= 1024 && grid % processors == 0 && grid > 0);
    OK(cuOccupancyMaxPotentialBlockSizeWithFlags(&grid, &threads, kernel, shared_of, 0, 128, 0));
    HOLDS(threads > 0 && threads <= 128);
    EXPECT(INVALID_VALUE, cuOccupancyMaxPotentialBlockSize(NULL, &threads, kernel, NULL, 0, 0));
    size_t room;
    OK(cuOccupancyAvailableDynamicSMemPerBlock(&room, kernel, 1, 256));
    HOLDS(room >= 48 << 10);
    HOLDS(cuOccupancyAvailableDynamicSMemPerBlock(&room, kernel, 100000, 256) == INVALID_VALUE || room == 0);
    int has_clusters;
    OK(cuDeviceGetAttribute(&has_clusters, 120, 0));
    struct attribute cluster = {.which = CLUSTER, .value.words = {2, 1, 1}};
    struct config config = {{2, 1, 1}, {64, 1, 1}, 0, 0, &cluster, 1};
    EXPECT(has_clusters ? 0 : NOT_SUPPORTED, cuOccupancyMaxActiveClusters(&blocks, kernel, &config));

    // Attributes of a kernel: what was set is read back, what cannot be set is refused.
    for (int number = 0; number <= 15; number++) {
        OK(cuFuncGetAttribute(&again, number, kernel));
    }
    EXPECT(INVALID_VALUE, cuFuncGetAttribute(&again, 16, kernel));
    EXPECT(INVALID_VALUE, cuFuncGetAttribute(&again, -1, kernel));
    OK(cuFuncSetAttribute(kernel, 9, 30));
    OK(cuFuncGetAttribute(&again, 9, kernel));
    HOLDS(again == 30);
    OK(cuDeviceGetAttribute(&shared, 97, 0));
    OK(cuFuncSetAttribute(kernel, 8, shared));
    OK(cuFuncGetAttribute(&again, 8, kernel));
    HOLDS(again == shared);
    EXPECT(INVALID_VALUE, cuFuncSetAttribute(kernel, 8, shared + 1));
    HOLDS(cuFuncSetAttribute(kernel, 0, 7) != 0);
}

static void stream_attributes(void) {
    FIND(int, cuStreamCreateWithPriority, handle *, unsigned, int)
    FIND(int, cuStreamGetAttribute, handle, unsigned, void *)
    FIND(int, cuStreamSetAttribute, handle, unsigned, const void *)
    FIND(int, cuStreamCopyAttributes, handle, handle)
    handle first, second;
    uint32_t value[16] = {0};
    OK(cuStreamCreateWithPriority(&first, 1, -2));
    OK(cuStreamCreateWithPriority(&second, 1, 0));
    OK(cuStreamGetAttribute(first, PRIORITY, value));
    HOLDS((int)value[0] == -2);
    OK(cuStreamGetAttribute(first, DOMAIN_MAP, value));
    HOLDS(value[0] == 0x100);
    value[0] = 1;
    OK(cuStreamSetAttribute(first, DOMAIN, value));
    value[0] = 2;
    EXPECT(INVALID_VALUE, cuStreamSetAttribute(first, DOMAIN, value));
    EXPECT(INVALID_VALUE, cuStreamSetAttribute(first, CLUSTER, value));
    EXPECT(INVALID_VALUE, cuStreamGetAttribute(first, CLUSTER, value));
    OK(cuStreamSetAttribute(first, POLICY, value));
    OK(cuStreamCopyAttributes(second, first));
    OK(cuStreamGetAttribute(second, DOMAIN, value));
    HOLDS(value[0] == 1);
    OK(cuStreamGetAttribute(second, POLICY, value));
    HOLDS(value[0] == 2);
    EXPECT(INVALID_HANDLE, cuStreamGetAttribute(first + 8, POLICY, value));
}

static void limits(void) {
    FIND(int, cuCtxGetLimit, size_t *, int)
    FIND(int, cuCtxSetLimit, int, size_t)
    FIND(int, cuCtxResetPersistingL2Cache, void)
    size_t value;
    // Stack of a thread, printf buffer, heap.
    for (int limit = 0; limit <= 2; limit++) {
        OK(cuCtxGetLimit(&value, limit));
        HOLDS(value >= 256);
    }
    OK(cuCtxGetLimit(&value, 0));
    OK(cuCtxSetLimit(0, value + 1024));
    size_t now;
    OK(cuCtxGetLimit(&now, 0));
    HOLDS(now == value + 1024);
    // More than a thread has, or than the tenant has for all of them.
    HOLDS(cuCtxSetLimit(0, (size_t)1 << 20) != 0);
    OK(cuCtxSetLimit(0, value));
    EXPECT(INVALID_VALUE, cuCtxGetLimit(NULL, 0));
    EXPECT(UNSUPPORTED_LIMIT, cuCtxGetLimit(&value, 99));
    EXPECT(UNSUPPORTED_LIMIT, cuCtxSetLimit(99, 1));
    // More than the tenant has.
    EXPECT(OUT_OF_MEMORY, cuCtxSetLimit(2, (size_t)1 << 50));
    OK(cuCtxResetPersistingL2Cache());
}

struct operation {
    uint32_t operation, barrier;
    handle address;
    uint64_t value;
    uint32_t flags, reserved[5];
};

static void words(void) {
    FIND(int, cuStreamCreate, handle *, unsigned)
    FIND(int, cuStreamSynchronize, handle)
    FIND(int, cuStreamWaitValue64_v2, handle, handle, uint64_t, unsigned)
    FIND(int, cuStreamWriteValue64_v2, handle, handle, uint64_t, unsigned)
    FIND(int, cuStreamBatchMemOp_v2, handle, unsigned, struct operation *, unsigned)
    FIND(int, cuMemHostAlloc, void **, size_t, unsigned)
    FIND(int, cuMemFreeHost, void *)
    handle waiter, writer;
    volatile uint64_t *words;
    OK(cuStreamCreate(&waiter, 1));
    OK(cuStreamCreate(&writer, 1));
    OK(cuMemHostAlloc((void **)&words, 64, 0));
    memset((void *)words, 0, 64);
    handle base = (handle)(uintptr_t)words;
    const uint64_t large = 5ull << 40;
    // Equal: the upper half counts.
    OK(cuStreamWaitValue64_v2(waiter, base, large, 1));
    OK(cuStreamWriteValue64_v2(waiter, base + 8, large + 1, 0));
    struct operation batch[] = {
        {.operation = 2, .address = base + 16, .value = 7},
        {.operation = 6},
        {.operation = 5, .address = base, .value = large},
        {.operation = 4, .address = base + 8, .value = large + 1, .flags = 1},
        {.operation = 1, .address = base + 16, .value = 7, .flags = 1},
    };
    OK(cuStreamBatchMemOp_v2(writer, 5, batch, 0));
    OK(cuStreamSynchronize(writer));
    HOLDS(words[0] == large && words[1] == large + 1 && words[2] == 7);
    OK(cuStreamSynchronize(waiter));
    EXPECT(INVALID_VALUE, cuStreamWaitValue64_v2(waiter, base + 4, 0, 0));
    EXPECT(INVALID_VALUE, cuStreamWriteValue64_v2(waiter, 8, 0, 0));
    batch[0].operation = 3;
    EXPECT(NOT_SUPPORTED, cuStreamBatchMemOp_v2(writer, 1, batch, 0));
    EXPECT(INVALID_VALUE, cuStreamBatchMemOp_v2(writer, 1000, batch, 0));
    OK(cuMemFreeHost((void *)words));
}

static void tensor_maps(void) {
    FIND(int, cuTensorMapEncodeTiled, void *, unsigned, unsigned, handle, const uint64_t *, const uint64_t *,
         const uint32_t *, const uint32_t *, int, int, int, int)
    FIND(int, cuTensorMapReplaceAddress, void *, handle)
    FIND(int, cuDeviceGetAttribute, int *, int, int)
    FIND(int, cuMemAlloc_v2, handle *, size_t)
    int supported;
    OK(cuDeviceGetAttribute(&supported, 127, 0));
    handle memory;
    OK(cuMemAlloc_v2(&memory, 1 << 20));
    _Alignas(64) unsigned char map[128] = {0}, again[128] = {0}, other[128] = {0};
    uint64_t dims[] = {64, 64}, strides[] = {256};
    uint32_t box[] = {32, 8}, steps[] = {1, 1};
    // 7: 32-bit floating point.
    EXPECT(supported ? 0 : NOT_SUPPORTED,
           cuTensorMapEncodeTiled(map, 7, 2, memory, dims, strides, box, steps, 0, 0, 0, 0));
    EXPECT(INVALID_VALUE, cuTensorMapEncodeTiled(map, 7, 9, memory, dims, strides, box, steps, 0, 0, 0, 0));
    EXPECT(INVALID_VALUE, cuTensorMapEncodeTiled(map, 99, 2, memory, dims, strides, box, steps, 0, 0, 0, 0));
    EXPECT(INVALID_VALUE, cuTensorMapEncodeTiled(NULL, 7, 2, memory, dims, strides, box, steps, 0, 0, 0, 0));
    if (supported) {
        OK(cuTensorMapEncodeTiled(again, 7, 2, memory, dims, strides, box, steps, 0, 0, 0, 0));
        HOLDS(memcmp(map, again, sizeof map) == 0);
        OK(cuTensorMapEncodeTiled(other, 7, 2, memory + 4096, dims, strides, box, steps, 0, 0, 0, 0));
        OK(cuTensorMapReplaceAddress(map, memory + 4096));
        HOLDS(memcmp(map, other, sizeof map) == 0);
    }
}

// A kernel of a library has its attributes in each context, whichever it was loaded into when they were set.
static void kernels(const char *ptx, handle primary) {
    FIND(int, cuLibraryLoadData, handle *, const void *, void *, void *, unsigned, void *, void *, unsigned)
    FIND(int, cuLibraryGetKernel, handle *, handle, const char *)
    FIND(int, cuLibraryUnload, handle)
    FIND(int, cuKernelSetAttribute, int, int, handle, int)
    FIND(int, cuKernelGetAttribute, int *, int, handle, int)
    FIND(int, cuKernelSetCacheConfig, handle, unsigned, int)
    FIND(int, cuCtxCreate_v2, handle *, unsigned, int)
    FIND(int, cuCtxDestroy_v2, handle)
    FIND(int, cuCtxSetCurrent, handle)
    handle library, kernel, other;
    int value;
    OK(cuLibraryLoadData(&library, ptx, NULL, NULL, 0, NULL, NULL, 0));
    OK(cuLibraryGetKernel(&kernel, library, "saxpy"));
    OK(cuKernelSetAttribute(8, 1000, kernel, 0));
    OK(cuCtxCreate_v2(&other, 0, 0));
    OK(cuKernelGetAttribute(&value, 8, kernel, 0));
    HOLDS(value == 1000);
    OK(cuKernelSetAttribute(8, 2000, kernel, 0));
    OK(cuCtxSetCurrent(primary));
    OK(cuKernelGetAttribute(&value, 8, kernel, 0));
    HOLDS(value == 2000);
    OK(cuKernelSetCacheConfig(kernel, 1, 0));
    EXPECT(INVALID_VALUE, cuKernelSetCacheConfig(kernel, 9, 0));
    OK(cuCtxDestroy_v2(other));
    OK(cuLibraryUnload(library));
}

int main(int argc, char **argv) {
    HOLDS(argc == 2);
    lib = open_library("libcuda.so.1");
    FIND(int, cuInit, unsigned)
    FIND(int, cuDevicePrimaryCtxRetain, handle *, int)
    FIND(int, cuCtxSetCurrent, handle)
    FIND(int, cuModuleLoadData, handle *, const void *)
    FIND(int, cuModuleGetFunction, handle *, handle, const char *)
    OK(cuInit(0));
    handle primary, module, saxpy;
    OK(cuDevicePrimaryCtxRetain(&primary, 0));
    OK(cuCtxSetCurrent(primary));
    const char *ptx = read_file(argv[1]);
    OK(cuModuleLoadData(&module, ptx));
    OK(cuModuleGetFunction(&saxpy, module, "saxpy"));
    devices();
    launches(saxpy);
    occupancy(saxpy);
    stream_attributes();
    limits();
    words();
    tensor_maps();
    kernels(ptx, primary);
    puts("ok");
    return 0;
}
