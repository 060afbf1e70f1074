// A CUDA runtime, opened by name, on whatever driver the loader finds: device, memory, copies, streams, events, and a
// kernel through the driver on memory and a stream of the runtime. Arguments: the runtime's file, saxpy.ptx.
#include "check.h"

enum { HOST_TO_DEVICE = 1, DEVICE_TO_HOST = 2, COUNT = 1000 };

int main(int argc, char **argv) {
    HOLDS(argc == 3);
    void *lib = open_library(argv[1]);
    FIND(int, cudaRuntimeGetVersion, int *)
    FIND(int, cudaDriverGetVersion, int *)
    FIND(int, cudaGetDeviceCount, int *)
    FIND(int, cudaDeviceGetAttribute, int *, int, int)
    FIND(int, cudaMalloc, void **, size_t)
    FIND(int, cudaFree, void *)
    FIND(int, cudaMallocHost, void **, size_t)
    FIND(int, cudaFreeHost, void *)
    FIND(int, cudaMemcpy, void *, const void *, size_t, int)
    FIND(int, cudaMemcpyAsync, void *, const void *, size_t, int, void *)
    FIND(int, cudaMemset, void *, int, size_t)
    FIND(int, cudaMemGetInfo, size_t *, size_t *)
    FIND(int, cudaStreamCreate, void **)
    FIND(int, cudaStreamDestroy, void *)
    FIND(int, cudaStreamSynchronize, void *)
    FIND(int, cudaStreamQuery, void *)
    FIND(int, cudaStreamWaitEvent, void *, void *, unsigned)
    FIND(int, cudaEventCreate, void **)
    FIND(int, cudaEventDestroy, void *)
    FIND(int, cudaEventRecord, void *, void *)
    FIND(int, cudaEventQuery, void *)
    FIND(int, cudaEventSynchronize, void *)
    FIND(int, cudaEventElapsedTime, float *, void *, void *)
    FIND(int, cudaDeviceSynchronize, void)
    FIND(int, cudaDeviceReset, void)
    FIND(int, cudaGetLastError, void)

    int runtime = 0, driver = 0, devices = 0, major = 0;
    OK(cudaRuntimeGetVersion(&runtime));
    OK(cudaDriverGetVersion(&driver));
    HOLDS(driver / 1000 >= runtime / 1000);
    OK(cudaGetDeviceCount(&devices));
    HOLDS(devices == 1);
    // Compute capability, major.
    OK(cudaDeviceGetAttribute(&major, 75, 0));
    HOLDS(major >= 7);
    // The structure grew from version to version; its name comes first in all.
    const char *symbol = runtime >= 13000 ? "cudaGetDeviceProperties" : "cudaGetDeviceProperties_v2";
    int (*properties)(void *, int) = (int (*)(void *, int))dlsym(lib, symbol);
    static char prop[8192];
    HOLDS(properties);
    OK(properties(prop, 0));
    HOLDS(prop[0]);

    float x[COUNT], y[COUNT], *dx, *dy, *pinned;
    for (int i = 0; i < COUNT; i++) x[i] = i, y[i] = 1;
    OK(cudaMalloc((void **)&dx, sizeof x));
    OK(cudaMalloc((void **)&dy, sizeof y));
    OK(cudaMemcpy(dx, x, sizeof x, HOST_TO_DEVICE));
    OK(cudaMemcpy(dy, y, sizeof y, HOST_TO_DEVICE));

    void *stream, *start, *end;
    OK(cudaStreamCreate(&stream));
    OK(cudaEventCreate(&start));
    OK(cudaEventCreate(&end));
    OK(cudaMallocHost((void **)&pinned, sizeof x));
    OK(cudaEventRecord(start, stream));

    lib = open_library("libcuda.so.1");
    FIND(int, cuModuleLoadData, void **, const void *)
    FIND(int, cuModuleGetFunction, void **, void *, const char *)
    FIND(int, cuModuleUnload, void *)
    FIND(int, cuLaunchKernel, void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *,
         void **, void **)
    void *module, *saxpy;
    OK(cuModuleLoadData(&module, read_file(argv[2])));
    OK(cuModuleGetFunction(&saxpy, module, "saxpy"));
    float a = 2;
    int n = COUNT;
    void *params[] = {&a, &dx, &dy, &n};
    OK(cuLaunchKernel(saxpy, (COUNT + 255) / 256, 1, 1, 256, 1, 1, 0, stream, params, NULL));
    OK(cudaMemcpyAsync(pinned, dy, sizeof y, DEVICE_TO_HOST, stream));
    OK(cudaEventRecord(end, stream));
    OK(cudaStreamWaitEvent(NULL, end, 0));
    OK(cudaStreamSynchronize(stream));
    OK(cudaStreamQuery(stream));
    OK(cudaEventSynchronize(end));
    OK(cudaEventQuery(end));
    for (int i = 0; i < COUNT; i++) HOLDS(pinned[i] == 2.0f * i + 1);
    float elapsed_ms = -1;
    OK(cudaEventElapsedTime(&elapsed_ms, start, end));
    HOLDS(elapsed_ms >= 0);

    OK(cudaMemset(dx, 0, 40));
    OK(cudaMemcpy(x, dx, sizeof x, DEVICE_TO_HOST));
    HOLDS(x[9] == 0 && x[10] == 10);
    size_t available = 0, total = 0;
    OK(cudaMemGetInfo(&available, &total));
    HOLDS(available < total);
    OK(cuModuleUnload(module));
    OK(cudaFreeHost(pinned));
    OK(cudaEventDestroy(start));
    OK(cudaEventDestroy(end));
    OK(cudaStreamDestroy(stream));
    OK(cudaFree(dx));
    // An impossible allocation is an error, and the program goes on.
    EXPECT(2, cudaMalloc((void **)&dx, (size_t)1 << 44));
    EXPECT(2, cudaGetLastError());
    OK(cudaDeviceSynchronize());
    OK(cudaDeviceReset());
    OK(cudaMalloc((void **)&dx, 16));
    OK(cudaFree(dx));
    puts("ok");
    return 0;
}
