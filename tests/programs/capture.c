// Capture: what becomes a node, and what is refused with which error. Runs on any driver; argument: saxpy.ptx.
#include "check.h"
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>

enum {
    INVALID_VALUE = 1,
    ILLEGAL_STATE = 401,
    UNSUPPORTED = 900,
    INVALIDATED = 901,
    MERGE = 902,
    UNMATCHED = 903,
    UNJOINED = 904,
    ISOLATION = 905,
    IMPLICIT = 906,
    CAPTURED_EVENT = 907,
    WRONG_THREAD = 908
};
enum { GLOBAL, THREAD_LOCAL, RELAXED };
enum { NON_BLOCKING = 1, N = 64, BYTES = N * 4, PAGE_BYTES = 4096 };

typedef uint64_t handle;

static void *lib;
static int (*begin)(handle, int);
static int (*end)(handle, handle *);
static int (*allocate)(handle *, size_t);
static int (*enter)(handle);
static handle context, first, second, blocking, event, other_event, x, y;

// Calls `run` in a thread of its own and returns what it returns.
static int elsewhere(int (*run)(void)) {
    pthread_t thread;
    void *result;
    HOLDS(pthread_create(&thread, NULL, (void *(*)(void *))(void *)run, NULL) == 0);
    HOLDS(pthread_join(thread, &result) == 0);
    return (int)(intptr_t)result;
}

static int end_first(void) {
    handle graph;
    return end(first, &graph);
}

static int allocate_some(void) {
    handle memory;
    OK(enter(context));
    return allocate(&memory, 16);
}

// Ends a capture that was spoilt.
static void spoilt(handle stream) {
    handle graph = 1;
    EXPECT(INVALIDATED, end(stream, &graph));
    HOLDS(graph == 0);
}

static void rules(void) {
    FIND(int, cuStreamSynchronize, handle)
    FIND(int, cuStreamQuery, handle)
    FIND(int, cuCtxSynchronize, void)
    FIND(int, cuEventRecord, handle, handle)
    FIND(int, cuEventRecordWithFlags, handle, handle, unsigned)
    FIND(int, cuEventQuery, handle)
    FIND(int, cuEventSynchronize, handle)
    FIND(int, cuStreamWaitEvent, handle, handle, unsigned)
    FIND(int, cuStreamIsCapturing, handle, int *)
    FIND(int, cuStreamGetCaptureInfo_v2, handle, int *, uint64_t *, handle *, const handle **, size_t *)
    FIND(int, cuMemsetD8Async, handle, unsigned char, size_t, handle)
    FIND(int, cuMemcpyHtoD_v2, handle, const void *, size_t)
    FIND(int, cuThreadExchangeStreamCaptureMode, int *)
    FIND(int, cuStreamAddCallback, handle, void (*)(handle, int, void *), void *, unsigned)
    FIND(int, cuMemAllocManaged, handle *, size_t, unsigned)
    FIND(int, cuMemHostRegister_v2, void *, size_t, unsigned)
    FIND(int, cuMemHostUnregister, void *)
    FIND(int, cuMemPrefetchAsync, handle, size_t, int, handle)
    FIND(int, cuStreamAttachMemAsync, handle, handle, size_t, unsigned)
    handle graph, managed;
    int status;
    EXPECT(UNSUPPORTED, begin(0, GLOBAL));
    EXPECT(INVALID_VALUE, begin(first, 3));
    EXPECT(ILLEGAL_STATE, end(first, &graph));
    uint64_t sequence = 7;
    size_t count = 7;
    OK(cuStreamGetCaptureInfo_v2(first, &status, &sequence, NULL, NULL, &count));
    HOLDS(status == 0 && sequence == 0 && count == 0);
    EXPECT(INVALID_VALUE, cuEventRecordWithFlags(event, first, 1));
    EXPECT(INVALID_VALUE, cuStreamWaitEvent(first, event, 1));

    // Waiting for a capture, and asking for it, spoils it.
    OK(begin(first, GLOBAL));
    EXPECT(ILLEGAL_STATE, begin(first, GLOBAL));
    EXPECT(UNSUPPORTED, cuStreamSynchronize(first));
    OK(cuStreamIsCapturing(first, &status));
    HOLDS(status == 2);
    EXPECT(INVALIDATED, cuMemsetD8Async(x, 0, 16, first));
    spoilt(first);
    OK(begin(first, RELAXED));
    EXPECT(UNSUPPORTED, cuStreamQuery(first));
    spoilt(first);
    OK(begin(first, RELAXED));
    EXPECT(UNSUPPORTED, cuCtxSynchronize());
    spoilt(first);
    OK(begin(first, RELAXED));
    EXPECT(UNSUPPORTED, cuStreamAddCallback(first, (void (*)(handle, int, void *))1, NULL, 0));
    spoilt(first);
    OK(begin(first, RELAXED));
    OK(cuEventRecord(event, first));
    EXPECT(CAPTURED_EVENT, cuEventQuery(event));
    spoilt(first);
    EXPECT(CAPTURED_EVENT, cuEventSynchronize(event));
    OK(cuEventRecord(event, first));
    OK(cuEventSynchronize(event));

    // Calls that a capture does not see.
    char bytes[16] = {0};
    void *registered = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    HOLDS(registered != MAP_FAILED);
    OK(begin(first, GLOBAL));
    EXPECT(UNSUPPORTED, allocate_some());
    spoilt(first);
    OK(begin(first, GLOBAL));
    EXPECT(UNSUPPORTED, elsewhere(allocate_some));
    spoilt(first);
    OK(begin(first, GLOBAL));
    EXPECT(UNSUPPORTED, cuMemcpyHtoD_v2(x, bytes, 16));
    spoilt(first);
    OK(begin(first, GLOBAL));
    EXPECT(UNSUPPORTED, cuMemAllocManaged(&managed, PAGE_BYTES, 1));
    spoilt(first);
    OK(begin(first, GLOBAL));
    EXPECT(UNSUPPORTED, cuMemHostRegister_v2(registered, PAGE_BYTES, 0));
    spoilt(first);
    OK(cuMemHostRegister_v2(registered, PAGE_BYTES, 0));
    OK(begin(first, GLOBAL));
    EXPECT(UNSUPPORTED, cuMemHostUnregister(registered));
    spoilt(first);
    OK(cuMemHostUnregister(registered));
    OK(cuMemAllocManaged(&managed, PAGE_BYTES, 1));
    OK(begin(first, RELAXED));
    EXPECT(UNSUPPORTED, cuMemPrefetchAsync(managed, PAGE_BYTES, 0, first));
    spoilt(first);
    OK(begin(first, RELAXED));
    EXPECT(UNSUPPORTED, cuStreamAttachMemAsync(first, managed, PAGE_BYTES, 4));
    spoilt(first);
    OK(cuMemPrefetchAsync(managed, PAGE_BYTES, 0, first));
    OK(begin(first, THREAD_LOCAL));
    OK(elsewhere(allocate_some));
    EXPECT(UNSUPPORTED, allocate_some());
    spoilt(first);
    int mode = RELAXED;
    OK(begin(first, GLOBAL));
    OK(cuThreadExchangeStreamCaptureMode(&mode));
    HOLDS(mode == GLOBAL);
    OK(allocate_some());
    OK(cuThreadExchangeStreamCaptureMode(&mode));
    HOLDS(mode == RELAXED);
    OK(end(first, &graph));
    OK(begin(first, RELAXED));
    OK(allocate_some());
    OK(elsewhere(end_first));

    // Threads, streams and captures that are mixed up.
    OK(begin(first, GLOBAL));
    EXPECT(WRONG_THREAD, elsewhere(end_first));
    OK(cuEventRecord(event, first));
    OK(cuStreamWaitEvent(second, event, 0));
    EXPECT(UNMATCHED, end(second, &graph));
    OK(cuMemsetD8Async(x, 0, 16, second));
    EXPECT(UNJOINED, end(first, &graph));
    OK(cuStreamIsCapturing(second, &status));
    HOLDS(status == 0);
    OK(begin(first, RELAXED));
    OK(begin(second, RELAXED));
    OK(cuEventRecord(event, first));
    EXPECT(MERGE, cuStreamWaitEvent(second, event, 0));
    spoilt(first);
    spoilt(second);
    OK(cuEventRecord(other_event, second));
    OK(begin(first, RELAXED));
    EXPECT(ISOLATION, cuStreamWaitEvent(first, other_event, 0));
    spoilt(first);

    // The legacy stream waits for blocking streams, so it must rest while one captures.
    OK(begin(first, RELAXED));
    OK(cuMemsetD8Async(x, 0, 16, 0));
    OK(end(first, &graph));
    OK(begin(blocking, RELAXED));
    EXPECT(IMPLICIT, cuStreamIsCapturing(0, &status));
    OK(cuStreamIsCapturing(blocking, &status));
    HOLDS(status == 1);
    EXPECT(IMPLICIT, cuMemsetD8Async(x, 0, 16, 0));
    spoilt(blocking);
}

static void count(void *data) { ++*(int *)data; }

// Every kind of work, forked and joined, with pageable memory on both ends; a graph inside a graph.
static void replay(handle function) {
    FIND(int, cuStreamSynchronize, handle)
    FIND(int, cuStreamGetCaptureInfo_v3, handle, int *, uint64_t *, handle *, const handle **, const void **, size_t *)
    FIND(int, cuStreamUpdateCaptureDependencies_v2, handle, handle *, const void *, size_t, unsigned)
    FIND(int, cuEventRecord, handle, handle)
    FIND(int, cuEventRecordWithFlags, handle, handle, unsigned)
    FIND(int, cuEventSynchronize, handle)
    FIND(int, cuStreamWaitEvent, handle, handle, unsigned)
    FIND(int, cuMemsetD32Async, handle, unsigned, size_t, handle)
    FIND(int, cuMemcpyHtoDAsync_v2, handle, const void *, size_t, handle)
    FIND(int, cuMemcpyDtoHAsync_v2, void *, handle, size_t, handle)
    FIND(int, cuMemcpyDtoDAsync_v2, handle, handle, size_t, handle)
    FIND(int, cuMemcpyDtoH_v2, void *, handle, size_t)
    FIND(int, cuStreamWriteValue32_v2, handle, handle, unsigned, unsigned)
    FIND(int, cuLaunchHostFunc, handle, void (*)(void *), void *)
    FIND(int, cuLaunchKernel, handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, handle,
         void **, void **)
    FIND(int, cuGraphInstantiateWithFlags, handle *, handle, unsigned long long)
    FIND(int, cuGraphGetNodes, handle, handle *, size_t *)
    FIND(int, cuGraphLaunch, handle, handle)
    FIND(int, cuGraphExecDestroy, handle)
    FIND(int, cuGraphDestroy, handle)
    static float in[N], out[N];
    static int calls;
    float a = 3;
    int n = N, status;
    handle graph, captured, exec, outer, both;
    uint64_t id = 0;
    const handle *before;
    const void *edges;
    size_t number;
    OK(begin(first, THREAD_LOCAL));
    OK(cuMemcpyHtoDAsync_v2(x, in, BYTES, first));
    OK(cuEventRecord(event, first));
    OK(cuStreamWaitEvent(second, event, 0));
    OK(cuMemsetD32Async(y, 0, N, second));
    OK(cuLaunchHostFunc(second, count, &calls));
    OK(cuEventRecord(event, second));
    OK(cuStreamWaitEvent(first, event, 0));
    OK(cuStreamGetCaptureInfo_v3(first, &status, &id, &captured, &before, &edges, &number));
    HOLDS(status == 1 && id != 0 && number == 2);
    handle copy_of_them[2] = {before[0], before[1]};
    OK(cuStreamUpdateCaptureDependencies_v2(first, copy_of_them, NULL, 2, 1));
    void *params[] = {&a, &x, &y, &n};
    OK(cuLaunchKernel(function, 1, 1, 1, N, 1, 1, 0, first, params, NULL));
    OK(cuStreamWriteValue32_v2(first, y, 0, 0));
    OK(cuEventRecordWithFlags(other_event, first, 1));
    OK(cuMemcpyDtoHAsync_v2(out, y, BYTES, first));
    OK(end(first, &graph));
    HOLDS(graph == captured && calls == 0);
    OK(cuGraphGetNodes(graph, NULL, &number));
    HOLDS(number == 7);
    OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
    for (int round = 1; round <= 3; round++) {
        for (int i = 0; i < N; i++) in[i] = i + round;
        OK(cuGraphLaunch(exec, second));
        OK(cuEventSynchronize(other_event));
        OK(cuStreamSynchronize(second));
        HOLDS(out[0] == 0 && calls == round);
        for (int i = 1; i < N; i++) HOLDS(out[i] == 3.0f * (i + round));
    }
    OK(begin(first, GLOBAL));
    OK(cuGraphLaunch(exec, first));
    OK(cuMemcpyDtoDAsync_v2(x, y, BYTES, first));
    OK(end(first, &outer));
    OK(cuGraphExecDestroy(exec));
    OK(cuGraphDestroy(graph));
    OK(cuGraphInstantiateWithFlags(&both, outer, 0));
    for (int i = 0; i < N; i++) in[i] = 2;
    OK(cuGraphLaunch(both, first));
    OK(cuStreamSynchronize(first));
    HOLDS(calls == 4);
    OK(cuMemcpyDtoH_v2(out, x, BYTES));
    HOLDS(out[0] == 0 && out[N - 1] == 6);
    OK(cuGraphExecDestroy(both));
    OK(cuGraphDestroy(outer));
}

struct attribute {
    int id, padding;
    uint64_t value[8];
};
struct launch {
    unsigned grid[3], block[3], shared;
    handle stream;
    const struct attribute *attributes;
    unsigned count;
};

// What orders a launch in its stream is an edge in a graph: behind a kernel, and to who waits for its event.
static void programmatic(handle function) {
    FIND(int, cuLaunchKernelEx, const struct launch *, handle, void **, void **)
    FIND(int, cuStreamWaitEvent, handle, handle, unsigned)
    FIND(int, cuStreamGetCaptureInfo_v2, handle, int *, uint64_t *, handle *, const handle **, size_t *)
    FIND(int, cuMemsetD8Async, handle, unsigned char, size_t, handle)
    FIND(int, cuGraphGetEdges, handle, handle *, handle *, size_t *)
    FIND(int, cuGraphGetEdges_v2, handle, handle *, handle *, unsigned char (*)[8], size_t *)
    FIND(int, cuGraphInstantiateWithFlags, handle *, handle, unsigned long long)
    FIND(int, cuGraphLaunch, handle, handle)
    FIND(int, cuStreamSynchronize, handle)
    FIND(int, cuMemcpyDtoH_v2, void *, handle, size_t)
    float a = 1, out[N];
    int n = N, status;
    handle graph, exec, from[8], to[8];
    unsigned char edges[8][8];
    size_t number = 8;
    void *params[] = {&a, &x, &y, &n};
    struct attribute early[2] = {{6, 0, {1}}, {7, 0, {other_event}}};
    struct launch launch = {{1, 1, 1}, {N, 1, 1}, 0, first, early, 2};
    OK(begin(first, GLOBAL));
    OK(cuMemsetD8Async(x, 0, BYTES, first));
    OK(cuMemsetD8Async(y, 0, BYTES, first));
    // Behind a fill the launch waits for it in full.
    OK(cuLaunchKernelEx(&launch, function, params, NULL));
    OK(cuLaunchKernelEx(&launch, function, params, NULL));
    OK(cuStreamWaitEvent(second, other_event, 0));
    const handle *before;
    EXPECT(402, cuStreamGetCaptureInfo_v2(second, &status, NULL, NULL, &before, &number));
    launch.stream = second;
    launch.count = 0;
    OK(cuLaunchKernelEx(&launch, function, params, NULL));
    handle last;
    OK(cuStreamGetCaptureInfo_v2(second, &status, NULL, &graph, &before, &number));
    HOLDS(number == 1);
    last = before[0];
    FIND(int, cuStreamUpdateCaptureDependencies, handle, handle *, size_t, unsigned)
    OK(cuStreamUpdateCaptureDependencies(first, &last, 1, 0));
    OK(end(first, &graph));
    number = 8;
    EXPECT(402, cuGraphGetEdges(graph, from, to, &number));
    OK(cuGraphGetEdges_v2(graph, from, to, edges, &number));
    HOLDS(number == 4);
    int plain = 0, programmatic = 0;
    for (int i = 0; i < 4; i++) {
        plain += edges[i][0] == 0 && edges[i][2] == 0;
        programmatic += edges[i][0] == 1 && edges[i][2] == 1;
    }
    HOLDS(plain == 2 && programmatic == 2);
    OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
    OK(cuGraphLaunch(exec, first));
    OK(cuStreamSynchronize(first));
    OK(cuMemcpyDtoH_v2(out, y, BYTES));
    HOLDS(out[0] == 0);
}

// Memory that is allocated and freed in a capture is the graph's: nobody else gets it while launches may use it.
static void memory(void) {
    FIND(int, cuMemAllocAsync, handle *, size_t, handle)
    FIND(int, cuMemFreeAsync, handle, handle)
    FIND(int, cuMemsetD32Async, handle, unsigned, size_t, handle)
    FIND(int, cuMemcpyDtoDAsync_v2, handle, handle, size_t, handle)
    FIND(int, cuMemcpyDtoH_v2, void *, handle, size_t)
    FIND(int, cuStreamSynchronize, handle)
    FIND(int, cuGraphGetNodes, handle, handle *, size_t *)
    FIND(int, cuGraphNodeGetType, handle, int *)
    FIND(int, cuGraphInstantiateWithFlags, handle *, handle, unsigned long long)
    FIND(int, cuGraphLaunch, handle, handle)
    FIND(int, cuGraphExecDestroy, handle)
    handle graph, exec, inside, outside, nodes[5];
    size_t number = 5;
    unsigned out[N];
    OK(begin(first, GLOBAL));
    OK(cuMemAllocAsync(&inside, BYTES, first));
    OK(cuMemsetD32Async(inside, 5, N, first));
    OK(cuMemcpyDtoDAsync_v2(x, inside, BYTES, first));
    OK(cuMemFreeAsync(inside, first));
    OK(end(first, &graph));
    OK(cuGraphGetNodes(graph, nodes, &number));
    HOLDS(number == 4);
    int kinds[] = {10, 2, 1, 11}, kind;
    for (int i = 0; i < 4; i++) {
        OK(cuGraphNodeGetType(nodes[i], &kind));
        HOLDS(kind == kinds[i]);
    }
    OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
    OK(cuMemAllocAsync(&outside, BYTES, first));
    HOLDS(outside != inside);
    OK(cuMemsetD32Async(outside, 9, N, first));
    for (int i = 0; i < 2; i++) OK(cuGraphLaunch(exec, first));
    OK(cuStreamSynchronize(first));
    OK(cuMemcpyDtoH_v2(out, x, BYTES));
    HOLDS(out[0] == 5 && out[N - 1] == 5);
    OK(cuMemcpyDtoH_v2(out, outside, BYTES));
    HOLDS(out[0] == 9 && out[N - 1] == 9);

    // A graph frees what it allocates, and nothing else.
    OK(begin(first, GLOBAL));
    EXPECT(INVALID_VALUE, cuMemFreeAsync(outside, first));
    (void)end(first, &graph);
    OK(cuMemFreeAsync(outside, first));
    OK(cuStreamSynchronize(first));
    OK(cuGraphExecDestroy(exec));
}

int main(int argc, char **argv) {
    HOLDS(argc == 2);
    lib = open_library("libcuda.so.1");
    FIND(int, cuInit, unsigned)
    FIND(int, cuDevicePrimaryCtxRetain, handle *, int)
    FIND(int, cuCtxSetCurrent, handle)
    FIND(int, cuMemAlloc_v2, handle *, size_t)
    FIND(int, cuModuleLoadData, handle *, const void *)
    FIND(int, cuModuleGetFunction, handle *, handle, const char *)
    FIND(int, cuStreamCreate, handle *, unsigned)
    FIND(int, cuEventCreate, handle *, unsigned)
    FIND(int, cuStreamBeginCapture_v2, handle, int)
    FIND(int, cuStreamEndCapture, handle, handle *)
    begin = cuStreamBeginCapture_v2;
    end = cuStreamEndCapture;
    allocate = cuMemAlloc_v2;
    enter = cuCtxSetCurrent;
    handle module, function;
    OK(cuInit(0));
    OK(cuDevicePrimaryCtxRetain(&context, 0));
    OK(cuCtxSetCurrent(context));
    OK(cuMemAlloc_v2(&x, BYTES));
    OK(cuMemAlloc_v2(&y, BYTES));
    OK(cuModuleLoadData(&module, read_file(argv[1])));
    OK(cuModuleGetFunction(&function, module, "saxpy"));
    OK(cuStreamCreate(&first, NON_BLOCKING));
    OK(cuStreamCreate(&second, NON_BLOCKING));
    OK(cuStreamCreate(&blocking, 0));
    OK(cuEventCreate(&event, 2));
    OK(cuEventCreate(&other_event, 2));
    rules();
    replay(function);
    programmatic(function);
    memory();
    puts("ok");
    return 0;
}
