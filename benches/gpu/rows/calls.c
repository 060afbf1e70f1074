// What single calls cost: launches, synchronisation, a word to the host, events, allocation.
#include "fixture.h"
#include "samples.h"

// Half a command ring of vgpu, so that no launch of a burst waits for room; natively as well.
enum { BURST = 800, BURSTS = 60, SUSTAINED = 100000, TURNS = 4000, BLOCK_BYTES = 2 << 20 };
enum { NON_BLOCKING = 1, LEGACY = 0 };

static int (*launch)(handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, handle, void **,
                     void **);
static int (*synchronize)(handle);
static handle stream;

// `CUlaunchConfig` of cuda.h.
struct launch_config {
    unsigned grid[3], block[3], shared_bytes;
    handle stream;
    void *attributes;
    unsigned attribute_count;
};
static int (*launch_extended)(const struct launch_config *, handle, void **, void **);

// Median time of a launch over bursts, in nanoseconds, on a stream.
static double burst(handle kernel, void **params, handle on, int extended) {
    struct launch_config config = {{1, 1, 1}, {32, 1, 1}, 0, on, NULL, 0};
    for (int at = -5; at < BURSTS; at++) {
        double begin = now_ns();
        for (int i = 0; i < BURST; i++) {
            OK(extended ? launch_extended(&config, kernel, params, NULL)
                        : launch(kernel, 1, 1, 1, 32, 1, 1, 0, on, params, NULL));
        }
        double passed = now_ns() - begin;
        OK(synchronize(on));
        if (at >= 0) samples[at] = passed / BURST;
    }
    return quantile(BURSTS, 0.5);
}

// Launches per second of an unbroken row of them.
static double sustained(handle kernel) {
    for (int at = 0; at < 3; at++) {
        double begin = now_ns();
        for (int i = 0; i < SUSTAINED; i++) OK(launch(kernel, 1, 1, 1, 32, 1, 1, 0, stream, NULL, NULL));
        OK(synchronize(stream));
        samples[at] = SUSTAINED / ((now_ns() - begin) / 1e9);
    }
    return quantile(3, 0.5);
}

// Times of a launch and the wait for it, in microseconds.
static void launch_and_wait(handle kernel, handle on) {
    for (int at = -100; at < TURNS; at++) {
        double begin = now_ns();
        OK(launch(kernel, 1, 1, 1, 32, 1, 1, 0, on, NULL, NULL));
        OK(synchronize(on));
        if (at >= 0) samples[at] = (now_ns() - begin) / 1e3;
    }
}

static void launches(void *lib, handle memory) {
    handle module = load_fixture(lib, "tiny");
    handle empty = kernel_of(lib, module, "empty"), fill = kernel_of(lib, module, "fill");
    int value = 3, count = 32;
    void *params[] = {&memory, &value, &count};
    figure("launch, burst", burst(empty, NULL, stream, 0), "ns");
    figure("launch with 3 parameters, burst", burst(fill, params, stream, 0), "ns");
    figure("launch by cuLaunchKernelEx, burst", burst(fill, params, stream, 1), "ns");
    // PyTorch works on the legacy stream.
    figure("launch on the legacy stream, burst", burst(fill, params, LEGACY, 0), "ns");
    figure("launches, sustained", sustained(empty), "1/s");
    launch_and_wait(empty, stream);
    figure("launch + synchronize, p50", quantile(TURNS, 0.5), "us");
    figure("launch + synchronize, p99", quantile(TURNS, 0.99), "us");
    launch_and_wait(empty, LEGACY);
    figure("launch + synchronize, legacy stream, p50", quantile(TURNS, 0.5), "us");
}

static void words(void *lib, handle memory) {
    FIND(int, cuMemcpyDtoH_v2, void *, handle, size_t)
    FIND(int, cuMemcpyHtoD_v2, handle, const void *, size_t)
    FIND(int, cuMemcpyDtoHAsync_v2, void *, handle, size_t, handle)
    FIND(int, cuMemHostAlloc, void **, size_t, unsigned)
    int word = 0;
    for (int at = -100; at < TURNS; at++) {
        double begin = now_ns();
        OK(cuMemcpyDtoH_v2(&word, memory, sizeof word));
        if (at >= 0) samples[at] = (now_ns() - begin) / 1e3;
    }
    figure("4 bytes to the host, p50", quantile(TURNS, 0.5), "us");
    figure("4 bytes to the host, p99", quantile(TURNS, 0.99), "us");
    for (int at = -100; at < TURNS; at++) {
        double begin = now_ns();
        OK(cuMemcpyHtoD_v2(memory, &word, sizeof word));
        if (at >= 0) samples[at] = (now_ns() - begin) / 1e3;
    }
    figure("4 bytes to the device, p50", quantile(TURNS, 0.5), "us");
    // How PyTorch reads a number: through pinned memory.
    void *pinned;
    OK(cuMemHostAlloc(&pinned, 4096, 0));
    for (int at = -100; at < TURNS; at++) {
        double begin = now_ns();
        OK(cuMemcpyDtoHAsync_v2(pinned, memory, sizeof word, stream));
        OK(synchronize(stream));
        if (at >= 0) samples[at] = (now_ns() - begin) / 1e3;
    }
    figure("4 bytes to pinned memory + synchronize, p50", quantile(TURNS, 0.5), "us");
}

static void events(void *lib) {
    FIND(int, cuEventCreate, handle *, unsigned)
    FIND(int, cuEventRecord, handle, handle)
    FIND(int, cuEventQuery, handle)
    FIND(int, cuStreamWaitEvent, handle, handle, unsigned)
    handle event;
    OK(cuEventCreate(&event, 0));
    for (int at = 0; at < BURSTS; at++) {
        double begin = now_ns();
        for (int i = 0; i < BURST / 4; i++) OK(cuEventRecord(event, stream));
        samples[at] = (now_ns() - begin) / (BURST / 4);
        OK(synchronize(stream));
    }
    figure("event record", quantile(BURSTS, 0.5), "ns");
    for (int at = 0; at < BURSTS; at++) {
        double begin = now_ns();
        for (int i = 0; i < BURST / 4; i++) OK(cuStreamWaitEvent(stream, event, 0));
        samples[at] = (now_ns() - begin) / (BURST / 4);
        OK(synchronize(stream));
    }
    figure("stream waits for an event", quantile(BURSTS, 0.5), "ns");
    for (int at = 0; at < BURSTS; at++) {
        double begin = now_ns();
        for (int i = 0; i < BURST; i++) OK(cuEventQuery(event));
        samples[at] = (now_ns() - begin) / BURST;
    }
    figure("event query", quantile(BURSTS, 0.5), "ns");
}

static void allocation(void *lib) {
    FIND(int, cuMemAlloc_v2, handle *, size_t)
    FIND(int, cuMemFree_v2, handle)
    enum { COUNT = 300 };
    handle block;
    double freed[COUNT];
    for (int at = 0; at < COUNT; at++) {
        double begin = now_ns();
        OK(cuMemAlloc_v2(&block, BLOCK_BYTES));
        double middle = now_ns();
        OK(cuMemFree_v2(block));
        samples[at] = (middle - begin) / 1e3;
        freed[at] = (now_ns() - middle) / 1e3;
    }
    figure("allocate 2 MiB", quantile(COUNT, 0.5), "us");
    memcpy(samples, freed, sizeof freed);
    figure("free 2 MiB", quantile(COUNT, 0.5), "us");
}

int main(void) {
    void *lib = open_driver();
    FIND(int, cuStreamCreate, handle *, unsigned)
    FIND(int, cuMemAlloc_v2, handle *, size_t)
    FIND(int, cuStreamSynchronize, handle)
    FIND(int, cuLaunchKernel, handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, handle,
         void **, void **)
    FIND(int, cuLaunchKernelEx, const struct launch_config *, handle, void **, void **)
    launch = cuLaunchKernel, launch_extended = cuLaunchKernelEx, synchronize = cuStreamSynchronize;
    handle memory;
    OK(cuStreamCreate(&stream, NON_BLOCKING));
    OK(cuMemAlloc_v2(&memory, 4096));
    launches(lib, memory);
    words(lib, memory);
    events(lib);
    allocation(lib);
    end_figures();
    return 0;
}
