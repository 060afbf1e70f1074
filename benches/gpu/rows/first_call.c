// From the start of a process to the end of its first allocation: first_call COUNT PAUSE_MS [NAME].
// Starts itself anew COUNT times; a pause between lets a host prepare for the next.
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"
#include "samples.h"

// What the new process does.
static int child(double begin) {
    void *lib = open_driver();
    FIND(int, cuMemAlloc_v2, handle *, size_t)
    handle memory;
    OK(cuMemAlloc_v2(&memory, 4096));
    printf("%.6f\n", (now_ns() - begin) / 1e6);
    return 0;
}

// Milliseconds that a new process of this program took.
static double once(const char *program) {
    int ends[2];
    HOLDS(pipe(ends) == 0);
    char begin[64], text[64] = "";
    snprintf(begin, sizeof begin, "%.0f", now_ns());
    pid_t pid = fork();
    HOLDS(pid >= 0);
    if (pid == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        execl(program, program, "child", begin, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    HOLDS(read(ends[0], text, sizeof text - 1) > 0);
    close(ends[0]);
    int status;
    HOLDS(waitpid(pid, &status, 0) == pid && status == 0);
    return atof(text);
}

int main(int argc, char **argv) {
    HOLDS(argc >= 3);
    if (strcmp(argv[1], "child") == 0) return child(atof(argv[2]));
    int count = atoi(argv[1]);
    HOLDS(count > 0 && count < SAMPLES_MAX);
    for (int at = 0; at < count; at++) {
        usleep((useconds_t)atoi(argv[2]) * 1000);
        samples[at] = once("/proc/self/exe");
    }
    const char *name = argc > 3 ? argv[3] : "first call";
    char worst[128];
    snprintf(worst, sizeof worst, "%s, worst", name);
    figure(name, quantile(count, 0.5), "ms");
    figure(worst, quantile(count, 1.0), "ms");
    end_figures();
    return 0;
}
