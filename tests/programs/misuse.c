// What a real driver answers with a crash, or not at all: freed and invented handles, broken containers, a fault. The
// shim answers each with an error and goes on. Argument: saxpy.ptx.
#include "check.h"
#include <stdint.h>

enum { INVALID_VALUE = 1, NO_BINARY = 209, INVALID_IMAGE = 200, INVALID_CONTEXT = 201, INVALID_HANDLE = 400, ILLEGAL = 700 };

typedef uint64_t handle;

// A container with one entry. Sizes that lie are the test.
struct container {
    uint32_t magic;
    uint16_t version, header_bytes;
    uint64_t body_bytes;
    uint16_t kind, entry_version;
    uint32_t entry_header_bytes;
    uint64_t payload_bytes;
    uint32_t packed_bytes, reserved0[2];
    uint32_t architecture;
    uint64_t reserved1, flags, reserved2, plain_bytes;
    char payload[64];
};

static struct container good(void) {
    struct container c = {0xba55ed50, 1, 16, 128, 1, 0x101, 64, 64, 0, {0, 0}, 50, 0, 0, 0, 0, {0}};
    return c;
}

int main(int argc, char **argv) {
    HOLDS(argc == 2);
    void *lib = open_library("libcuda.so.1");
    FIND(int, cuInit, unsigned)
    FIND(int, cuDevicePrimaryCtxRetain, handle *, int)
    FIND(int, cuDevicePrimaryCtxReset_v2, int)
    FIND(int, cuCtxSetCurrent, handle)
    FIND(int, cuCtxCreate_v2, handle *, unsigned, int)
    FIND(int, cuCtxDestroy_v2, handle)
    FIND(int, cuCtxSynchronize, void)
    FIND(int, cuMemAlloc_v2, handle *, size_t)
    FIND(int, cuMemFree_v2, handle)
    FIND(int, cuMemcpyDtoH_v2, void *, handle, size_t)
    FIND(int, cuModuleLoadData, handle *, const void *)
    FIND(int, cuModuleGetFunction, handle *, handle, const char *)
    FIND(int, cuModuleUnload, handle)
    FIND(int, cuLibraryUnload, handle)
    FIND(int, cuKernelGetFunction, handle *, handle)
    FIND(int, cuLaunchKernel, handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, handle,
         void **, void **)
    FIND(int, cuStreamCreate, handle *, unsigned)
    FIND(int, cuStreamDestroy_v2, handle)
    FIND(int, cuStreamQuery, handle)
    FIND(int, cuEventCreate, handle *, unsigned)
    FIND(int, cuEventRecord, handle, handle)
    FIND(int, cuEventQuery, handle)
    FIND(int, cuEventDestroy_v2, handle)
    handle primary, other, stream, event, module, saxpy, memory;
    OK(cuInit(0));
    OK(cuDevicePrimaryCtxRetain(&primary, 0));
    OK(cuCtxSetCurrent(primary));

    // Handles that were freed, or belong elsewhere.
    const char *ptx = read_file(argv[1]);
    OK(cuStreamCreate(&stream, 0));
    OK(cuEventCreate(&event, 0));
    OK(cuModuleLoadData(&module, ptx));
    OK(cuModuleGetFunction(&saxpy, module, "saxpy"));
    OK(cuMemAlloc_v2(&memory, 4096));
    OK(cuCtxCreate_v2(&other, 0, 0));
    EXPECT(INVALID_HANDLE, cuEventRecord(event, 0));
    float a = 1;
    int n = 1;
    void *params[] = {&a, &memory, &memory, &n};
    EXPECT(INVALID_HANDLE, cuLaunchKernel(saxpy, 1, 1, 1, 1, 1, 1, 0, 0, params, NULL));
    OK(cuCtxDestroy_v2(other));
    EXPECT(INVALID_CONTEXT, cuCtxDestroy_v2(other));
    EXPECT(INVALID_CONTEXT, cuCtxSetCurrent(other));
    OK(cuCtxSetCurrent(primary));
    EXPECT(INVALID_CONTEXT, cuCtxDestroy_v2(primary));
    OK(cuModuleUnload(module));
    EXPECT(INVALID_HANDLE, cuModuleUnload(module));
    EXPECT(INVALID_HANDLE, cuLaunchKernel(saxpy, 1, 1, 1, 1, 1, 1, 0, stream, params, NULL));
    OK(cuStreamDestroy_v2(stream));
    EXPECT(INVALID_HANDLE, cuStreamQuery(stream));
    EXPECT(INVALID_HANDLE, cuEventRecord(event, stream));
    OK(cuEventDestroy_v2(event));
    EXPECT(INVALID_HANDLE, cuEventQuery(event));
    EXPECT(INVALID_HANDLE, cuStreamQuery(0xdeadbeef));
    EXPECT(INVALID_HANDLE, cuLibraryUnload(memory));
    EXPECT(INVALID_HANDLE, cuKernelGetFunction(&saxpy, stream));

    // Containers whose sizes lie, that hold nothing that fits, or noise that claims to be compressed.
    struct container c = good();
    c.payload_bytes = ~(uint64_t)0;
    EXPECT(INVALID_IMAGE, cuModuleLoadData(&module, &c));
    c = good();
    c.entry_header_bytes = 0;
    EXPECT(INVALID_IMAGE, cuModuleLoadData(&module, &c));
    c = good();
    c.architecture = 120;
    EXPECT(NO_BINARY, cuModuleLoadData(&module, &c));
    for (int flags = 0x2000; flags <= 0x8000; flags *= 4) {
        c = good();
        c.flags = flags;
        c.packed_bytes = 64;
        c.plain_bytes = 1 << 20;
        memset(c.payload, 0xa5, sizeof c.payload);
        EXPECT(INVALID_IMAGE, cuModuleLoadData(&module, &c));
        c.plain_bytes = ~(uint64_t)0;
        EXPECT(INVALID_IMAGE, cuModuleLoadData(&module, &c));
    }
    char elf[64] = "\x7f" "ELF";
    memset(elf + 40, 0xff, 8);
    EXPECT(INVALID_IMAGE, cuModuleLoadData(&module, elf));
    EXPECT(INVALID_IMAGE, cuModuleLoadData(&module, ""));

    // A kernel that is given memory of the program: a fault, which stays until the context is reset.
    char here[64];
    handle wrong = (handle)(uintptr_t)here;
    params[1] = &wrong;
    OK(cuModuleLoadData(&module, ptx));
    OK(cuModuleGetFunction(&saxpy, module, "saxpy"));
    OK(cuLaunchKernel(saxpy, 1, 1, 1, 1, 1, 1, 0, 0, params, NULL));
    EXPECT(ILLEGAL, cuCtxSynchronize());
    EXPECT(ILLEGAL, cuMemAlloc_v2(&wrong, 16));
    EXPECT(ILLEGAL, cuMemcpyDtoH_v2(here, memory, 16));
    OK(cuDevicePrimaryCtxReset_v2(0));
    // On a card a fault stays with the process, as with the driver itself; elsewhere the new context is good.
    if (cuDevicePrimaryCtxRetain(&primary, 0) == ILLEGAL) {
        puts("ok");
        return 0;
    }
    EXPECT(INVALID_VALUE, cuMemFree_v2(memory));
    OK(cuMemAlloc_v2(&memory, 16));
    OK(cuCtxSynchronize());
    puts("ok");
    return 0;
}
