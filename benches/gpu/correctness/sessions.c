// Opens and closes sessions, one in each process: sessions COUNT. Some processes end without closing anything.
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"

// At once: enough to overlap, few enough for the contexts to fit a small card.
enum { TOGETHER = 8, BYTES = 1 << 20 };

// A process's whole life with the GPU.
static int child(int number) {
    void *lib = open_driver();
    FIND(int, cuMemAlloc_v2, handle *, size_t)
    FIND(int, cuMemFree_v2, handle)
    FIND(int, cuMemcpyHtoD_v2, handle, const void *, size_t)
    FIND(int, cuMemcpyDtoH_v2, void *, handle, size_t)
    FIND(int, cuDevicePrimaryCtxRelease_v2, int)
    handle memory;
    int there = number, back = -1;
    OK(cuMemAlloc_v2(&memory, BYTES));
    OK(cuMemcpyHtoD_v2(memory, &there, sizeof there));
    OK(cuMemcpyDtoH_v2(&back, memory, sizeof back));
    HOLDS(back == number);
    if (number % 4 == 1) return 0;
    if (number % 4 == 2) _exit(0);
    OK(cuMemFree_v2(memory));
    OK(cuDevicePrimaryCtxRelease_v2(0));
    return 0;
}

int main(int argc, char **argv) {
    HOLDS(argc == 2);
    int count = atoi(argv[1]), running = 0, failed = 0;
    double begin = now_ns();
    for (int number = 0; number < count || running > 0;) {
        if (number < count && running < TOGETHER) {
            pid_t pid = fork();
            HOLDS(pid >= 0);
            if (pid == 0) return child(number);
            number++, running++;
            continue;
        }
        int status;
        HOLDS(wait(&status) > 0);
        failed += status != 0;
        running--;
    }
    printf("{\"holds\": {\"none_failed\": %s}, \"info\": {\"count\": %d, \"failed\": %d, \"seconds\": %.2f}}\n",
           failed ? "false" : "true", count, failed, (now_ns() - begin) / 1e9);
    return failed != 0;
}
