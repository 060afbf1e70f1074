"""Triton: an addition, and a matrix product on tensor cores."""

import torch
import triton
import triton.language as tl
from workload import Result, digest, seeded


@triton.jit
def add(x, y, out, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    tl.store(out + at, tl.load(x + at, inside) + tl.load(y + at, inside), inside)


@triton.jit
def product(a, b, c, N: tl.constexpr, BLOCK: tl.constexpr):
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK, BLOCK), dtype=tl.float32)
    for start in range(0, N, BLOCK):
        inner = start + tl.arange(0, BLOCK)
        left = tl.load(a + rows[:, None] * N + inner[None, :])
        right = tl.load(b + inner[:, None] * N + columns[None, :])
        total = tl.dot(left, right, total)
    tl.store(c + rows[:, None] * N + columns[None, :], total)


def main():
    seeded()
    result = Result()
    x, y = torch.randn(100_003, device="cuda"), torch.randn(100_003, device="cuda")
    out = torch.empty_like(x)
    add[(triton.cdiv(x.numel(), 1024),)](x, y, out, x.numel(), BLOCK=1024)
    result.exact["add"] = digest(out)
    result.holds["add_is_right"] = bool(torch.equal(out, x + y))
    a, b = torch.randn(512, 512, device="cuda").bfloat16(), torch.randn(512, 512, device="cuda").bfloat16()
    c = torch.empty(512, 512, device="cuda")
    product[(8, 8)](a, b, c, N=512, BLOCK=64, num_stages=3)
    result.exact["product"] = digest(c)
    result.holds["product_is_near"] = bool(torch.allclose(c, (a @ b).float(), atol=0.5, rtol=0.02))
    result.info["triton"] = triton.__version__
    result.print()


if __name__ == "__main__":
    main()
