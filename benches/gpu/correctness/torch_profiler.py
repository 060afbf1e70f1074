"""torch.profiler: where the driver has no profiling interface, it must say so and the program go on."""

import sys

from workload import Result, digest, seeded


def main():
    torch = seeded()
    from torch.profiler import ProfilerActivity, profile

    x = torch.randn(512, 512, device="cuda")
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        for _ in range(5):
            y = (x @ x).relu().sum()
        torch.cuda.synchronize()
    events = profiler.key_averages()
    result = Result()
    result.exact["answer"] = y.item().hex()
    result.holds["cpu_side_is_there"] = any(event.key == "aten::mm" for event in events)
    result.info["device_time_us"] = sum(getattr(event, "self_device_time_total", 0) for event in events)
    print(events.table(row_limit=5), file=sys.stderr)
    with torch.autograd.profiler.profile(use_device="cuda") as legacy:
        z = x @ x
    result.info["legacy_events"] = len(legacy.function_events or [])
    with torch.cuda.nvtx.range("range"):
        result.exact["after"] = digest(z)
    result.print()


if __name__ == "__main__":
    main()
