// The runtime's forms of the kinds of memory: pools, memory of the program pinned in place, pointer attributes.
#include "check.cuh"
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

static __global__ void add(int *to, int n, int value) {
    int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at < n) to[at] += value;
}

static constexpr int N = 10000;

// Blocks come and go in a stream; each holds what its own kernels wrote.
static void pools() {
    cudaStream_t stream;
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    for (int round = 0; round < 20; round++) {
        int *a, *b;
        OK(cudaMallocAsync(&a, N * sizeof(int), stream));
        OK(cudaMemsetAsync(a, 0, N * sizeof(int), stream));
        add<<<(N + 255) / 256, 256, 0, stream>>>(a, N, round);
        OK(cudaMallocAsync(&b, N * sizeof(int), stream));
        OK(cudaMemcpyAsync(b, a, N * sizeof(int), cudaMemcpyDeviceToDevice, stream));
        OK(cudaFreeAsync(a, stream));
        add<<<(N + 255) / 256, 256, 0, stream>>>(b, N, 1000);
        std::vector<int> here(N);
        OK(cudaMemcpyAsync(here.data(), b, N * sizeof(int), cudaMemcpyDeviceToHost, stream));
        OK(cudaFreeAsync(b, stream));
        OK(cudaStreamSynchronize(stream));
        for (int value : here) HOLDS(value == round + 1000);
    }
    cudaMemPool_t pool, own;
    OK(cudaDeviceGetDefaultMemPool(&pool, 0));
    size_t threshold = 64 << 20, read = 0;
    OK(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &threshold));
    OK(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &read));
    HOLDS(read == threshold);
    OK(cudaMemPoolTrimTo(pool, 0));
    cudaMemPoolProps properties = {};
    properties.allocType = cudaMemAllocationTypePinned;
    properties.location.type = cudaMemLocationTypeDevice;
    OK(cudaMemPoolCreate(&own, &properties));
    void *memory;
    OK(cudaMallocFromPoolAsync(&memory, 100, own, stream));
    OK(cudaFree(memory));
    OK(cudaMemPoolDestroy(own));
    OK(cudaStreamDestroy(stream));
}

static void registered() {
    std::vector<int> numbers(N, 7);
    OK(cudaHostRegister(numbers.data(), N * sizeof(int), cudaHostRegisterDefault));
    int *device = nullptr;
    OK(cudaHostGetDevicePointer(&device, numbers.data(), 0));
    HOLDS(device == numbers.data());
    add<<<(N + 255) / 256, 256>>>(device, N, 5);
    OK(cudaDeviceSynchronize());
    for (int number : numbers) HOLDS(number == 12);
    cudaPointerAttributes attributes;
    OK(cudaPointerGetAttributes(&attributes, numbers.data()));
    HOLDS(attributes.type == cudaMemoryTypeHost && attributes.devicePointer == numbers.data());
    HOLDS(cudaHostRegister(numbers.data(), 4, 0) == cudaErrorHostMemoryAlreadyRegistered);
    OK(cudaHostUnregister(numbers.data()));
    HOLDS(cudaHostUnregister(numbers.data()) == cudaErrorHostMemoryNotRegistered);
    cudaGetLastError();
    OK(cudaPointerGetAttributes(&attributes, numbers.data()));
    HOLDS(attributes.type == cudaMemoryTypeUnregistered);
    for (int number : numbers) HOLDS(number == 12);
}

static void kinds() {
    void *device, *pinned, *managed, *pooled;
    OK(cudaMalloc(&device, 100));
    OK(cudaMallocHost(&pinned, 100));
    OK(cudaMallocManaged(&managed, 100));
    OK(cudaMallocAsync(&pooled, 100, 0));
    struct {
        void *pointer;
        cudaMemoryType type;
        bool host;
    } kinds[] = {{device, cudaMemoryTypeDevice, false},
                 {pinned, cudaMemoryTypeHost, true},
                 {managed, cudaMemoryTypeManaged, true},
                 {pooled, cudaMemoryTypeDevice, false}};
    for (auto &kind : kinds) {
        cudaPointerAttributes attributes;
        OK(cudaPointerGetAttributes(&attributes, kind.pointer));
        HOLDS(attributes.type == kind.type && attributes.device == 0);
        HOLDS(attributes.devicePointer == kind.pointer);
        HOLDS(attributes.hostPointer == (kind.host ? kind.pointer : nullptr));
    }
    OK(cudaFree(device));
    OK(cudaFreeHost(pinned));
    OK(cudaFree(managed));
    OK(cudaFreeAsync(pooled, 0));
}

int main() {
    pools();
    registered();
    kinds();
    std::thread others[3];
    for (std::thread &other : others) other = std::thread([] { pools(), registered(); });
    for (std::thread &other : others) other.join();
    OK(cudaDeviceSynchronize());
    puts("ok");
    return 0;
}
