// Graphs by NVIDIA's runtime, as PyTorch uses them: a side stream captures what its library calls queue, with a pool of
// memory allocated meanwhile in relaxed mode, and the graph is replayed on inputs that change in place.
#include "check.cuh"
#include <cstdio>
#include <thread>

constexpr int N = 1000;

__global__ void affine(int n, float a, const float *x, float *y) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i] + 1;
}

__global__ void add(int n, const float *x, float *y) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] += x[i];
}

static void CUDART_CB count(void *data) { ++*static_cast<int *>(data); }

// What a framework captures: work on its stream, more of it on a second one between two events, memory in between.
static cudaGraphExec_t capture(cudaStreamCaptureMode mode, const float *in, float *out, int *calls) {
    cudaStream_t stream, side;
    cudaEvent_t fork, join;
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    OK(cudaStreamCreateWithPriority(&side, cudaStreamNonBlocking, -1));
    OK(cudaEventCreateWithFlags(&fork, cudaEventDisableTiming));
    OK(cudaEventCreateWithFlags(&join, cudaEventDisableTiming));
    OK(cudaStreamBeginCapture(stream, mode));
    cudaStreamCaptureStatus status;
    unsigned long long id = 0;
    OK(cudaStreamGetCaptureInfo(stream, &status, &id));
    HOLDS(status == cudaStreamCaptureStatusActive && id != 0);
    float *scratch;
    cudaStreamCaptureMode relaxed = cudaStreamCaptureModeRelaxed;
    OK(cudaThreadExchangeStreamCaptureMode(&relaxed));
    OK(cudaMalloc(&scratch, N * sizeof(float)));
    OK(cudaThreadExchangeStreamCaptureMode(&relaxed));
    OK(cudaMemsetAsync(out, 0, N * sizeof(float), stream));
    OK(cudaEventRecord(fork, stream));
    OK(cudaStreamWaitEvent(side, fork, 0));
    affine<<<(N + 127) / 128, 128, 0, side>>>(N, 2, in, scratch);
    OK(cudaGetLastError());
    affine<<<(N + 127) / 128, 128, 0, stream>>>(N, 3, in, out);
    OK(cudaGetLastError());
    OK(cudaEventRecord(join, side));
    OK(cudaStreamWaitEvent(stream, join, 0));
    add<<<(N + 127) / 128, 128, 0, stream>>>(N, scratch, out);
    OK(cudaGetLastError());
    OK(cudaLaunchHostFunc(stream, count, calls));
    cudaGraph_t graph;
    OK(cudaStreamEndCapture(stream, &graph));
    HOLDS(*calls == 0);
    size_t nodes = 0;
    OK(cudaGraphGetNodes(graph, nullptr, &nodes));
    HOLDS(nodes == 5);
    cudaGraphExec_t exec;
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphDestroy(graph));
    OK(cudaStreamDestroy(stream));
    OK(cudaStreamDestroy(side));
    OK(cudaEventDestroy(fork));
    OK(cudaEventDestroy(join));
    return exec;
}

static void replay(cudaStreamCaptureMode mode) {
    float *in, *out, host[N];
    int calls = 0;
    OK(cudaMalloc(&in, N * sizeof(float)));
    OK(cudaMalloc(&out, N * sizeof(float)));
    cudaGraphExec_t exec = capture(mode, in, out, &calls);
    cudaStream_t stream;
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    for (int round = 1; round <= 4; round++) {
        for (int i = 0; i < N; i++) host[i] = round * i;
        OK(cudaMemcpyAsync(in, host, N * sizeof(float), cudaMemcpyHostToDevice, stream));
        OK(cudaGraphLaunch(exec, stream));
        OK(cudaMemcpyAsync(host, out, N * sizeof(float), cudaMemcpyDeviceToHost, stream));
        OK(cudaStreamSynchronize(stream));
        HOLDS(calls == round);
        for (int i = 0; i < N; i++) HOLDS(host[i] == 5.0f * round * i + 2);
    }
    OK(cudaGraphExecDestroy(exec));
    OK(cudaStreamDestroy(stream));
    OK(cudaFree(in));
    OK(cudaFree(out));
}

// A graph made by hand, whose kernel gets other arguments later.
static void by_hand() {
    float *x, *y, back[N];
    OK(cudaMalloc(&x, N * sizeof(float)));
    OK(cudaMalloc(&y, N * sizeof(float)));
    cudaGraph_t graph;
    cudaGraphNode_t fill, run, store;
    OK(cudaGraphCreate(&graph, 0));
    cudaMemsetParams zeros = {};
    zeros.dst = x;
    zeros.elementSize = 4;
    zeros.width = N;
    zeros.height = 1;
    OK(cudaGraphAddMemsetNode(&fill, graph, nullptr, 0, &zeros));
    int n = N;
    float a = 2;
    void *arguments[] = {&n, &a, &x, &y};
    cudaKernelNodeParams kernel = {};
    kernel.func = reinterpret_cast<void *>(affine);
    kernel.gridDim = dim3((N + 127) / 128);
    kernel.blockDim = dim3(128);
    kernel.kernelParams = arguments;
    OK(cudaGraphAddKernelNode(&run, graph, &fill, 1, &kernel));
    OK(cudaGraphAddMemcpyNode1D(&store, graph, &run, 1, back, y, N * sizeof(float), cudaMemcpyDeviceToHost));
    cudaGraphExec_t exec;
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphLaunch(exec, 0));
    OK(cudaStreamSynchronize(0));
    for (int i = 0; i < N; i++) HOLDS(back[i] == 1);
    zeros.value = 0x40400000; // 3.0f
    OK(cudaGraphExecMemsetNodeSetParams(exec, fill, &zeros));
    OK(cudaGraphLaunch(exec, 0));
    OK(cudaStreamSynchronize(0));
    for (int i = 0; i < N; i++) HOLDS(back[i] == 7);
    a = 4;
    OK(cudaGraphExecKernelNodeSetParams(exec, run, &kernel));
    OK(cudaGraphLaunch(exec, 0));
    OK(cudaDeviceSynchronize());
    for (int i = 0; i < N; i++) HOLDS(back[i] == 13);
    OK(cudaGraphExecDestroy(exec));
    OK(cudaGraphDestroy(graph));
    OK(cudaFree(x));
    OK(cudaFree(y));
}

// A mistake in a capture is told, and the next capture works.
static void mistakes() {
    cudaStream_t stream;
    cudaGraph_t graph;
    void *memory;
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    HOLDS(cudaMalloc(&memory, 64) == cudaErrorStreamCaptureUnsupported);
    HOLDS(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated);
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    HOLDS(cudaStreamSynchronize(stream) == cudaErrorStreamCaptureUnsupported);
    HOLDS(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated);
    cudaGetLastError();
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    OK(cudaStreamEndCapture(stream, &graph));
    OK(cudaGraphDestroy(graph));
    OK(cudaStreamDestroy(stream));
}

int main() {
    OK(cudaFree(nullptr));
    mistakes();
    by_hand();
    replay(cudaStreamCaptureModeGlobal);
    replay(cudaStreamCaptureModeThreadLocal);
    // Captures of several threads at once, which leave one another alone.
    std::thread others[3];
    for (std::thread &other : others) other = std::thread([] { replay(cudaStreamCaptureModeThreadLocal); });
    for (std::thread &other : others) other.join();
    OK(cudaDeviceSynchronize());
    puts("ok");
    return 0;
}
