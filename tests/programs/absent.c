// A driver without a host: there is no device, however often one asks, and no crash.
#include "check.h"

int main(void) {
    void *lib = open_library("libcuda.so.1");
    FIND(int, cuInit, unsigned)
    FIND(int, cuDriverGetVersion, int *)
    FIND(int, cuDeviceGetCount, int *)
    FIND(int, cuArrayCreate_v2, void *, void *)
    int number = 0;
    OK(cuDriverGetVersion(&number));
    HOLDS(number >= 12000);
    EXPECT(100, cuInit(0));
    EXPECT(100, cuInit(0));
    EXPECT(3, cuDeviceGetCount(&number));
    // Exported, and not supported until it is.
    EXPECT(801, cuArrayCreate_v2(NULL, NULL));
    EXPECT(801, cuArrayCreate_v2(NULL, NULL));
    puts("ok");
    return 0;
}
