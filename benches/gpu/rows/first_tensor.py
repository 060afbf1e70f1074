"""Milliseconds that PyTorch takes for its first tensor on the card, and for its first matrix product, once imported."""

import time

import torch
from workload import Result


def main():
    begin = time.perf_counter()
    torch.ones(1, device="cuda").item()
    tensor = time.perf_counter()
    x = torch.ones(64, 64, device="cuda")
    (x @ x).sum().item()
    result = Result()
    result.figure("PyTorch's first tensor", [(tensor - begin) * 1e3], "ms")
    result.figure("PyTorch's first matrix product", [(time.perf_counter() - tensor) * 1e3], "ms")
    result.print()


if __name__ == "__main__":
    main()
