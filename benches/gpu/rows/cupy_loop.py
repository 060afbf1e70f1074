"""Microseconds of a round of small CuPy operations that ends with a number on the host."""

import time

import cupy
from workload import Result

WARM_UP, WINDOWS, ROUNDS = 50, 5, 300


def main():
    x = cupy.linspace(0, 1, 4096, dtype=cupy.float32)
    times = []
    for window in range(-1, WINDOWS):
        count = ROUNDS if window >= 0 else WARM_UP
        begin = time.perf_counter()
        for _ in range(count):
            y = cupy.sin(x) * 2 + x
            y -= y.mean()
            total = float((y * y).sum())
        if window >= 0:
            times.append((time.perf_counter() - begin) / count * 1e6)
    result = Result()
    result.figure("CuPy round of 7 operations", times, "us")
    result.info["total"] = total
    result.print()


if __name__ == "__main__":
    main()
