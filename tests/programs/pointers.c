// What each kind of memory says of itself, managed memory's advice, and copies of every form.
#include "check.h"
#include <stdint.h>

enum { INVALID_VALUE = 1, INVALID_DEVICE = 101, INVALID_CONTEXT = 201, INVALID_HANDLE = 400, NOT_SUPPORTED = 801 };
enum { CONTEXT = 1, TYPE, DEVICE_POINTER, HOST_POINTER, SYNC_MEMOPS = 6, BUFFER_ID, MANAGED, ORDINAL, START = 11, SIZE,
       MAPPED, ACCESS = 16, POOL, LAST = 21 };
enum { KINDS = 5, N = 1 << 16 };

typedef uint64_t handle;

struct attributes {
    unsigned order;
    int from[2], to[2];
    unsigned flags;
};

struct operand {
    uint64_t type;
    handle address;
    size_t row, layer;
    uint64_t place;
};

struct box {
    struct operand from, to;
    size_t width, height, depth;
    unsigned order, flags;
};

// CUDA_MEMCPY3D_PEER, which has a context where CUDA_MEMCPY3D has a reserved word.
struct peer {
    struct {
        size_t x, y, z, level;
        uint64_t type;
        handle host, device, array, context;
        size_t pitch, height;
    } from, to;
    size_t width, height, depth;
};

static void *lib;

// The pointers' answers, by kind: device, pinned, registered, managed, of a pool.
static void attributes(handle context, handle pool, const handle *memory) {
    FIND(int, cuPointerGetAttribute, void *, int, handle)
    FIND(int, cuPointerGetAttributes, unsigned, const unsigned *, void **, handle)
    static const int on_device[KINDS] = {1, 0, 0, 0, 1}, managed[KINDS] = {0, 0, 0, 1, 0};
    handle serials[KINDS];
    for (int kind = 0; kind < KINDS; kind++) {
        handle at = memory[kind] + 100, word = ~0ull;
        unsigned number = 99;
        unsigned char flag = 99;
        OK(cuPointerGetAttribute(&word, CONTEXT, at));
        EXPECT(1, word == (kind == 4 ? 0 : context));
        OK(cuPointerGetAttribute(&number, TYPE, at));
        EXPECT(on_device[kind] || managed[kind] ? 2 : 1, number);
        OK(cuPointerGetAttribute(&word, DEVICE_POINTER, at));
        HOLDS(word == at);
        EXPECT(on_device[kind] ? INVALID_VALUE : 0, cuPointerGetAttribute(&word, HOST_POINTER, at));
        OK(cuPointerGetAttribute(&serials[kind], BUFFER_ID, at));
        for (int other = 0; other < kind; other++) HOLDS(serials[other] != serials[kind]);
        OK(cuPointerGetAttribute(&number, MANAGED, at));
        EXPECT(managed[kind], number);
        OK(cuPointerGetAttribute(&number, ORDINAL, at));
        EXPECT(0, number);
        OK(cuPointerGetAttribute(&word, START, at));
        HOLDS(word == memory[kind]);
        OK(cuPointerGetAttribute(&word, SIZE, at));
        EXPECT(N, word);
        OK(cuPointerGetAttribute(&flag, MAPPED, at));
        EXPECT(1, flag);
        OK(cuPointerGetAttribute(&number, ACCESS, at));
        EXPECT(3, number);
        OK(cuPointerGetAttribute(&word, POOL, at));
        HOLDS(word == (kind == 4 ? pool : 0));
        EXPECT(INVALID_VALUE, cuPointerGetAttribute(&word, LAST + 1, at));
        EXPECT(INVALID_VALUE, cuPointerGetAttribute(NULL, TYPE, at));
    }
    // A pointer that is nobody's.
    handle word = 5, here = (handle)(uintptr_t)&word;
    unsigned type = 9, number = 9, wanted[] = {TYPE, CONTEXT, ORDINAL};
    void *answers[] = {&type, &word, &number};
    EXPECT(INVALID_VALUE, cuPointerGetAttribute(&type, TYPE, here));
    OK(cuPointerGetAttributes(3, wanted, answers, here));
    HOLDS(type == 0 && word == 0 && (int)number == -2);
    wanted[1] = HOST_POINTER;
    word = 5;
    OK(cuPointerGetAttributes(3, wanted, answers, memory[0]));
    HOLDS(type == 2 && word == 0 && number == 0);
    EXPECT(INVALID_VALUE, cuPointerGetAttributes(3, wanted, NULL, memory[0]));
}

static void managed(handle memory, handle other) {
    FIND(int, cuMemAllocManaged, handle *, size_t, unsigned)
    FIND(int, cuMemAdvise, handle, size_t, int, int)
    FIND(int, cuMemAdvise_v2, handle, size_t, int, uint64_t)
    FIND(int, cuMemPrefetchAsync, handle, size_t, int, handle)
    FIND(int, cuMemRangeGetAttribute, void *, size_t, int, handle, size_t)
    FIND(int, cuMemRangeGetAttributes, void **, size_t *, int *, size_t, handle, size_t)
    FIND(int, cuStreamAttachMemAsync, handle, handle, size_t, unsigned)
    FIND(int, cuStreamCreate, handle *, unsigned)
    handle made, stream;
    int number, list[3];
    EXPECT(INVALID_VALUE, cuMemAllocManaged(&made, 64, 0));
    EXPECT(INVALID_VALUE, cuMemAllocManaged(&made, 64, 4));
    EXPECT(INVALID_VALUE, cuMemAllocManaged(&made, 0, 1));
    memset((void *)(uintptr_t)memory, 3, N);
    OK(cuMemRangeGetAttribute(&number, 4, 2, memory, N));
    HOLDS(number == -2);
    OK(cuMemAdvise(memory, N, 1, 0));
    OK(cuMemAdvise(memory, N, 3, -1));
    OK(cuMemAdvise_v2(memory, 4096, 5, 1));
    OK(cuMemRangeGetAttribute(&number, 4, 1, memory, N));
    HOLDS(number == 1);
    OK(cuMemRangeGetAttribute(&number, 4, 2, memory + 5000, 10));
    HOLDS(number == -1);
    OK(cuMemRangeGetAttribute(list, 12, 3, memory, 4096));
    HOLDS(list[0] == 0 && list[1] == -2 && list[2] == -2);
    OK(cuMemRangeGetAttribute(list, 12, 3, memory, N));
    HOLDS(list[0] == -2);
    OK(cuMemPrefetchAsync(memory, N, 0, 0));
    int which[] = {4, 7, 8};
    void *answers[] = {&list[0], &list[1], &list[2]};
    size_t rooms[] = {4, 4, 4};
    OK(cuMemRangeGetAttributes(answers, rooms, which, 3, memory, N));
    HOLDS(list[0] == 0 && list[1] == 1 && list[2] == 0);
    EXPECT(INVALID_VALUE, cuMemRangeGetAttribute(&number, 8, 1, memory, N));
    EXPECT(INVALID_VALUE, cuMemRangeGetAttribute(&number, 4, 1, memory, N + 1));
    EXPECT(INVALID_VALUE, cuMemRangeGetAttribute(&number, 4, 9, memory, N));
    EXPECT(INVALID_VALUE, cuMemRangeGetAttribute(&number, 4, 1, other, N));
    EXPECT(INVALID_VALUE, cuMemAdvise(memory, N, 7, 0));
    EXPECT(INVALID_DEVICE, cuMemAdvise(memory, N, 3, 5));
    EXPECT(INVALID_DEVICE, cuMemPrefetchAsync(memory, N, 5, 0));
    EXPECT(INVALID_VALUE, cuMemPrefetchAsync(memory, 0, 0, 0));
    OK(cuStreamCreate(&stream, 0));
    OK(cuStreamAttachMemAsync(stream, memory, 0, 4));
    OK(cuStreamAttachMemAsync(0, memory, N, 1));
    EXPECT(INVALID_VALUE, cuStreamAttachMemAsync(0, memory, 0, 4));
    EXPECT(INVALID_VALUE, cuStreamAttachMemAsync(stream, memory, 16, 1));
    EXPECT(INVALID_VALUE, cuStreamAttachMemAsync(stream, memory, 0, 3));
    EXPECT(INVALID_VALUE, cuStreamAttachMemAsync(stream, other, 0, 1));
}

static void copies(handle context, const handle *memory, handle stream, volatile unsigned *flag) {
    FIND(int, cuMemcpy, handle, handle, size_t)
    FIND(int, cuMemcpyAsync, handle, handle, size_t, handle)
    FIND(int, cuMemcpyBatchAsync, handle *, handle *, size_t *, size_t, struct attributes *, size_t *, size_t, size_t *,
         handle)
    FIND(int, cuMemcpyBatchAsync_v2, handle *, handle *, size_t *, size_t, struct attributes *, size_t *, size_t, handle)
    FIND(int, cuMemcpy3DBatchAsync_v2, size_t, struct box *, unsigned long long, handle)
    FIND(int, cuMemcpy3DPeer, struct peer *)
    FIND(int, cuMemAlloc_v2, handle *, size_t)
    FIND(int, cuMemFree_v2, handle)
    FIND(int, cuMemsetD8_v2, handle, unsigned char, size_t)
    FIND(int, cuMemsetD32_v2, handle, unsigned, size_t)
    FIND(int, cuStreamSynchronize, handle)
    FIND(int, cuStreamQuery, handle)
    FIND(int, cuStreamWaitValue32_v2, handle, handle, unsigned, unsigned)
    FIND(int, cuPointerSetAttribute, const void *, int, handle)
    FIND(int, cuPointerGetAttribute, void *, int, handle)
    static unsigned char here[N], there[N];
    handle at = (handle)(uintptr_t)here, away = (handle)(uintptr_t)there;
    // Every kind of memory to every other, the program's own included.
    handle all[KINDS + 2] = {memory[0], memory[1], memory[2], memory[3], memory[4], at, away};
    for (int from = 0; from < KINDS + 2; from++)
        for (int to = 0; to < KINDS + 2; to++) {
            unsigned char seen = 0, mark = (unsigned char)(from * 16 + to + 1);
            memset(here, 0, N), memset(there, 0, N);
            unsigned char *filled = malloc(N);
            memset(filled, mark, N);
            OK(cuMemcpy(all[from], (handle)(uintptr_t)filled, N));
            free(filled);
            OK(cuMemcpy(all[to], all[from], N));
            OK(cuMemcpy((handle)(uintptr_t)&seen, all[to] + N - 1, 1));
            EXPECT(mark, seen);
        }
    // Overlapping, in the program's own memory.
    for (int byte = 0; byte < N; byte++) here[byte] = (unsigned char)byte;
    OK(cuMemcpyAsync(at + 10, at, 1000, stream));
    HOLDS(here[10] == 0 && here[1009] == (unsigned char)999);
    // Past the end of an allocation, and of what is gone.
    EXPECT(INVALID_VALUE, cuMemcpy(memory[1] + N - 4, memory[0], 8));
    EXPECT(INVALID_VALUE, cuMemcpy(at, memory[2] + N - 4, 8));
    handle gone;
    OK(cuMemAlloc_v2(&gone, N));
    OK(cuMemFree_v2(gone));
    EXPECT(INVALID_VALUE, cuMemcpy(at, gone, 8));
    // More than staging holds at once, in both directions.
    size_t large = 40 << 20;
    unsigned *source = malloc(large), *sink = calloc(1, large);
    for (size_t word = 0; word < large / 4; word++) source[word] = (unsigned)word * 2654435761u;
    OK(cuMemAlloc_v2(&gone, large));
    OK(cuMemcpyAsync(gone, (handle)(uintptr_t)source, large, stream));
    OK(cuMemcpyAsync((handle)(uintptr_t)sink, gone, large, stream));
    HOLDS(!memcmp(source, sink, large));
    OK(cuMemFree_v2(gone));

    // Batches.
    handle to[] = {memory[0], memory[1], at}, from[] = {at, at + 100, memory[0]};
    size_t sizes[] = {100, 100, 100}, firsts[] = {0, 2}, failed = 7;
    struct attributes how[] = {{.order = 3}, {.order = 1, .flags = 1}};
    for (int byte = 0; byte < N; byte++) here[byte] = (unsigned char)(byte * 3);
    OK(cuMemcpyBatchAsync(to, from, sizes, 2, how, firsts, 1, &failed, stream));
    HOLDS(failed == SIZE_MAX);
    OK(cuStreamSynchronize(stream));
    HOLDS(((unsigned char *)(uintptr_t)memory[1])[50] == (unsigned char)(150 * 3));
    OK(cuMemcpyBatchAsync_v2(to, from, sizes, 3, how, firsts, 2, stream));
    to[1] = 0;
    EXPECT(INVALID_VALUE, cuMemcpyBatchAsync_v2(to, from, sizes, 3, how, firsts, 2, 0));
    from[1] = memory[0] + N;
    to[1] = memory[1];
    EXPECT(INVALID_VALUE, cuMemcpyBatchAsync(to, from, sizes, 3, how, firsts, 2, &failed, stream));
    HOLDS(failed == 1);
    firsts[0] = 1;
    EXPECT(INVALID_VALUE, cuMemcpyBatchAsync_v2(to, from, sizes, 3, how, firsts, 2, stream));
    firsts[0] = 0, how[1].order = 0;
    EXPECT(INVALID_VALUE, cuMemcpyBatchAsync_v2(to, from, sizes, 3, how, firsts, 2, stream));
    // A source that is not to be read later.
    how[0].order = 2, to[0] = memory[0], from[0] = memory[1];
    OK(cuMemcpyBatchAsync_v2(to, from, sizes, 1, how, firsts, 1, stream));
    OK(cuStreamQuery(stream));

    // Boxes: two layers of three rows of five bytes, from rows of seven to packed ones.
    for (int byte = 0; byte < N; byte++) here[byte] = (unsigned char)byte;
    struct box box = {.from = {1, at, 7, 4, 0}, .to = {1, memory[0], 0, 0, 0}, 5, 3, 2, .order = 1};
    OK(cuMemcpy3DBatchAsync_v2(1, &box, 0, stream));
    OK(cuMemcpyAsync(away, memory[0], 30, stream));
    HOLDS(there[0] == 0 && there[5] == 7 && there[15] == 28 && there[29] == 28 + 14 + 4);
    box.from.type = 2;
    EXPECT(NOT_SUPPORTED, cuMemcpy3DBatchAsync_v2(1, &box, 0, stream));
    box.from.type = 1, box.from.row = 4;
    EXPECT(INVALID_VALUE, cuMemcpy3DBatchAsync_v2(1, &box, 0, stream));
    box.from.row = 7, box.depth = 0;
    EXPECT(INVALID_VALUE, cuMemcpy3DBatchAsync_v2(1, &box, 0, stream));
    struct peer peer = {{1, 1, 0, 0, 1, at, 0, 0, context, 7, 4}, {0, 0, 0, 0, 2, 0, memory[4], 0, context, 5, 3}, 5, 3, 2};
    OK(cuMemcpy3DPeer(&peer));
    OK(cuMemcpy(away, memory[4], 30));
    HOLDS(there[0] == 8 && there[5] == 15 && there[29] == 8 + 28 + 14 + 4);
    peer.to.context = 5;
    EXPECT(INVALID_CONTEXT, cuMemcpy3DPeer(&peer));

    // Synchronous calls wait for what the program can see: pinned memory, and what it has set to be synchronous.
    unsigned number = 1;
    OK(cuPointerSetAttribute(&number, SYNC_MEMOPS, memory[0] + 5));
    OK(cuPointerGetAttribute(&number, SYNC_MEMOPS, memory[0]));
    HOLDS(number == 1);
    EXPECT(INVALID_VALUE, cuPointerSetAttribute(&number, TYPE, memory[0]));
    EXPECT(INVALID_VALUE, cuPointerSetAttribute(&number, SYNC_MEMOPS, at));
    OK(cuMemsetD8_v2(memory[0], 1, N));
    OK(cuMemcpy(memory[4], memory[0], N));
    OK(cuStreamQuery(0));
    OK(cuMemsetD32_v2(memory[1], 77, N / 4));
    HOLDS(((unsigned *)(uintptr_t)memory[1])[N / 4 - 1] == 77);
    // An asynchronous one waits for nothing.
    *flag = 0;
    OK(cuStreamWaitValue32_v2(stream, (handle)(uintptr_t)flag, 1, 1));
    OK(cuMemcpyAsync(memory[1], memory[2], N, stream));
    OK(cuMemcpyAsync(memory[0], memory[1], N, stream));
    OK(cuMemcpyAsync(memory[2], memory[0], N, stream));
    EXPECT(600, cuStreamQuery(stream));
    *flag = 1;
    OK(cuStreamSynchronize(stream));
}

int main(void) {
    lib = open_library("libcuda.so.1");
    FIND(int, cuInit, unsigned)
    FIND(int, cuDevicePrimaryCtxRetain, handle *, int)
    FIND(int, cuCtxSetCurrent, handle)
    FIND(int, cuDeviceGetDefaultMemPool, handle *, int)
    FIND(int, cuStreamCreate, handle *, unsigned)
    FIND(int, cuMemAlloc_v2, handle *, size_t)
    FIND(int, cuMemAllocAsync, handle *, size_t, handle)
    FIND(int, cuMemAllocHost_v2, void **, size_t)
    FIND(int, cuMemHostAlloc, void **, size_t, unsigned)
    FIND(int, cuMemFreeHost, void *)
    FIND(int, cuMemHostGetFlags, unsigned *, void *)
    FIND(int, cuMemHostGetDevicePointer_v2, handle *, void *, unsigned)
    FIND(int, cuMemHostRegister_v2, void *, size_t, unsigned)
    FIND(int, cuMemAllocManaged, handle *, size_t, unsigned)
    handle context, pool, stream, memory[KINDS];
    OK(cuInit(0));
    OK(cuDevicePrimaryCtxRetain(&context, 0));
    OK(cuCtxSetCurrent(context));
    OK(cuDeviceGetDefaultMemPool(&pool, 0));
    OK(cuStreamCreate(&stream, 1));
    OK(cuMemAlloc_v2(&memory[0], N));
    void *pinned, *flag;
    OK(cuMemHostAlloc(&pinned, N, 4));
    memory[1] = (handle)(uintptr_t)pinned;
    void *own = malloc(N);
    OK(cuMemHostRegister_v2(own, N, 0));
    memory[2] = (handle)(uintptr_t)own;
    OK(cuMemAllocManaged(&memory[3], N, 1));
    OK(cuMemAllocAsync(&memory[4], N, 0));
    attributes(context, pool, memory);

    unsigned flags = 0;
    OK(cuMemHostGetFlags(&flags, pinned));
    EXPECT(6, flags);
    OK(cuMemAllocHost_v2(&flag, 64));
    OK(cuMemHostGetFlags(&flags, flag));
    EXPECT(3, flags);
    EXPECT(INVALID_VALUE, cuMemHostGetFlags(&flags, own));
    EXPECT(INVALID_VALUE, cuMemHostAlloc(&pinned, N, 8));
    EXPECT(INVALID_VALUE, cuMemHostAlloc(&pinned, 0, 0));
    handle device;
    EXPECT(INVALID_VALUE, cuMemHostGetDevicePointer_v2(&device, pinned, 1));
    EXPECT(INVALID_VALUE, cuMemHostGetDevicePointer_v2(&device, &device, 0));
    EXPECT(INVALID_VALUE, cuMemHostGetDevicePointer_v2(&device, (void *)(uintptr_t)memory[4], 0));
    EXPECT(INVALID_VALUE, cuMemFreeHost((char *)pinned + 1));
    EXPECT(INVALID_VALUE, cuMemFreeHost((void *)(uintptr_t)memory[0]));
    EXPECT(INVALID_VALUE, cuMemFreeHost(NULL));

    managed(memory[3], memory[1]);
    copies(context, memory, stream, flag);
    OK(cuMemFreeHost(pinned));
    EXPECT(INVALID_VALUE, cuMemFreeHost(pinned));
    puts("ok");
    return 0;
}
