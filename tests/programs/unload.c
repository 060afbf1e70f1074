// A thread that has closed the library again leaves it whole: its own threads are at work still.
#include "check.h"
#include <pthread.h>
#include <unistd.h>

static int calls;
static void count(void *data) { ++*(int *)data; }

static void *use(void *unused) {
    void *lib = open_library("libcuda.so.1");
    FIND(int, cuInit, unsigned)
    FIND(int, cuDevicePrimaryCtxRetain, void **, int)
    FIND(int, cuCtxSetCurrent, void *)
    FIND(int, cuLaunchHostFunc, void *, void (*)(void *), void *)
    FIND(int, cuStreamSynchronize, void *)
    void *context;
    OK(cuInit(0));
    OK(cuDevicePrimaryCtxRetain(&context, 0));
    OK(cuCtxSetCurrent(context));
    OK(cuLaunchHostFunc(0, count, &calls));
    OK(cuStreamSynchronize(0));
    OK(dlclose(lib));
    return unused;
}

int main(void) {
    pthread_t thread;
    for (int round = 1; round <= 2; round++) {
        OK(pthread_create(&thread, NULL, use, NULL));
        OK(pthread_join(thread, NULL));
        HOLDS(calls == round);
        usleep(20000);
    }
    puts("ok");
    return 0;
}
