// Graphs made node by node. Runs on any driver; argument: saxpy.ptx (y = a * x + y).
#include "check.h"
#include <stdint.h>
#include <unistd.h>

enum { INVALID_VALUE = 1, NOT_FOUND = 500, UPDATE_FAILURE = 910 };
enum { KERNEL = 0, MEMCPY = 1, MEMSET = 2, HOST = 3, GRAPH = 4, EMPTY = 5 };
enum { PROGRAMMATIC = 6, PRIORITY = 8 };
enum { N = 256, BYTES = N * 4 };

typedef uint64_t handle;

struct kernel {
    handle function;
    unsigned grid[3], block[3], shared;
    void **params, **extra;
    handle kernel, context;
};
struct fill {
    handle to;
    size_t pitch;
    unsigned value, element;
    size_t width, height;
};
struct host {
    void (*function)(void *);
    void *data;
};
struct side {
    size_t x, y, z, level;
    unsigned type;
    const void *host;
    handle device;
    void *array, *reserved;
    size_t pitch, height;
};
struct copy {
    struct side from, to;
    size_t width, height, depth;
};
struct update_info {
    unsigned result;
    handle node, from;
};

static void *lib;
static handle context, function, x, y, stream;
static int calls;

static void count(void *data) { *(int *)data += 1; }
static void gone(void *data) { *(int *)data += 100; }

static struct copy linear(handle to, handle from) {
    struct copy c = {{0}};
    c.from.type = c.to.type = 4;
    c.from.device = from;
    c.to.device = to;
    c.width = BYTES;
    c.height = c.depth = 1;
    return c;
}

// Pageable memory in, a fill, a kernel, a host function, pageable memory out: replayed with changed inputs, and changed.
static void replay(void) {
    FIND(int, cuGraphCreate, handle *, unsigned)
    FIND(int, cuGraphDestroy, handle)
    FIND(int, cuGraphAddKernelNode_v2, handle *, handle, const handle *, size_t, const struct kernel *)
    FIND(int, cuGraphAddMemcpyNode, handle *, handle, const handle *, size_t, const struct copy *, handle)
    FIND(int, cuGraphAddMemsetNode, handle *, handle, const handle *, size_t, const struct fill *, handle)
    FIND(int, cuGraphAddHostNode, handle *, handle, const handle *, size_t, const struct host *)
    FIND(int, cuGraphInstantiateWithFlags, handle *, handle, unsigned long long)
    FIND(int, cuGraphExecDestroy, handle)
    FIND(int, cuGraphExecGetFlags, handle, uint64_t *)
    FIND(int, cuGraphUpload, handle, handle)
    FIND(int, cuGraphLaunch, handle, handle)
    FIND(int, cuGraphKernelNodeGetParams_v2, handle, struct kernel *)
    FIND(int, cuGraphExecKernelNodeSetParams_v2, handle, handle, const struct kernel *)
    FIND(int, cuGraphExecMemsetNodeSetParams, handle, handle, const struct fill *, handle)
    FIND(int, cuGraphNodeSetEnabled, handle, handle, unsigned)
    FIND(int, cuGraphNodeGetEnabled, handle, handle, unsigned *)
    FIND(int, cuGraphKernelNodeSetAttribute, handle, int, const void *)
    FIND(int, cuGraphKernelNodeGetAttribute, handle, int, void *)
    FIND(int, cuStreamSynchronize, handle)
    static float in[N], out[N];
    float a = 2, five = 5;
    int n = N;
    handle graph, exec, load, fill, run, called, store;
    OK(cuGraphCreate(&graph, 0));
    EXPECT(INVALID_VALUE, cuGraphCreate(&graph, 1));
    struct copy copy = linear(x, (handle)(uintptr_t)in);
    OK(cuGraphAddMemcpyNode(&load, graph, NULL, 0, &copy, context));
    struct fill zero = {y, 0, 0, 4, N, 1};
    OK(cuGraphAddMemsetNode(&fill, graph, NULL, 0, &zero, context));
    void *params[] = {&a, &x, &y, &n};
    struct kernel kernel = {function, {1, 1, 1}, {N, 1, 1}, 0, params, NULL, 0, 0};
    handle before[] = {load, fill};
    kernel.block[0] = 100000;
    EXPECT(INVALID_VALUE, cuGraphAddKernelNode_v2(&run, graph, before, 2, &kernel));
    kernel.block[0] = N;
    OK(cuGraphAddKernelNode_v2(&run, graph, before, 2, &kernel));
    struct host host = {count, &calls};
    OK(cuGraphAddHostNode(&called, graph, &run, 1, &host));
    copy = linear((handle)(uintptr_t)out, y);
    OK(cuGraphAddMemcpyNode(&store, graph, &called, 1, &copy, context));

    // The arguments were copied, and can be read back.
    struct kernel shown;
    a = 77;
    OK(cuGraphKernelNodeGetParams_v2(run, &shown));
    HOLDS(shown.function == function && shown.block[0] == N && *(float *)shown.params[0] == 2);
    HOLDS(*(handle *)shown.params[1] == x && *(int *)shown.params[3] == N);
    EXPECT(INVALID_VALUE, cuGraphKernelNodeGetParams_v2(fill, &shown));
    int value[16] = {-1}, back[16];
    OK(cuGraphKernelNodeSetAttribute(run, PRIORITY, value));
    OK(cuGraphKernelNodeGetAttribute(run, PRIORITY, back));
    HOLDS(!memcmp(value, back, sizeof value));
    EXPECT(INVALID_VALUE, cuGraphKernelNodeSetAttribute(run, PROGRAMMATIC, value));
    EXPECT(INVALID_VALUE, cuGraphKernelNodeGetAttribute(fill, PRIORITY, back));

    OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
    uint64_t flags = 1;
    OK(cuGraphExecGetFlags(exec, &flags));
    HOLDS(flags == 0);
    OK(cuGraphUpload(exec, stream));
    for (int round = 1; round <= 3; round++) {
        for (int i = 0; i < N; i++) in[i] = round * i;
        OK(cuGraphLaunch(exec, stream));
        OK(cuStreamSynchronize(stream));
        HOLDS(calls == round);
        for (int i = 0; i < N; i++) HOLDS(out[i] == 2.0f * round * i);
    }
    // Launches that follow one another without a pause.
    for (int i = 0; i < 20; i++) OK(cuGraphLaunch(exec, stream));
    OK(cuStreamSynchronize(stream));
    HOLDS(calls == 23 && out[1] == 6);

    // Other parameters, then nodes that are off: the graph it was made of may be gone.
    void *others[] = {&five, &x, &y, &n};
    kernel.params = others;
    OK(cuGraphExecKernelNodeSetParams_v2(exec, run, &kernel));
    unsigned one;
    float number = 1;
    memcpy(&one, &number, 4);
    struct fill ones = {y, 0, one, 4, N, 1};
    OK(cuGraphExecMemsetNodeSetParams(exec, fill, &ones, context));
    EXPECT(INVALID_VALUE, cuGraphExecMemsetNodeSetParams(exec, run, &ones, context));
    OK(cuGraphLaunch(exec, stream));
    OK(cuStreamSynchronize(stream));
    for (int i = 0; i < N; i++) HOLDS(out[i] == 15.0f * i + 1);
    unsigned enabled;
    OK(cuGraphNodeSetEnabled(exec, run, 0));
    OK(cuGraphNodeGetEnabled(exec, run, &enabled));
    HOLDS(enabled == 0);
    EXPECT(INVALID_VALUE, cuGraphNodeSetEnabled(exec, called, 0));
    OK(cuGraphLaunch(exec, stream));
    OK(cuStreamSynchronize(stream));
    for (int i = 0; i < N; i++) HOLDS(out[i] == 1);
    OK(cuGraphNodeSetEnabled(exec, run, 1));
    OK(cuGraphLaunch(exec, stream));
    OK(cuStreamSynchronize(stream));
    HOLDS(out[2] == 31);
    OK(cuGraphDestroy(graph));
    EXPECT(INVALID_VALUE, cuGraphDestroy(graph));
    OK(cuGraphLaunch(exec, stream));
    OK(cuGraphExecDestroy(exec));
    EXPECT(INVALID_VALUE, cuGraphLaunch(exec, stream));
    OK(cuStreamSynchronize(stream));
    HOLDS(calls == 27);
}

// What graphs tell of themselves, and how their edges change.
static void structure(void) {
    FIND(int, cuGraphCreate, handle *, unsigned)
    FIND(int, cuGraphDestroy, handle)
    FIND(int, cuGraphDestroyNode, handle)
    FIND(int, cuGraphClone, handle *, handle)
    FIND(int, cuGraphNodeFindInClone, handle *, handle, handle)
    FIND(int, cuGraphAddEmptyNode, handle *, handle, const handle *, size_t)
    FIND(int, cuGraphAddChildGraphNode, handle *, handle, const handle *, size_t, handle)
    FIND(int, cuGraphChildGraphNodeGetGraph, handle, handle *)
    FIND(int, cuGraphGetNodes, handle, handle *, size_t *)
    FIND(int, cuGraphGetRootNodes, handle, handle *, size_t *)
    FIND(int, cuGraphGetEdges, handle, handle *, handle *, size_t *)
    FIND(int, cuGraphNodeGetType, handle, int *)
    FIND(int, cuGraphNodeGetDependencies, handle, handle *, size_t *)
    FIND(int, cuGraphNodeGetDependentNodes, handle, handle *, size_t *)
    FIND(int, cuGraphAddDependencies, handle, const handle *, const handle *, size_t)
    FIND(int, cuGraphRemoveDependencies, handle, const handle *, const handle *, size_t)
    FIND(int, cuGraphInstantiate_v2, handle *, handle, handle *, char *, size_t)
    FIND(int, cuGraphDebugDotPrint, handle, const char *, unsigned)
    handle graph, clone, inner, exec, nodes[3], found[4] = {1, 1, 1, 1}, to[4];
    size_t number;
    OK(cuGraphCreate(&graph, 0));
    for (int i = 0; i < 3; i++) OK(cuGraphAddEmptyNode(&nodes[i], graph, i ? &nodes[i - 1] : NULL, i ? 1 : 0));
    OK(cuGraphGetNodes(graph, NULL, &number));
    HOLDS(number == 3);
    number = 4;
    OK(cuGraphGetNodes(graph, found, &number));
    HOLDS(number == 3 && found[0] == nodes[0] && found[2] == nodes[2] && found[3] == 0);
    number = 1;
    OK(cuGraphGetRootNodes(graph, found, &number));
    HOLDS(number == 1 && found[0] == nodes[0]);
    number = 4;
    OK(cuGraphGetEdges(graph, found, to, &number));
    HOLDS(number == 2 && found[0] == nodes[0] && to[0] == nodes[1]);
    number = 1;
    OK(cuGraphNodeGetDependencies(nodes[2], found, &number));
    HOLDS(number == 1 && found[0] == nodes[1]);
    OK(cuGraphNodeGetDependentNodes(nodes[2], NULL, &number));
    HOLDS(number == 0);
    OK(cuGraphAddDependencies(graph, &nodes[0], &nodes[2], 1));
    EXPECT(INVALID_VALUE, cuGraphAddDependencies(graph, &nodes[0], &nodes[2], 1));
    OK(cuGraphRemoveDependencies(graph, &nodes[0], &nodes[2], 1));
    EXPECT(INVALID_VALUE, cuGraphRemoveDependencies(graph, &nodes[0], &nodes[2], 1));

    OK(cuGraphClone(&clone, graph));
    OK(cuGraphNodeFindInClone(&found[0], nodes[1], clone));
    HOLDS(found[0] != nodes[1]);
    handle child;
    OK(cuGraphAddChildGraphNode(&child, clone, NULL, 0, graph));
    int type;
    OK(cuGraphNodeGetType(child, &type));
    HOLDS(type == GRAPH);
    OK(cuGraphChildGraphNodeGetGraph(child, &inner));
    OK(cuGraphGetNodes(inner, NULL, &number));
    HOLDS(number == 3 && inner != graph);
    EXPECT(INVALID_VALUE, cuGraphDestroy(inner));
    char path[] = "/tmp/vgpu-graph-XXXXXX";
    HOLDS(mkstemp(path) >= 0);
    OK(cuGraphDebugDotPrint(clone, path, 0));
    HOLDS(strstr(read_file(path), "digraph") != NULL);
    unlink(path);
    OK(cuGraphInstantiate_v2(&exec, clone, NULL, NULL, 0));

    OK(cuGraphAddDependencies(graph, &nodes[2], &nodes[0], 1));
    char log[64] = "x";
    EXPECT(INVALID_VALUE, cuGraphInstantiate_v2(&exec, graph, &found[0], log, sizeof log));
    OK(cuGraphDestroyNode(nodes[1]));
    EXPECT(INVALID_VALUE, cuGraphDestroyNode(nodes[1]));
    OK(cuGraphInstantiate_v2(&exec, graph, NULL, NULL, 0));
    OK(cuGraphDestroy(clone));
    OK(cuGraphDestroy(graph));
    EXPECT(INVALID_VALUE, cuGraphGetNodes(inner, NULL, &number));
    // Graphs in graphs in graphs: a driver may have enough of it, and goes on.
    OK(cuGraphCreate(&graph, 0));
    for (int i = 0, answer = 0; i < 200 && answer == 0; i++) {
        OK(cuGraphCreate(&clone, 0));
        answer = cuGraphAddChildGraphNode(&nodes[0], clone, NULL, 0, graph);
        HOLDS(answer == 0 || answer == 801);
        OK(cuGraphDestroy(graph));
        graph = clone;
    }
    OK(cuGraphInstantiate_v2(&exec, graph, NULL, NULL, 0));
    OK(cuGraphDestroy(graph));
    EXPECT(INVALID_VALUE, cuGraphNodeGetType(child, &type));
}

// An executable graph takes the parameters of another graph of its shape, and of no other.
static void updates(void) {
    FIND(int, cuGraphCreate, handle *, unsigned)
    FIND(int, cuGraphAddMemsetNode, handle *, handle, const handle *, size_t, const struct fill *, handle)
    FIND(int, cuGraphAddEmptyNode, handle *, handle, const handle *, size_t)
    FIND(int, cuGraphInstantiateWithFlags, handle *, handle, unsigned long long)
    FIND(int, cuGraphExecUpdate_v2, handle, handle, struct update_info *)
    FIND(int, cuGraphLaunch, handle, handle)
    FIND(int, cuMemcpyDtoH_v2, void *, handle, size_t)
    FIND(int, cuStreamSynchronize, handle)
    handle first, second, third, exec, node;
    struct fill fill = {x, 0, 7, 1, BYTES, 1};
    struct update_info info;
    unsigned char byte;
    OK(cuGraphCreate(&first, 0));
    OK(cuGraphCreate(&second, 0));
    OK(cuGraphCreate(&third, 0));
    OK(cuGraphAddMemsetNode(&node, first, NULL, 0, &fill, context));
    fill.value = 9;
    OK(cuGraphAddMemsetNode(&node, second, NULL, 0, &fill, context));
    OK(cuGraphAddEmptyNode(&node, third, NULL, 0));
    OK(cuGraphInstantiateWithFlags(&exec, first, 0));
    OK(cuGraphLaunch(exec, stream));
    OK(cuStreamSynchronize(stream));
    OK(cuMemcpyDtoH_v2(&byte, x, 1));
    HOLDS(byte == 7);
    OK(cuGraphExecUpdate_v2(exec, second, &info));
    HOLDS(info.result == 0);
    EXPECT(UPDATE_FAILURE, cuGraphExecUpdate_v2(exec, third, &info));
    HOLDS(info.result == 3 && info.node == node);
    OK(cuGraphAddEmptyNode(&node, second, NULL, 0));
    EXPECT(UPDATE_FAILURE, cuGraphExecUpdate_v2(exec, second, &info));
    HOLDS(info.result == 2);
    OK(cuGraphLaunch(exec, stream));
    OK(cuStreamSynchronize(stream));
    OK(cuMemcpyDtoH_v2(&byte, x, 1));
    HOLDS(byte == 9);
}

struct allocation {
    int type, shared, location, device;
    uint64_t rest[9];
    const void *access;
    size_t access_count, bytes;
    handle address;
};

struct instantiate {
    uint64_t flags;
    handle stream, node;
    int result;
};

// Memory that a graph allocates: at an address known beforehand, freed by the graph or by the program.
static void memory(void) {
    FIND(int, cuGraphCreate, handle *, unsigned)
    FIND(int, cuGraphDestroy, handle)
    FIND(int, cuGraphClone, handle *, handle)
    FIND(int, cuGraphAddMemAllocNode, handle *, handle, const handle *, size_t, struct allocation *)
    FIND(int, cuGraphMemAllocNodeGetParams, handle, struct allocation *)
    FIND(int, cuGraphAddMemFreeNode, handle *, handle, const handle *, size_t, handle)
    FIND(int, cuGraphAddMemsetNode, handle *, handle, const handle *, size_t, const struct fill *, handle)
    FIND(int, cuGraphAddMemcpyNode, handle *, handle, const handle *, size_t, const struct copy *, handle)
    FIND(int, cuGraphInstantiateWithParams, handle *, handle, struct instantiate *)
    FIND(int, cuGraphExecGetFlags, handle, uint64_t *)
    FIND(int, cuGraphLaunch, handle, handle)
    FIND(int, cuGraphExecDestroy, handle)
    FIND(int, cuDeviceGetGraphMemAttribute, int, int, uint64_t *)
    FIND(int, cuStreamSynchronize, handle)
    FIND(int, cuMemFree_v2, handle)
    handle graph, other, exec, taken, kept, fill, copy, freed;
    uint64_t used = 1, flags;
    OK(cuDeviceGetGraphMemAttribute(0, 0, &used));
    HOLDS(used == 0);
    OK(cuGraphCreate(&graph, 0));
    struct allocation first = {1, 0, 1, 0, {0}, NULL, 0, BYTES, 0}, second = first, shown;
    OK(cuGraphAddMemAllocNode(&taken, graph, NULL, 0, &first));
    OK(cuGraphAddMemAllocNode(&kept, graph, &taken, 1, &second));
    HOLDS(first.address && second.address && first.address != second.address);
    struct fill sevens = {first.address, 0, 7, 1, BYTES, 1};
    OK(cuGraphAddMemsetNode(&fill, graph, &kept, 1, &sevens, context));
    struct copy over = linear(second.address, first.address);
    OK(cuGraphAddMemcpyNode(&copy, graph, &fill, 1, &over, context));
    OK(cuGraphAddMemFreeNode(&freed, graph, &copy, 1, first.address));
    EXPECT(INVALID_VALUE, cuGraphAddMemFreeNode(&freed, graph, &copy, 1, first.address));
    EXPECT(INVALID_VALUE, cuGraphAddMemFreeNode(&freed, graph, &copy, 1, x));
    OK(cuGraphMemAllocNodeGetParams(kept, &shown));
    HOLDS(shown.address == second.address && shown.bytes == BYTES);
    EXPECT(801, cuGraphClone(&other, graph));
    OK(cuDeviceGetGraphMemAttribute(0, 0, &used));
    HOLDS(used == 2 * BYTES);
    struct instantiate params = {1 | 2, stream, 1, 1};
    OK(cuGraphInstantiateWithParams(&exec, graph, &params));
    HOLDS(params.result == 0 && params.node == 0);
    OK(cuGraphExecGetFlags(exec, &flags));
    HOLDS(flags == 1);
    for (int round = 0; round < 3; round++) {
        OK(cuGraphLaunch(exec, stream));
        OK(cuStreamSynchronize(stream));
        FIND(int, cuMemcpyDtoH_v2, void *, handle, size_t)
        unsigned char bytes[BYTES];
        OK(cuMemcpyDtoH_v2(bytes, second.address, BYTES));
        HOLDS(bytes[0] == 7 && bytes[BYTES - 1] == 7);
        OK(cuMemFree_v2(second.address));
        EXPECT(INVALID_VALUE, cuMemFree_v2(first.address));
    }
    OK(cuGraphExecDestroy(exec));
    OK(cuGraphDestroy(graph));
    OK(cuDeviceGetGraphMemAttribute(0, 0, &used));
    HOLDS(used == 0);
}

// A user object lives until the last graph and the last launch that know it are gone.
static void objects(void) {
    FIND(int, cuGraphCreate, handle *, unsigned)
    FIND(int, cuGraphDestroy, handle)
    FIND(int, cuGraphAddEmptyNode, handle *, handle, const handle *, size_t)
    FIND(int, cuGraphInstantiateWithFlags, handle *, handle, unsigned long long)
    FIND(int, cuGraphExecDestroy, handle)
    FIND(int, cuGraphLaunch, handle, handle)
    FIND(int, cuStreamSynchronize, handle)
    FIND(int, cuUserObjectCreate, handle *, void *, void (*)(void *), unsigned, unsigned)
    FIND(int, cuUserObjectRetain, handle, unsigned)
    FIND(int, cuUserObjectRelease, handle, unsigned)
    FIND(int, cuGraphRetainUserObject, handle, handle, unsigned, unsigned)
    FIND(int, cuGraphReleaseUserObject, handle, handle, unsigned)
    static int state;
    handle graph, exec, node, object;
    EXPECT(INVALID_VALUE, cuUserObjectCreate(&object, &state, gone, 1, 0));
    OK(cuUserObjectCreate(&object, &state, gone, 1, 1));
    OK(cuGraphCreate(&graph, 0));
    OK(cuGraphAddEmptyNode(&node, graph, NULL, 0));
    OK(cuGraphRetainUserObject(graph, object, 2, 0));
    EXPECT(INVALID_VALUE, cuGraphReleaseUserObject(graph, object, 3));
    OK(cuGraphReleaseUserObject(graph, object, 1));
    OK(cuUserObjectRetain(object, 1));
    OK(cuUserObjectRelease(object, 2));
    OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
    OK(cuGraphDestroy(graph));
    HOLDS(state == 0);
    OK(cuGraphLaunch(exec, stream));
    OK(cuStreamSynchronize(stream));
    OK(cuGraphExecDestroy(exec));
    while (*(volatile int *)&state == 0) usleep(100);
    HOLDS(state == 100);
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
    handle module;
    OK(cuInit(0));
    OK(cuDevicePrimaryCtxRetain(&context, 0));
    OK(cuCtxSetCurrent(context));
    OK(cuMemAlloc_v2(&x, BYTES));
    OK(cuMemAlloc_v2(&y, BYTES));
    OK(cuModuleLoadData(&module, read_file(argv[1])));
    OK(cuModuleGetFunction(&function, module, "saxpy"));
    OK(cuStreamCreate(&stream, 1));
    structure();
    replay();
    updates();
    memory();
    objects();
    puts("ok");
    return 0;
}
