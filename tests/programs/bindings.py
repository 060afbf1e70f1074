"""What monitoring tools ask through NVIDIA's Python bindings: every getter answers or says that it is not supported."""

import pynvml

pynvml.nvmlInit()
assert pynvml.nvmlDeviceGetCount() == 1
device = pynvml.nvmlDeviceGetHandleByIndex(0)
assert pynvml.nvmlDeviceGetName(device) == "vgpu software GPU"
assert pynvml.nvmlDeviceGetUUID(device).startswith("GPU-")
assert pynvml.nvmlDeviceGetMemoryInfo(device).total == pynvml.nvmlDeviceGetMemoryInfo(device, version=pynvml.nvmlMemory_v2).total
assert pynvml.nvmlDeviceGetComputeRunningProcesses(device) == []
assert pynvml.nvmlDeviceGetCudaComputeCapability(device) == (8, 0)
for name in ("UtilizationRates", "PowerUsage", "FanSpeed", "EnforcedPowerLimit", "PersistenceMode", "MigMode"):
    try:
        getattr(pynvml, "nvmlDeviceGet" + name)(device)
    except pynvml.NVMLError_NotSupported:
        continue
    raise AssertionError(name + " is not supported and pretends")
try:
    pynvml.nvmlDeviceSetPersistenceMode(device, 1)
except pynvml.NVMLError_FunctionNotFound:
    pynvml.nvmlShutdown()
    print("ok")
