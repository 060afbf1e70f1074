"""Times that CUDA events tell, of work that takes milliseconds: they must be those that events tell natively."""

import statistics
import time

from workload import Result, seeded

REPEATS = 15


def between_events(torch, work):
    """Median time of some work between two events, in milliseconds."""
    times = []
    for _ in range(REPEATS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def main():
    torch = seeded()
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    x = torch.empty(1 << 28, dtype=torch.float32, device="cuda")
    jobs = {
        "matmul_8192_bf16": lambda: torch.mm(a, a),
        "ten_matmuls": lambda: [torch.mm(a, a) for _ in range(10)],
        "fill_1_GiB": lambda: x.fill_(1.0),
        "sleep_20M_cycles": lambda: torch.cuda._sleep(20_000_000),
    }
    result = Result()
    for name, work in jobs.items():
        for _ in range(10):
            work()
        torch.cuda.synchronize()
        result.close[name] = [between_events(torch, work), 0.05]
    begin = time.perf_counter()
    told = between_events(torch, jobs["ten_matmuls"]) * REPEATS
    passed = (time.perf_counter() - begin) * 1e3
    result.info["told_and_passed_ms"] = [told, passed]
    result.holds["no_longer_than_the_clock"] = told < passed * 1.02
    result.print()


if __name__ == "__main__":
    main()
