"""A kernel that spins on a word of a pinned tensor until Python sets it."""

import ctypes
import time

from workload import Result, seeded


def main():
    torch = seeded()
    from driver import Kernel

    flag = torch.zeros(1, dtype=torch.int32, pin_memory=True)
    rounds = torch.zeros(1, dtype=torch.int64, device="cuda")
    kernel = Kernel("endless", "endless")
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    kernel.launch(ctypes.c_uint64(flag.data_ptr()), ctypes.c_uint64(rounds.data_ptr()), stream=stream.cuda_stream)
    time.sleep(0.2)
    result = Result()
    result.holds["spins"] = not stream.query()
    other = torch.ones(1000, device="cuda").sum().item()
    result.exact["meanwhile"] = other
    result.holds["spins_still"] = not stream.query()
    flag[0] = 1
    stream.synchronize()
    result.holds["ends"] = stream.query()
    result.holds["ran"] = rounds.item() > 0
    result.info["rounds"] = rounds.item()
    result.print()


if __name__ == "__main__":
    main()
