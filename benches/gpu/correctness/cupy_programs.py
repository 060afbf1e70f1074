"""CuPy: reductions, an element-wise kernel, a raw kernel through NVRTC, streams, pinned memory and its pools."""

import cupy
import numpy
from workload import Result, digest

SOURCE = r"""
extern "C" __global__ void squares(const float *in, float *out, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = in[i] * in[i] + 1.0f;
}
"""


def main():
    result = Result()
    x = cupy.arange(1 << 20, dtype=cupy.float32)
    result.exact["sum"] = float(x.sum()).hex()
    result.exact["mean_by_row"] = digest(cupy.asnumpy(x.reshape(1024, 1024).mean(1)))
    kernel = cupy.RawKernel(SOURCE, "squares")
    out = cupy.empty_like(x)
    kernel((4096,), (256,), (x, out, numpy.int32(x.size)))
    result.exact["raw_kernel"] = digest(cupy.asnumpy(out))
    fused = cupy.ElementwiseKernel("float32 a, float32 b", "float32 c", "c = a * b + 2", "fused")
    result.exact["elementwise"] = digest(cupy.asnumpy(fused(x, out)))
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        y = cupy.sort(out[::-1])
        host = cupy.asnumpy(y, stream=stream)
    stream.synchronize()
    result.exact["sorted"] = digest(host)
    a = (cupy.arange(256 * 256, dtype=cupy.float32).reshape(256, 256) % 13) / 13
    result.exact["matmul"] = digest(cupy.asnumpy(a @ a))
    result.exact["fft"] = digest(cupy.asnumpy(cupy.fft.fft(a)))
    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    start.record()
    end.record()
    end.synchronize()
    result.holds["time_goes_forward"] = cupy.cuda.get_elapsed_time(start, end) >= 0
    with cupy.cuda.using_allocator(cupy.cuda.MemoryAsyncPool().malloc):
        result.exact["async_pool"] = float(cupy.ones(1 << 20).sum())
    managed = cupy.cuda.MemoryPool(cupy.cuda.malloc_managed)
    with cupy.cuda.using_allocator(managed.malloc):
        result.exact["managed"] = float(cupy.ones(1 << 16).sum())
    result.info["cupy"] = cupy.__version__
    result.print()


if __name__ == "__main__":
    main()
