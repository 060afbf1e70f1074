// Copies between host and device, pageable and pinned, of 4 KiB to 1 GiB: copies [LARGEST_BYTES].
#include "fixture.h"
#include "samples.h"

// Enough repetitions for a steady median, and an end for slow ones.
enum { REPEATS_MAX = 200, REPEATS_MIN = 3 };
static const double LONG_ENOUGH_NS = 4e8;

static const struct {
    size_t bytes;
    const char *name;
} SIZES[] = {{4096, "4 KiB"},      {65536, "64 KiB"},     {1 << 20, "1 MiB"},
             {16 << 20, "16 MiB"}, {64 << 20, "64 MiB"}, {1 << 30, "1 GiB"}};

static int (*to_device)(handle, const void *, size_t, handle);
static int (*to_host)(void *, handle, size_t, handle);
static int (*to_device_now)(handle, const void *, size_t);
static int (*to_host_now)(void *, handle, size_t);
static int (*synchronize)(handle);

// One copy, until its bytes are there.
static void copy(int down, int pinned, handle device, void *host, size_t bytes, handle stream) {
    if (!pinned) {
        OK(down ? to_host_now(host, device, bytes) : to_device_now(device, host, bytes));
        return;
    }
    OK(down ? to_host(host, device, bytes, stream) : to_device(device, host, bytes, stream));
    OK(synchronize(stream));
}

// Median rate of a copy, in GB/s.
static double rate(int down, int pinned, handle device, void *host, size_t bytes, handle stream) {
    double begin = now_ns();
    int count = 0;
    copy(down, pinned, device, host, bytes, stream);
    while (count < REPEATS_MIN || (count < REPEATS_MAX && now_ns() - begin < LONG_ENOUGH_NS)) {
        double start = now_ns();
        copy(down, pinned, device, host, bytes, stream);
        samples[count++] = (double)bytes / (now_ns() - start);
    }
    return quantile(count, 0.5);
}

int main(int argc, char **argv) {
    void *lib = open_driver();
    FIND(int, cuMemAlloc_v2, handle *, size_t)
    FIND(int, cuMemHostAlloc, void **, size_t, unsigned)
    FIND(int, cuStreamCreate, handle *, unsigned)
    FIND(int, cuStreamSynchronize, handle)
    FIND(int, cuMemcpyHtoDAsync_v2, handle, const void *, size_t, handle)
    FIND(int, cuMemcpyDtoHAsync_v2, void *, handle, size_t, handle)
    FIND(int, cuMemcpyHtoD_v2, handle, const void *, size_t)
    FIND(int, cuMemcpyDtoH_v2, void *, handle, size_t)
    to_device = cuMemcpyHtoDAsync_v2, to_host = cuMemcpyDtoHAsync_v2;
    to_device_now = cuMemcpyHtoD_v2, to_host_now = cuMemcpyDtoH_v2;
    synchronize = cuStreamSynchronize;
    size_t largest = argc > 1 ? strtoull(argv[1], NULL, 10) : (size_t)1 << 30;
    handle device, stream;
    void *pinned, *pageable = malloc(largest);
    OK(cuStreamCreate(&stream, 1));
    OK(cuMemAlloc_v2(&device, largest));
    OK(cuMemHostAlloc(&pinned, largest, 0));
    HOLDS(pageable);
    // Every page is there before anything is measured.
    memset(pageable, 1, largest);
    memset(pinned, 2, largest);
    for (int kind = 0; kind < 4; kind++) {
        for (size_t at = 0; at < sizeof SIZES / sizeof *SIZES && SIZES[at].bytes <= largest; at++) {
            int down = kind & 1, is_pinned = kind >> 1;
            char name[64];
            snprintf(name, sizeof name, "%s %s %s", down ? "D2H" : "H2D", is_pinned ? "pinned" : "pageable",
                     SIZES[at].name);
            void *host = is_pinned ? pinned : pageable;
            figure(name, rate(down, is_pinned, device, host, SIZES[at].bytes, stream), "GB/s");
        }
    }
    end_figures();
    return 0;
}
