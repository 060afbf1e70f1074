// A CUDA program as people write them, built by nvcc with its default output: kernels by name with <<<>>>, a device
// variable, shared memory, streams, events, managed and pinned memory, occupancy, two-dimensional copies.
#include "check.cuh"
#include <cstdio>
#include <thread>

__device__ float scale = 3;
__constant__ float offsets[4] = {1, 2, 3, 4};

__global__ void saxpy(int n, float a, const float *x, float *y) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i] + y[i];
}

__global__ void scaled(float *out) { out[threadIdx.x] = scale * offsets[threadIdx.x & 3]; }

__global__ void sum(const int *in, int *out) {
    extern __shared__ int partial[];
    partial[threadIdx.x] = in[blockIdx.x * blockDim.x + threadIdx.x];
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) atomicAdd(out, partial[0]);
}

__global__ void wait_for(volatile int *flag) {
    while (*flag == 0) {
    }
}

static void kernels() {
    const int n = 5000;
    float *x, *y, *host = new float[n];
    OK(cudaMalloc(&x, n * sizeof(float)));
    OK(cudaMalloc(&y, n * sizeof(float)));
    for (int i = 0; i < n; i++) host[i] = i;
    OK(cudaMemcpy(x, host, n * sizeof(float), cudaMemcpyHostToDevice));
    OK(cudaMemset(y, 0, n * sizeof(float)));
    saxpy<<<(n + 127) / 128, 128>>>(n, 2, x, y);
    OK(cudaGetLastError());
    OK(cudaMemcpy(host, y, n * sizeof(float), cudaMemcpyDeviceToHost));
    for (int i = 0; i < n; i++) HOLDS(host[i] == 2.0f * i);

    float five = 5;
    OK(cudaMemcpyToSymbol(scale, &five, sizeof five));
    scaled<<<1, 4>>>(y);
    OK(cudaMemcpy(host, y, 4 * sizeof(float), cudaMemcpyDefault));
    for (int i = 0; i < 4; i++) HOLDS(host[i] == 5.0f * (i + 1));
    float back = 0;
    OK(cudaMemcpyFromSymbol(&back, scale, sizeof back));
    HOLDS(back == 5);
    OK(cudaFree(x));
    OK(cudaFree(y));
    delete[] host;
}

static void streams() {
    int *in, *out;
    OK(cudaMallocHost(&in, 1024 * sizeof(int)));
    OK(cudaMallocManaged(&out, sizeof(int)));
    for (int i = 0; i < 1024; i++) in[i] = i;
    *out = 0;
    cudaStream_t first, second;
    cudaEvent_t ready;
    OK(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking));
    OK(cudaStreamCreateWithPriority(&second, cudaStreamNonBlocking, -1));
    OK(cudaEventCreateWithFlags(&ready, cudaEventDisableTiming));
    int *device;
    OK(cudaMalloc(&device, 1024 * sizeof(int)));
    OK(cudaMemcpyAsync(device, in, 1024 * sizeof(int), cudaMemcpyHostToDevice, first));
    OK(cudaEventRecord(ready, first));
    OK(cudaStreamWaitEvent(second, ready, 0));
    sum<<<4, 256, 256 * sizeof(int), second>>>(device, out);
    OK(cudaStreamSynchronize(second));
    HOLDS(*out == 1023 * 1024 / 2);
    cudaPointerAttributes what;
    OK(cudaPointerGetAttributes(&what, in));
    HOLDS(what.type == cudaMemoryTypeHost && what.devicePointer == in);
    OK(cudaPointerGetAttributes(&what, device));
    HOLDS(what.type == cudaMemoryTypeDevice && what.device == 0);
    OK(cudaPointerGetAttributes(&what, &what));
    HOLDS(what.type == cudaMemoryTypeUnregistered);
    cudaStreamCaptureStatus status;
    OK(cudaStreamIsCapturing(first, &status));
    HOLDS(status == cudaStreamCaptureStatusNone);
    OK(cudaStreamDestroy(first));
    OK(cudaStreamDestroy(second));
    OK(cudaEventDestroy(ready));
    OK(cudaFree(device));
    OK(cudaFree(out));
    OK(cudaFreeHost(in));
}

static void CUDART_CB increment(void *data) { ++*static_cast<int *>(data); }

static void CUDART_CB called(cudaStream_t, cudaError_t error, void *data) {
    if (error == cudaSuccess) *static_cast<int *>(data) *= 10;
}

// Host functions see what came before them in their stream, and what follows waits for them, across streams too.
static void host_functions() {
    int *number, *device, back = 0;
    OK(cudaMallocHost(&number, sizeof(int)));
    OK(cudaMalloc(&device, sizeof(int)));
    *number = 0;
    cudaStream_t first, second;
    cudaEvent_t done;
    OK(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking));
    OK(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
    OK(cudaEventCreate(&done));
    for (int round = 1; round <= 3; round++) {
        OK(cudaLaunchHostFunc(first, increment, number));
        OK(cudaStreamAddCallback(first, called, number, 0));
        OK(cudaMemcpyAsync(device, number, sizeof(int), cudaMemcpyHostToDevice, first));
        OK(cudaEventRecord(done, first));
        OK(cudaStreamWaitEvent(second, done, 0));
        OK(cudaLaunchHostFunc(second, increment, number));
        OK(cudaMemcpyAsync(&back, device, sizeof(int), cudaMemcpyDeviceToHost, second));
        OK(cudaStreamSynchronize(second));
        HOLDS(back == (round == 1 ? 10 : round == 2 ? 120 : 1220) && *number == back + 1);
    }
    OK(cudaStreamDestroy(first));
    OK(cudaStreamDestroy(second));
    OK(cudaEventDestroy(done));
    OK(cudaFree(device));
    OK(cudaFreeHost(number));
}

// A kernel runs until the host, which has seen the event before it, sets a flag.
static void flags() {
    int *flag;
    OK(cudaHostAlloc(&flag, sizeof(int), cudaHostAllocMapped));
    *flag = 0;
    cudaStream_t stream;
    cudaEvent_t before;
    OK(cudaStreamCreate(&stream));
    OK(cudaEventCreateWithFlags(&before, cudaEventDisableTiming));
    OK(cudaEventRecord(before, stream));
    wait_for<<<1, 1, 0, stream>>>(flag);
    cudaError_t state;
    while ((state = cudaEventQuery(before)) == cudaErrorNotReady) std::this_thread::yield();
    OK(state);
    HOLDS(cudaStreamQuery(stream) == cudaErrorNotReady);
    *const_cast<volatile int *>(flag) = 1;
    OK(cudaStreamSynchronize(stream));
    OK(cudaStreamQuery(stream));
    OK(cudaStreamDestroy(stream));
    OK(cudaEventDestroy(before));
    OK(cudaFreeHost(flag));
}

static void questions() {
    cudaDeviceProp device;
    OK(cudaGetDeviceProperties(&device, 0));
    HOLDS(device.warpSize == 32 && device.totalGlobalMem > 0 && device.multiProcessorCount > 0);
    cudaFuncAttributes kernel;
    OK(cudaFuncGetAttributes(&kernel, sum));
    HOLDS(kernel.maxThreadsPerBlock >= 256);
    int blocks = 0;
    OK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, sum, 256, 1024));
    HOLDS(blocks > 0);
    int grid = 0, block = 0;
    OK(cudaOccupancyMaxPotentialBlockSize(&grid, &block, saxpy));
    HOLDS(grid > 0 && block > 0);
    OK(cudaFuncSetAttribute(sum, cudaFuncAttributeMaxDynamicSharedMemorySize, 64 << 10));
}

static void boxes() {
    unsigned char host[6][5], back[6][5] = {};
    for (int y = 0; y < 6; y++)
        for (int x = 0; x < 5; x++) host[y][x] = 10 * y + x;
    unsigned char *device;
    size_t pitch = 0;
    OK(cudaMallocPitch(&device, &pitch, 5, 6));
    HOLDS(pitch >= 5);
    OK(cudaMemset2D(device, pitch, 7, 5, 6));
    OK(cudaMemcpy2D(device, pitch, host, 5, 5, 3, cudaMemcpyHostToDevice));
    OK(cudaMemcpy2D(back, 5, device, pitch, 5, 6, cudaMemcpyDeviceToHost));
    for (int y = 0; y < 6; y++)
        for (int x = 0; x < 5; x++) HOLDS(back[y][x] == (y < 3 ? host[y][x] : 7));
    OK(cudaFree(device));
}

static void mistakes() {
    saxpy<<<1, 4096>>>(0, 0, nullptr, nullptr);
    HOLDS(cudaGetLastError() == cudaErrorInvalidValue);
    void *huge;
    HOLDS(cudaMalloc(&huge, size_t(1) << 44) == cudaErrorMemoryAllocation);
    HOLDS(cudaGetLastError() == cudaErrorMemoryAllocation);
    HOLDS(cudaGetLastError() == cudaSuccess);
    HOLDS(cudaSetDevice(7) == cudaErrorInvalidDevice);
    cudaGetLastError();
}

int main() {
    int devices = 0;
    OK(cudaGetDeviceCount(&devices));
    HOLDS(devices == 1);
    kernels();
    streams();
    host_functions();
    flags();
    questions();
    boxes();
    mistakes();
    // The same from threads at once: the primary context is shared, the runtime's state is not.
    std::thread others[4];
    for (std::thread &other : others) other = std::thread([] { kernels(), streams(), host_functions(); });
    for (std::thread &other : others) other.join();
    OK(cudaDeviceSynchronize());
    puts("ok");
    return 0;
}
