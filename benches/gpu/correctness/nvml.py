"""NVML by NVIDIA's Python binding: the card's own facts, memory, utilisation, processes."""

import os

import pynvml
from workload import Result, seeded


def text(value):
    """A string, which some releases give as bytes."""
    return value.decode() if isinstance(value, bytes) else value


def main():
    torch = seeded()
    x = torch.ones(1 << 26, device="cuda")
    pynvml.nvmlInit()
    result = Result()
    result.exact["count"] = pynvml.nvmlDeviceGetCount()
    card = pynvml.nvmlDeviceGetHandleByIndex(0)
    result.exact["name"] = text(pynvml.nvmlDeviceGetName(card))
    result.exact["uuid"] = text(pynvml.nvmlDeviceGetUUID(card))
    result.exact["capability"] = pynvml.nvmlDeviceGetCudaComputeCapability(card)
    result.exact["driver"] = text(pynvml.nvmlSystemGetDriverVersion())
    memory = pynvml.nvmlDeviceGetMemoryInfo(card)
    result.info["memory"] = [memory.total, memory.free, memory.used]
    result.holds["memory_adds_up"] = memory.used >= x.nbytes and memory.free + memory.used <= memory.total
    try:
        result.info["utilisation"] = pynvml.nvmlDeviceGetUtilizationRates(card).gpu
    except pynvml.NVMLError_NotSupported as error:
        result.info["utilisation"] = str(error)
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(card)
    result.info["processes"] = [[process.pid, process.usedGpuMemory] for process in processes]
    result.holds["lists_itself"] = os.getpid() in [process.pid for process in processes]
    # What every CUDA program can ask through PyTorch.
    result.exact["torch_count"] = torch.cuda.device_count()
    pynvml.nvmlShutdown()
    result.print()


if __name__ == "__main__":
    main()
