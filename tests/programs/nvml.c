// NVML of a guest: one device, the tenant's own memory and processes, and nothing that pretends.
// Argument: the tenant's quota in bytes.
#include "check.h"
#include <unistd.h>

enum { INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, SMALL = 7, NO_FUNCTION = 13, VERSION = 25 };

typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory2_t;
typedef struct { unsigned pid; unsigned long long used; unsigned gpu, compute; } process_t;
typedef struct { char legacy[16]; unsigned domain, bus, device, id, sub; char bus_id[32]; } pci_t;

int main(int argc, char **argv) {
    HOLDS(argc == 2);
    void *lib = open_library("libnvidia-ml.so.1");
    unsigned long long quota = strtoull(argv[1], 0, 10);
    FIND(int, nvmlInit_v2, void);
    FIND(int, nvmlShutdown, void);
    FIND(const char *, nvmlErrorString, int);
    FIND(int, nvmlDeviceGetCount_v2, unsigned *);
    FIND(int, nvmlDeviceGetHandleByIndex_v2, unsigned, void **);
    FIND(int, nvmlDeviceGetHandleByUUID, const char *, void **);
    FIND(int, nvmlDeviceGetHandleByPciBusId_v2, const char *, void **);
    FIND(int, nvmlDeviceGetName, void *, char *, unsigned);
    FIND(int, nvmlDeviceGetUUID, void *, char *, unsigned);
    FIND(int, nvmlDeviceGetPciInfo_v3, void *, pci_t *);
    FIND(int, nvmlDeviceGetPciInfo_v2, void *, void *);
    FIND(int, nvmlDeviceGetPciInfo, void *, void *);
    FIND(int, nvmlDeviceGetMemoryInfo, void *, memory_t *);
    FIND(int, nvmlDeviceGetMemoryInfo_v2, void *, memory2_t *);
    FIND(int, nvmlDeviceGetComputeRunningProcesses_v3, void *, unsigned *, process_t *);
    FIND(int, nvmlSystemGetProcessName, unsigned, char *, unsigned);
    FIND(int, nvmlDeviceGetTemperature, void *, int, unsigned *);
    FIND(int, nvmlDeviceSetPowerManagementLimit, void *, unsigned);

    unsigned count = 0;
    void *device = 0, *same = 0;
    char text[96];
    EXPECT(1, nvmlDeviceGetCount_v2(&count));
    EXPECT(1, nvmlShutdown());
    OK(nvmlInit_v2());
    OK(nvmlDeviceGetCount_v2(&count));
    HOLDS(count == 1);
    EXPECT(INVALID, nvmlDeviceGetHandleByIndex_v2(1, &device));
    EXPECT(INVALID, nvmlDeviceGetHandleByIndex_v2(0, 0));
    OK(nvmlDeviceGetHandleByIndex_v2(0, &device));
    OK(nvmlDeviceGetName(device, text, sizeof text));
    HOLDS(!strcmp(text, "vgpu software GPU"));
    EXPECT(SMALL, nvmlDeviceGetName(device, text, 4));
    EXPECT(INVALID, nvmlDeviceGetName((void *)0x1234, text, sizeof text));
    EXPECT(INVALID, nvmlDeviceGetName(device, 0, 96));
    OK(nvmlDeviceGetUUID(device, text, sizeof text));
    OK(nvmlDeviceGetHandleByUUID(text, &same));
    HOLDS(same == device);
    EXPECT(NOT_FOUND, nvmlDeviceGetHandleByUUID("GPU-0", &same));
    pci_t pci;
    OK(nvmlDeviceGetPciInfo_v3(device, &pci));
    OK(nvmlDeviceGetHandleByPciBusId_v2(pci.bus_id, &same));
    OK(nvmlDeviceGetHandleByPciBusId_v2(pci.legacy, &same));
    EXPECT(NOT_FOUND, nvmlDeviceGetHandleByPciBusId_v2("0000:01:00.0", &same));
    // The older forms write no more than callers had room for.
    unsigned char old[68];
    memset(old, 0xee, sizeof old);
    OK(nvmlDeviceGetPciInfo_v2(device, old));
    HOLDS(!strcmp((char *)old, pci.legacy) && old[51] == 0 && old[52] == 0xee);
    memset(old, 0xee, sizeof old);
    OK(nvmlDeviceGetPciInfo(device, old));
    HOLDS(!strcmp((char *)old, pci.legacy) && old[31] == 0 && old[32] == 0xee);

    memory_t memory;
    OK(nvmlDeviceGetMemoryInfo(device, &memory));
    HOLDS(memory.total == quota && memory.used == 0 && memory.free == quota);
    memory2_t memory2 = {.version = 1};
    EXPECT(VERSION, nvmlDeviceGetMemoryInfo_v2(device, &memory2));
    memory2.version = sizeof memory2 | 2 << 24;
    OK(nvmlDeviceGetMemoryInfo_v2(device, &memory2));
    HOLDS(memory2.total == quota);
    unsigned processes = 4, celsius = 77;
    process_t list[4];
    OK(nvmlDeviceGetComputeRunningProcesses_v3(device, &processes, list));
    HOLDS(processes == 0);
    EXPECT(NOT_SUPPORTED, nvmlDeviceGetTemperature(device, 0, &celsius));
    HOLDS(celsius == 77);
    EXPECT(NO_FUNCTION, nvmlDeviceSetPowerManagementLimit(device, 1));
    HOLDS(!strcmp(nvmlErrorString(NOT_SUPPORTED), "Not Supported"));

    // A session of this process shows up, with its memory, under this process's id.
    lib = open_library("libcuda.so.1");
    FIND(int, cuInit, unsigned);
    FIND(int, cuDevicePrimaryCtxRetain, void **, int);
    FIND(int, cuCtxSetCurrent, void *);
    FIND(int, cuMemAlloc_v2, unsigned long long *, size_t);
    void *context;
    unsigned long long address;
    OK(cuInit(0));
    OK(cuDevicePrimaryCtxRetain(&context, 0));
    OK(cuCtxSetCurrent(context));
    OK(cuMemAlloc_v2(&address, 1 << 20));
    usleep(50000);
    processes = 0;
    EXPECT(SMALL, nvmlDeviceGetComputeRunningProcesses_v3(device, &processes, 0));
    HOLDS(processes == 1);
    OK(nvmlDeviceGetComputeRunningProcesses_v3(device, &processes, list));
    HOLDS(list[0].pid == (unsigned)getpid() && list[0].used >= 1 << 20);
    OK(nvmlSystemGetProcessName(list[0].pid, text, sizeof text));
    HOLDS(!strcmp(text, "nvml"));
    OK(nvmlDeviceGetMemoryInfo(device, &memory));
    HOLDS(memory.used >= 1 << 20 && memory.used + memory.free == quota);
    OK(nvmlShutdown());
    EXPECT(1, nvmlDeviceGetMemoryInfo(device, &memory));
    puts("ok");
    return 0;
}
