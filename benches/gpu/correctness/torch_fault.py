"""Faults of kernels as Python sees them: torch_fault.py wild|assert|neighbour.

`neighbour` works until its standard input ends, and says "running" once it does.
"""

import ctypes
import select
import sys

from workload import Result, digest, seeded


def told(torch, act):
    """Type and text of the exception, its first line: the rest is advice that names the release."""
    try:
        act()
        torch.cuda.synchronize()
    except Exception as error:  # The type is what is compared.
        return [type(error).__module__ + "." + type(error).__qualname__, str(error).splitlines()[0]]
    return None


def wild(torch, result):
    """A kernel writes where nothing is mapped."""
    from driver import Kernel

    torch.zeros(1, device="cuda")
    kernel = Kernel("wild_access", "write_anywhere")
    result.exact["fault"] = fault = told(
        torch, lambda: kernel.launch(ctypes.c_uint64(0x10), ctypes.c_int(1), stream=current(torch))
    )
    result.holds["is_told"] = fault is not None and "illegal memory access" in fault[1]
    # The error stays: the context is lost, natively too.
    result.exact["afterwards"] = told(torch, lambda: torch.ones(4, device="cuda") + 1)


def current(torch):
    """The handle of PyTorch's stream."""
    return torch.cuda.current_stream().cuda_stream


def assertion(torch, result):
    """An index that is out of range: PyTorch's own kernels assert."""
    table = torch.randn(10, 4, device="cuda")
    wrong = torch.tensor([3, 12], device="cuda")
    result.exact["fault"] = fault = told(torch, lambda: torch.nn.functional.embedding(wrong, table))
    result.holds["is_told"] = fault is not None and "device-side assert" in fault[1]


def neighbour(torch, result):
    """Works, and finds the same answer each time."""
    x = torch.randn(1024, 1024, device="cuda")
    first = digest(x @ x)
    print("running", flush=True)
    rounds, same = 0, True
    while not select.select([sys.stdin], [], [], 0)[0]:
        same = same and digest(x @ x) == first
        rounds += 1
    result.holds["same_each_time"] = same
    result.holds["worked"] = rounds > 3
    result.info["rounds"] = rounds


if __name__ == "__main__":
    outcome = Result()
    {"wild": wild, "assert": assertion, "neighbour": neighbour}[sys.argv[1]](seeded(), outcome)
    outcome.print()
