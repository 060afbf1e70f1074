// A driver without a host, or whose host gives no session: an error, however often one asks, and no crash. Argument: the
// error of cuInit.
#include "check.h"

int main(int argc, char **argv) {
    HOLDS(argc == 2);
    int error = atoi(argv[1]);
    void *lib = open_library("libcuda.so.1");
    FIND(int, cuInit, unsigned)
    FIND(int, cuDriverGetVersion, int *)
    FIND(int, cuDeviceGetCount, int *)
    FIND(int, cuArrayCreate_v2, void *, void *)
    int number = 0;
    OK(cuDriverGetVersion(&number));
    HOLDS(number >= 12000);
    EXPECT(error, cuInit(0));
    EXPECT(error, cuInit(0));
    EXPECT(3, cuDeviceGetCount(&number));
    // Exported, and not supported until it is.
    EXPECT(801, cuArrayCreate_v2(NULL, NULL));
    EXPECT(801, cuArrayCreate_v2(NULL, NULL));
    puts("ok");
    return 0;
}
