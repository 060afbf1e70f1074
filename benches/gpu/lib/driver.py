"""The CUDA driver by ctypes, in the context of the calling thread: kernels of our fixtures beside PyTorch's own."""

import ctypes
import os

from workload import FIXTURES

_LIBRARY = None


def library():
    """The driver that this process uses already."""
    global _LIBRARY
    if _LIBRARY is None:
        _LIBRARY = ctypes.CDLL("libcuda.so.1")
    return _LIBRARY


def call(name, *arguments):
    """Calls a function and raises where it does not answer 0."""
    code = getattr(library(), name)(*arguments)
    if code != 0:
        raise RuntimeError(f"{name} answered {code}")


class Kernel:
    """A kernel of a fixture. The caller keeps a context current, as PyTorch does after its first tensor."""

    def __init__(self, fixture, name):
        with open(os.path.join(FIXTURES, f"{fixture}.ptx"), "rb") as file:
            self.image = file.read() + b"\0"
        self.module, self.function = ctypes.c_void_p(), ctypes.c_void_p()
        call("cuModuleLoadData", ctypes.byref(self.module), self.image)
        call("cuModuleGetFunction", ctypes.byref(self.function), self.module, name.encode())

    def launch(self, *values, stream=0, grid=1, block=1):
        """Launches with ctypes values as parameters, on a stream's handle."""
        pointers = (ctypes.c_void_p * max(len(values), 1))()
        for at, value in enumerate(values):
            pointers[at] = ctypes.cast(ctypes.byref(value), ctypes.c_void_p)
        shape = [ctypes.c_uint(number) for number in (grid, 1, 1, block, 1, 1, 0)]
        call("cuLaunchKernel", self.function, *shape, ctypes.c_void_p(stream), pointers, None)
