// A process that forks: its children have no GPU and disturb nothing, one that forked before the first call has its own.
// Then calls from handlers that run at the very end.
#include "check.h"
#include <pthread.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOT_INITIALIZED = 3, DEINITIALIZED = 4, CHILDREN = 20, WORDS = 1024 };

typedef uint64_t handle;

static void *lib;
static handle context, memory;
static volatile int working = 1;
static pid_t owner;
// A table of functions without names, of which the third answers the primary context.
static int (*const *table)(handle *, int);

// The child's exit status; its own checks have ended it with another one where they failed.
static int child_status(pid_t child) {
    int status = 0;
    EXPECT(child, waitpid(child, &status, 0));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void round_trip(void) {
    FIND(int, cuMemcpyHtoD_v2, handle, const void *, size_t)
    FIND(int, cuMemcpyDtoH_v2, void *, handle, size_t)
    uint32_t words[WORDS], found[WORDS] = {0};
    for (int at = 0; at < WORDS; at++) words[at] = at * 7;
    OK(cuMemcpyHtoD_v2(memory, words, sizeof words));
    OK(cuMemcpyDtoH_v2(found, memory, sizeof found));
    EXPECT(0, memcmp(words, found, sizeof words));
}

// Holds the library's locks at any moment that another thread may fork at.
static void *work(void *unused) {
    (void)unused;
    FIND(int, cuCtxSetCurrent, handle)
    FIND(int, cuMemAlloc_v2, handle *, size_t)
    FIND(int, cuMemFree_v2, handle)
    FIND(int, cuStreamSynchronize_ptsz, handle)
    OK(cuCtxSetCurrent(context));
    while (working) {
        handle other;
        OK(cuMemAlloc_v2(&other, 4096));
        OK(cuStreamSynchronize_ptsz(0));
        OK(cuMemFree_v2(other));
    }
    return NULL;
}

// What a forked worker of a data loader does at most.
static void in_child(const uint32_t *pinned) {
    alarm(10);
    FIND(int, cuInit, unsigned)
    FIND(int, cuDriverGetVersion, int *)
    FIND(int, cuGetErrorString, int, const char **)
    FIND(int, cuDeviceGetCount, int *)
    FIND(int, cuCtxGetCurrent, handle *)
    FIND(int, cuCtxSynchronize, void)
    FIND(int, cuMemAlloc_v2, handle *, size_t)
    FIND(int, cuMemFree_v2, handle)
    FIND(int, cuStreamSynchronize_ptsz, handle)
    int number;
    handle other;
    const char *text;
    OK(cuDriverGetVersion(&number));
    OK(cuGetErrorString(NOT_INITIALIZED, &text));
    EXPECT(NOT_INITIALIZED, cuInit(0));
    EXPECT(NOT_INITIALIZED, cuDeviceGetCount(&number));
    EXPECT(NOT_INITIALIZED, cuCtxGetCurrent(&other));
    EXPECT(NOT_INITIALIZED, cuCtxSynchronize());
    EXPECT(NOT_INITIALIZED, cuMemAlloc_v2(&other, 16));
    EXPECT(NOT_INITIALIZED, cuMemFree_v2(memory));
    EXPECT(NOT_INITIALIZED, cuStreamSynchronize_ptsz(0));
    EXPECT(NOT_INITIALIZED, table[2](&other, 0));
    EXPECT(77, *pinned);
    // Runs what is left of the thread and the process, the library's own included.
    exit(0);
}

static void fork_before_the_first_call(void) {
    pid_t child = fork();
    if (child == 0) {
        FIND(int, cuInit, unsigned)
        FIND(int, cuDeviceGetCount, int *)
        int count = 0;
        OK(cuInit(0));
        OK(cuDeviceGetCount(&count));
        EXPECT(1, count);
        exit(0);
    }
    EXPECT(0, child_status(child));
}

// Called when the thread's own variables of the library are gone.
static void at_thread_end(void *unused) {
    (void)unused;
    FIND(int, cuStreamSynchronize_ptsz, handle)
    FIND(int, cuCtxSynchronize, void)
    cuStreamSynchronize_ptsz(0);
    cuCtxSynchronize();
}

static void *end_with_calls(void *key) {
    FIND(int, cuCtxSetCurrent, handle)
    FIND(int, cuStreamSynchronize_ptsz, handle)
    EXPECT(0, pthread_setspecific(*(pthread_key_t *)key, lib));
    OK(cuCtxSetCurrent(context));
    OK(cuStreamSynchronize_ptsz(0));
    return NULL;
}

// As natively: nothing waits, whatever still runs on the device.
static void at_end(void) {
    int gone = getpid() == owner ? DEINITIALIZED : NOT_INITIALIZED;
    FIND(int, cuCtxSynchronize, void)
    FIND(int, cuMemFree_v2, handle)
    FIND(int, cuMemAlloc_v2, handle *, size_t)
    FIND(int, cuStreamSynchronize_ptsz, handle)
    handle other;
    EXPECT(gone, cuCtxSynchronize());
    EXPECT(gone, cuStreamSynchronize_ptsz(0));
    EXPECT(gone, cuMemFree_v2(memory));
    EXPECT(gone, cuMemAlloc_v2(&other, 16));
    EXPECT(gone, table[2](&other, 0));
}

int main(void) {
    lib = open_library("libcuda.so.1");
    fork_before_the_first_call();
    // Before any that the library adds, so that it runs after them.
    EXPECT(0, atexit(at_end));
    owner = getpid();
    FIND(int, cuInit, unsigned)
    FIND(int, cuDevicePrimaryCtxRetain, handle *, int)
    FIND(int, cuCtxSetCurrent, handle)
    FIND(int, cuMemAlloc_v2, handle *, size_t)
    FIND(int, cuMemHostAlloc, void **, size_t, unsigned)
    FIND(int, cuStreamSynchronize_ptsz, handle)
    FIND(int, cuGetExportTable, const void *, const void *)
    OK(cuInit(0));
    OK(cuGetExportTable(&table, "\x6b\xd5\xfb\x6c\x5b\xf4\xe7\x4a\x89\x87\xd9\x39\x12\xfd\x9d\xf9"));
    OK(cuDevicePrimaryCtxRetain(&context, 0));
    OK(cuCtxSetCurrent(context));
    OK(cuMemAlloc_v2(&memory, WORDS * sizeof(uint32_t)));
    // A stream that goes with this thread, which a child ends too.
    OK(cuStreamSynchronize_ptsz(0));
    uint32_t *pinned;
    OK(cuMemHostAlloc((void **)&pinned, 4096, 0));
    *pinned = 77;

    pthread_t thread, last;
    EXPECT(0, pthread_create(&thread, NULL, work, NULL));
    for (int number = 0; number < CHILDREN; number++) {
        pid_t child = fork();
        if (child == 0) in_child(pinned);
        EXPECT(0, child_status(child));
        round_trip();
    }
    working = 0;
    EXPECT(0, pthread_join(thread, NULL));
    pthread_key_t key;
    EXPECT(0, pthread_key_create(&key, at_thread_end));
    EXPECT(0, pthread_create(&last, NULL, end_with_calls, &key));
    EXPECT(0, pthread_join(last, NULL));
    round_trip();
    EXPECT(77, *pinned);
    puts("ok");
    return 0;
}
