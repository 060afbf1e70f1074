"""What every workload shares: seeds, digests, and the line with its result.

A workload prints one JSON object as its last line, with some of these parts:
  exact    name -> value that must be the same natively and through vgpu
  close    name -> [value, tolerance]: within this relative distance of the native value
  holds    name -> true or false: must be true on both sides
  figures  name -> {"value", "unit", "samples"}: measured, compared as a ratio
  info     anything that is only reported
"""

import hashlib
import json
import os
import statistics
import time

DEVICE = os.environ.get("VGPU_BENCH_DEVICE", "cuda")
MODE = os.environ.get("VGPU_BENCH_MODE", "native")
FIXTURES = os.environ.get("VGPU_FIXTURE_DIR", "")


class Result:
    """The parts of a result, filled step by step."""

    def __init__(self):
        self.exact, self.close, self.holds, self.figures, self.info = {}, {}, {}, {}, {}

    def figure(self, name, samples, unit):
        """Adds a measured figure; its value is the median of the samples."""
        samples = [float(sample) for sample in samples]
        self.figures[name] = {"value": statistics.median(samples), "unit": unit, "samples": samples}

    def print(self):
        """Prints the line that the runner reads."""
        print(json.dumps({key: value for key, value in vars(self).items() if value}), flush=True)


def digest(array):
    """SHA-256 of an array's bytes, shortened: a PyTorch tensor, or what numpy can take."""
    if hasattr(array, "detach"):
        import torch

        # numpy has no bfloat16; the bytes are what is compared.
        array = array.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(array.tobytes()).hexdigest()[:24]


def hexes(numbers):
    """Floats, written so that no bit is lost."""
    return [float(number).hex() for number in numbers]


def seeded(seed=7, deterministic=True):
    """PyTorch with fixed seeds and, unless told otherwise, its deterministic algorithms."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    # Operations without a deterministic form only warn: the comparison will tell.
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    return torch


def synchronize(torch):
    """Waits for the device, where there is one."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def timed_windows(torch, step, windows, steps):
    """Seconds per step, once for each window of steps."""
    samples = []
    for _ in range(windows):
        synchronize(torch)
        begin = time.perf_counter()
        for _ in range(steps):
            step()
        synchronize(torch)
        samples.append((time.perf_counter() - begin) / steps)
    return samples
