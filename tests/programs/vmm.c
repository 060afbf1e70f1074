// Virtual memory of the device: the patterns of PyTorch's expandable segments and of XLA, and what is refused. Runs on any
// driver; argument: saxpy.ptx, and "native" where the driver is NVIDIA's. It ends with a kernel on unmapped memory.
#include "check.h"
#include <stdint.h>

enum {
    INVALID_VALUE = 1,
    INVALID_DEVICE = 101,
    ILLEGAL_ADDRESS = 700,
    NOT_SUPPORTED = 801,
    ATTRIBUTE_VMM = 102,
    READ_WRITE = 3
};

#define MIB ((size_t)1 << 20)
#define UNIT (2 * MIB)

typedef uint64_t handle;

struct location {
    int type, id;
};

struct properties {
    int type, handle_types;
    struct location location;
    void *win32;
    unsigned char compression, rdma;
    unsigned short usage;
    unsigned char reserved[4];
};

struct access {
    struct location location;
    int flags;
};

static const struct properties ON_DEVICE = {.type = 1, .location = {1, 0}};
static const struct access ALL = {{1, 0}, READ_WRITE};

static void *lib;

// Whether the driver is vgpu's: some answers are its own.
static int ours;

// A range that grows: begin and end of what is mapped are in units of `piece`.
struct segment {
    handle base;
    size_t piece, most;
    handle held[256];
};

// As PyTorch grows a segment: all memory first, then the mappings, then access to all of them at once.
static void grow(struct segment *segment, size_t begin, size_t end) {
    FIND(int, cuMemCreate, handle *, size_t, const struct properties *, unsigned long long)
    FIND(int, cuMemMap, handle, size_t, size_t, handle, unsigned long long)
    FIND(int, cuMemSetAccess, handle, size_t, const struct access *, size_t)
    struct properties shared = ON_DEVICE;
    shared.handle_types = 1;
    for (size_t at = begin; at < end; at++) OK(cuMemCreate(&segment->held[at], segment->piece, &shared, 0));
    for (size_t at = begin; at < end; at++) {
        OK(cuMemMap(segment->base + at * segment->piece, segment->piece, 0, segment->held[at], 0));
    }
    OK(cuMemSetAccess(segment->base + begin * segment->piece, (end - begin) * segment->piece, &ALL, 1));
}

// As it shrinks one: once the work that uses it is done, each mapping goes by itself.
static void shrink(struct segment *segment, size_t begin, size_t end) {
    FIND(int, cuCtxSynchronize, void)
    FIND(int, cuMemUnmap, handle, size_t)
    FIND(int, cuMemRelease, handle)
    OK(cuCtxSynchronize());
    for (size_t at = begin; at < end; at++) {
        OK(cuMemUnmap(segment->base + at * segment->piece, segment->piece));
        OK(cuMemRelease(segment->held[at]));
    }
}

static void expandable_segments(void) {
    FIND(int, cuMemAddressReserve, handle *, size_t, size_t, handle, unsigned long long)
    FIND(int, cuMemAddressFree, handle, size_t)
    FIND(int, cuMemsetD8_v2, handle, unsigned char, size_t)
    FIND(int, cuMemsetD32_v2, handle, unsigned, size_t)
    FIND(int, cuMemcpyHtoD_v2, handle, const void *, size_t)
    FIND(int, cuMemcpyDtoH_v2, void *, handle, size_t)
    FIND(int, cuMemcpyDtoD_v2, handle, handle, size_t)
    FIND(int, cuMemGetInfo_v2, size_t *, size_t *)
    size_t free_before, free_now, total;
    OK(cuMemGetInfo_v2(&free_before, &total));
    static struct segment small = {.piece = UNIT, .most = 4096}, large = {.piece = 20 * MIB, .most = 8192};
    OK(cuMemAddressReserve(&small.base, small.most * small.piece, 0, 0, 0));
    OK(cuMemAddressReserve(&large.base, large.most * large.piece, 0, 0, 0));
    HOLDS(small.base % UNIT == 0 && large.base % UNIT == 0);
    grow(&small, 0, 1);
    grow(&small, 1, 4);
    grow(&large, 0, 2);
    grow(&large, 4, 5);
    OK(cuMemGetInfo_v2(&free_now, &total));
    HOLDS(free_before - free_now >= 4 * small.piece + 3 * large.piece);

    // One array over several mappings.
    OK(cuMemsetD8_v2(small.base, 1, 4 * UNIT));
    OK(cuMemsetD32_v2(small.base + UNIT - 8, 0x03030303, 4));
    static unsigned char bytes[4 * 2 << 20], back[4 * 2 << 20];
    OK(cuMemcpyDtoH_v2(bytes, small.base, sizeof bytes));
    HOLDS(bytes[0] == 1 && bytes[sizeof bytes - 1] == 1 && bytes[UNIT - 9] == 1 && bytes[UNIT + 8] == 1);
    HOLDS(bytes[UNIT - 8] == 3 && bytes[UNIT - 1] == 3 && bytes[UNIT] == 3 && bytes[UNIT + 7] == 3);
    for (size_t at = 0; at < sizeof bytes; at++) bytes[at] = (unsigned char)(at * 31 + (at >> 16));
    OK(cuMemcpyHtoD_v2(large.base + 20 * MIB - 3 * MIB - 5, bytes, sizeof bytes));
    OK(cuMemcpyDtoD_v2(small.base, large.base + 20 * MIB - 3 * MIB - 5, sizeof bytes));
    OK(cuMemcpyDtoH_v2(back, small.base, sizeof back));
    HOLDS(!memcmp(bytes, back, sizeof back));
    // The hole behind piece 1 is no memory.
    EXPECT(INVALID_VALUE, cuMemcpyHtoD_v2(large.base + 40 * MIB - 4, bytes, 8));
    EXPECT(INVALID_VALUE, cuMemcpyDtoH_v2(back, large.base + 60 * MIB, 1));

    // Pieces go and come again at the same addresses, and the quota with them.
    for (int round = 0; round < 5; round++) {
        shrink(&large, 1, 2);
        grow(&large, 1, 4);
        OK(cuMemsetD8_v2(large.base, (unsigned char)round, 5 * large.piece));
        shrink(&large, 2, 4);
    }
    shrink(&small, 0, 4);
    shrink(&large, 0, 2);
    shrink(&large, 4, 5);
    OK(cuMemAddressFree(small.base, small.most * small.piece));
    OK(cuMemAddressFree(large.base, large.most * large.piece));
    OK(cuMemGetInfo_v2(&free_now, &total));
    if (ours) HOLDS(free_now == free_before);
}

// As XLA allocates: addresses and memory of one size, and the handle is let go while it is mapped.
static void one_by_one(void) {
    FIND(int, cuMemGetAllocationGranularity, size_t *, const struct properties *, int)
    FIND(int, cuMemAddressReserve, handle *, size_t, size_t, handle, unsigned long long)
    FIND(int, cuMemAddressFree, handle, size_t)
    FIND(int, cuMemCreate, handle *, size_t, const struct properties *, unsigned long long)
    FIND(int, cuMemMap, handle, size_t, size_t, handle, unsigned long long)
    FIND(int, cuMemSetAccess, handle, size_t, const struct access *, size_t)
    FIND(int, cuMemGetAccess, unsigned long long *, const struct location *, handle)
    FIND(int, cuMemUnmap, handle, size_t)
    FIND(int, cuMemRelease, handle)
    FIND(int, cuMemRetainAllocationHandle, handle *, void *)
    FIND(int, cuMemGetAllocationPropertiesFromHandle, struct properties *, handle)
    FIND(int, cuMemsetD8_v2, handle, unsigned char, size_t)
    FIND(int, cuMemcpyDtoH_v2, void *, handle, size_t)
    FIND(int, cuMemGetAddressRange_v2, handle *, size_t *, handle)
    FIND(int, cuPointerGetAttribute, void *, int, handle)
    size_t minimum, recommended;
    OK(cuMemGetAllocationGranularity(&minimum, &ON_DEVICE, 0));
    OK(cuMemGetAllocationGranularity(&recommended, &ON_DEVICE, 1));
    HOLDS(minimum == UNIT && recommended == UNIT);
    const size_t bytes = 6 * MIB;
    handle base, memory, same, found;
    OK(cuMemAddressReserve(&base, bytes, 16 * MIB, 0, 0));
    HOLDS(base % (16 * MIB) == 0);
    OK(cuMemCreate(&memory, bytes, &ON_DEVICE, 0));
    OK(cuMemMap(base, bytes, 0, memory, 0));
    unsigned long long access = 77;
    OK(cuMemGetAccess(&access, &ALL.location, base));
    HOLDS(access == 0);
    char byte;
    if (ours) EXPECT(INVALID_VALUE, cuMemcpyDtoH_v2(&byte, base, 1));
    OK(cuMemSetAccess(base, bytes, &ALL, 1));
    OK(cuMemGetAccess(&access, &ALL.location, base + bytes - 1));
    HOLDS(access == READ_WRITE);

    unsigned type = 0;
    size_t length = 0;
    OK(cuPointerGetAttribute(&type, 2, base + 5));
    HOLDS(type == 2);
    OK(cuPointerGetAttribute(&found, 11, base + 5));
    OK(cuPointerGetAttribute(&length, 12, base + 5));
    HOLDS(found == base && length == bytes);
    OK(cuMemGetAddressRange_v2(&found, &length, base + 5));
    HOLDS(found == base && length == bytes);

    struct properties properties;
    OK(cuMemGetAllocationPropertiesFromHandle(&properties, memory));
    HOLDS(properties.type == 1 && properties.location.type == 1 && properties.location.id == 0);
    OK(cuMemRetainAllocationHandle(&same, (void *)(uintptr_t)(base + 4096)));
    OK(cuMemRelease(memory));
    OK(cuMemRelease(same));
    // Nobody holds it, but it is mapped.
    OK(cuMemsetD8_v2(base, 9, bytes));
    OK(cuMemcpyDtoH_v2(&byte, base + bytes - 1, 1));
    HOLDS(byte == 9);
    OK(cuMemRetainAllocationHandle(&same, (void *)(uintptr_t)base));
    OK(cuMemUnmap(base, bytes));
    // Held again, it outlives its mapping, and keeps what is in it.
    OK(cuMemMap(base, bytes, 0, same, 0));
    OK(cuMemSetAccess(base, bytes, &ALL, 1));
    OK(cuMemcpyDtoH_v2(&byte, base, 1));
    HOLDS(byte == 9);
    OK(cuMemUnmap(base, bytes));
    OK(cuMemRelease(same));
    EXPECT(INVALID_VALUE, cuMemRelease(same));
    OK(cuMemAddressFree(base, bytes));
}

static void refusals(void) {
    FIND(int, cuMemAddressReserve, handle *, size_t, size_t, handle, unsigned long long)
    FIND(int, cuMemAddressFree, handle, size_t)
    FIND(int, cuMemCreate, handle *, size_t, const struct properties *, unsigned long long)
    FIND(int, cuMemMap, handle, size_t, size_t, handle, unsigned long long)
    FIND(int, cuMemSetAccess, handle, size_t, const struct access *, size_t)
    FIND(int, cuMemGetAccess, unsigned long long *, const struct location *, handle)
    FIND(int, cuMemUnmap, handle, size_t)
    FIND(int, cuMemRelease, handle)
    FIND(int, cuMemRetainAllocationHandle, handle *, void *)
    FIND(int, cuMemFree_v2, handle)
    FIND(int, cuMemExportToShareableHandle, void *, handle, int, unsigned long long)
    handle base, other, memory, small;
    EXPECT(INVALID_VALUE, cuMemAddressReserve(NULL, UNIT, 0, 0, 0));
    EXPECT(INVALID_VALUE, cuMemAddressReserve(&base, 0, 0, 0, 0));
    EXPECT(INVALID_VALUE, cuMemAddressReserve(&base, UNIT, 3 * MIB, 0, 0));
    EXPECT(INVALID_VALUE, cuMemAddressReserve(&base, UNIT, 0, 0, 1));
    OK(cuMemAddressReserve(&base, 8 * UNIT, 0, 0, 0));
    // A wish for addresses that are free is granted, one for taken ones is not.
    OK(cuMemAddressReserve(&other, UNIT, 0, base + 64 * UNIT, 0));
    HOLDS(other == base + 64 * UNIT);
    OK(cuMemAddressFree(other, UNIT));
    OK(cuMemAddressReserve(&other, UNIT, 0, base + UNIT, 0));
    HOLDS(other < base || other >= base + 8 * UNIT);

    struct properties wrong = ON_DEVICE;
    EXPECT(INVALID_VALUE, cuMemCreate(&memory, UNIT, NULL, 0));
    EXPECT(INVALID_VALUE, cuMemCreate(NULL, UNIT, &ON_DEVICE, 0));
    EXPECT(INVALID_VALUE, cuMemCreate(&memory, UNIT + 4096, &ON_DEVICE, 0));
    EXPECT(INVALID_VALUE, cuMemCreate(&memory, 0, &ON_DEVICE, 0));
    EXPECT(INVALID_VALUE, cuMemCreate(&memory, UNIT, &ON_DEVICE, 1));
    wrong.type = 77;
    EXPECT(INVALID_VALUE, cuMemCreate(&memory, UNIT, &wrong, 0));
    wrong = ON_DEVICE;
    wrong.location.id = 99;
    EXPECT(INVALID_DEVICE, cuMemCreate(&memory, UNIT, &wrong, 0));
    HOLDS(cuMemCreate(&memory, (size_t)1 << 45, &ON_DEVICE, 0) == 2);

    OK(cuMemCreate(&memory, 2 * UNIT, &ON_DEVICE, 0));
    OK(cuMemCreate(&small, UNIT, &ON_DEVICE, 0));
    EXPECT(INVALID_VALUE, cuMemMap(base + 4096, 2 * UNIT, 0, memory, 0));
    EXPECT(INVALID_VALUE, cuMemMap(base + 7 * UNIT, 2 * UNIT, 0, memory, 0));
    EXPECT(INVALID_VALUE, cuMemMap(base, 4 * UNIT, 0, memory, 0));
    EXPECT(INVALID_VALUE, cuMemMap(base, 2 * UNIT, 0, memory, 1));
    HOLDS(cuMemMap(base, 2 * UNIT, 0, memory + 12345, 0) != 0);
    OK(cuMemMap(base, 2 * UNIT, 0, memory, 0));
    OK(cuMemMap(base + 2 * UNIT, UNIT, 0, small, 0));
    EXPECT(INVALID_VALUE, cuMemMap(base + UNIT, UNIT, 0, small, 0));
    EXPECT(INVALID_VALUE, cuMemSetAccess(base, UNIT, &ALL, 1));
    EXPECT(INVALID_VALUE, cuMemSetAccess(base, 4 * UNIT, &ALL, 1));
    EXPECT(INVALID_VALUE, cuMemSetAccess(base, 3 * UNIT, &ALL, 0));
    OK(cuMemSetAccess(base, 3 * UNIT, &ALL, 1));
    EXPECT(INVALID_VALUE, cuMemFree_v2(base));
    EXPECT(INVALID_VALUE, cuMemUnmap(base, UNIT));
    EXPECT(INVALID_VALUE, cuMemUnmap(base + UNIT, 2 * UNIT));
    EXPECT(INVALID_VALUE, cuMemAddressFree(base, 4 * UNIT));
    HOLDS(cuMemAddressFree(base, 8 * UNIT) != 0);
    // Two mappings at once.
    OK(cuMemUnmap(base, 3 * UNIT));
    EXPECT(INVALID_VALUE, cuMemUnmap(base, 3 * UNIT));
    HOLDS(cuMemRetainAllocationHandle(&other, (void *)(uintptr_t)base) != 0);
    OK(cuMemRelease(memory));
    OK(cuMemRelease(small));
    OK(cuMemAddressFree(base, 8 * UNIT));
    EXPECT(INVALID_VALUE, cuMemAddressFree(base, 8 * UNIT));
}

// What only vgpu refuses.
static void absences(void) {
    FIND(int, cuMemCreate, handle *, size_t, const struct properties *, unsigned long long)
    FIND(int, cuMemRelease, handle)
    FIND(int, cuMemExportToShareableHandle, void *, handle, int, unsigned long long)
    handle memory;
    struct properties wrong = ON_DEVICE;
    wrong.location.type = 2;
    EXPECT(NOT_SUPPORTED, cuMemCreate(&memory, UNIT, &wrong, 0));
    wrong = ON_DEVICE;
    wrong.handle_types = 8;
    EXPECT(NOT_SUPPORTED, cuMemCreate(&memory, UNIT, &wrong, 0));
    wrong.handle_types = 1;
    OK(cuMemCreate(&memory, UNIT, &wrong, 0));
    int file;
    EXPECT(NOT_SUPPORTED, cuMemExportToShareableHandle(&file, memory, 1, 0));
    OK(cuMemRelease(memory));
}

// A kernel reaches an array over two mappings; once one is unmapped, it does not.
static void kernels(const char *path) {
    FIND(int, cuMemAddressReserve, handle *, size_t, size_t, handle, unsigned long long)
    FIND(int, cuMemUnmap, handle, size_t)
    FIND(int, cuMemsetD32_v2, handle, unsigned, size_t)
    FIND(int, cuMemcpyDtoH_v2, void *, handle, size_t)
    FIND(int, cuModuleLoadData, handle *, const void *)
    FIND(int, cuModuleGetFunction, handle *, handle, const char *)
    FIND(int, cuLaunchKernel, handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, handle,
         void **, void **)
    FIND(int, cuCtxSynchronize, void)
    handle module, saxpy;
    OK(cuModuleLoadData(&module, read_file(path)));
    OK(cuModuleGetFunction(&saxpy, module, "saxpy"));
    static struct segment segment = {.piece = UNIT, .most = 64};
    OK(cuMemAddressReserve(&segment.base, segment.most * segment.piece, 0, 0, 0));
    grow(&segment, 0, 2);
    OK(cuMemsetD32_v2(segment.base, 0x3f800000, 2 * UNIT / 4));
    float a = 2, ends[4];
    int n = 64;
    handle array = segment.base + UNIT - 32 * sizeof(float);
    void *params[] = {&a, &array, &array, &n};
    OK(cuLaunchKernel(saxpy, 1, 1, 1, 64, 1, 1, 0, 0, params, NULL));
    OK(cuMemcpyDtoH_v2(ends, segment.base + UNIT - 8, sizeof ends));
    HOLDS(ends[0] == 3 && ends[1] == 3 && ends[2] == 3 && ends[3] == 3);
    OK(cuMemUnmap(segment.base + UNIT, UNIT));
    OK(cuLaunchKernel(saxpy, 1, 1, 1, 64, 1, 1, 0, 0, params, NULL));
    EXPECT(ILLEGAL_ADDRESS, cuCtxSynchronize());
}

int main(int argc, char **argv) {
    HOLDS(argc == 2 || argc == 3);
    ours = argc == 2;
    lib = open_library("libcuda.so.1");
    FIND(int, cuInit, unsigned)
    FIND(int, cuDevicePrimaryCtxRetain, handle *, int)
    FIND(int, cuCtxSetCurrent, handle)
    FIND(int, cuDeviceGetAttribute, int *, int, int)
    OK(cuInit(0));
    handle context;
    OK(cuDevicePrimaryCtxRetain(&context, 0));
    OK(cuCtxSetCurrent(context));
    int supported = 0;
    OK(cuDeviceGetAttribute(&supported, ATTRIBUTE_VMM, 0));
    HOLDS(supported == 1);
    expandable_segments();
    one_by_one();
    refusals();
    if (ours) absences();
    kernels(argv[1]);
    puts("ok");
    return 0;
}
