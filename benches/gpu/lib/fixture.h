// What the C workloads share: the driver with the primary context of the first device, and kernels of the fixtures.
#pragma once
#include <stdint.h>
#include <time.h>

#include "check.h"

typedef uint64_t handle;

// Opens the driver that the loader finds and makes the first device's primary context current.
static inline void *open_driver(void) {
    void *lib = open_library("libcuda.so.1");
    FIND(int, cuInit, unsigned)
    FIND(int, cuDeviceGet, int *, int)
    FIND(int, cuDevicePrimaryCtxRetain, handle *, int)
    FIND(int, cuCtxSetCurrent, handle)
    int device;
    handle context;
    OK(cuInit(0));
    OK(cuDeviceGet(&device, 0));
    OK(cuDevicePrimaryCtxRetain(&context, device));
    OK(cuCtxSetCurrent(context));
    return lib;
}

// Loads a fixture's PTX from the folder that VGPU_FIXTURE_DIR names.
static inline handle load_fixture(void *lib, const char *name) {
    FIND(int, cuModuleLoadData, handle *, const void *)
    const char *folder = getenv("VGPU_FIXTURE_DIR");
    char path[4096];
    HOLDS(folder && snprintf(path, sizeof path, "%s/%s.ptx", folder, name) < (int)sizeof path);
    char *text = read_file(path);
    handle module;
    OK(cuModuleLoadData(&module, text));
    free(text);
    return module;
}

// A kernel of a module.
static inline handle kernel_of(void *lib, handle module, const char *name) {
    FIND(int, cuModuleGetFunction, handle *, handle, const char *)
    handle function;
    OK(cuModuleGetFunction(&function, module, name));
    return function;
}

// The monotonic clock, in nanoseconds.
static inline double now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return 1e9 * (double)time.tv_sec + (double)time.tv_nsec;
}
