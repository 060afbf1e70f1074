"""PyTorch's allocators and their limits: torch_memory.py churn|exhaust [--most-bytes N].

`churn` allocates and frees on several streams, under whatever PYTORCH_CUDA_ALLOC_CONF says. `exhaust` runs out of
memory and goes on; `--most-bytes` ends its filling where no quota does.
"""

import argparse
import os

from workload import MODE, Result, digest, seeded

BLOCK_BYTES = 256 << 20


def churn(torch, result):
    """Blocks of many sizes on two streams; every block keeps what was written to it."""
    generator = torch.Generator().manual_seed(3)
    side = torch.cuda.Stream()
    kept, total = [], torch.zeros((), dtype=torch.float64, device="cuda")
    for turn in range(200):
        size = int(torch.randint(1, 1 << 22, (1,), generator=generator))
        if turn % 3 == 0:
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                block = torch.full((size,), float(turn), device="cuda")
            torch.cuda.current_stream().wait_stream(side)
            block.record_stream(torch.cuda.current_stream())
        else:
            block = torch.full((size,), float(turn), device="cuda")
        kept.append((turn, block))
        if len(kept) > 12:
            at = int(torch.randint(0, len(kept), (1,), generator=generator))
            written, old = kept.pop(at)
            total += old.double().mean() * (written + 1)
    result.exact["total"] = total.item().hex()
    result.exact["kept"] = digest(torch.stack([block.double().mean() for _, block in kept]))
    big = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    big.fill_(7)
    result.exact["big"] = int(big[::4096].long().sum())
    del big, kept
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    result.exact["allocated_after"] = torch.cuda.memory_allocated() // (1 << 20)
    result.exact["backend"] = torch.cuda.get_allocator_backend()
    result.info["reserved_after"] = torch.cuda.memory_reserved()
    conf = os.environ.get("PYTORCH_ALLOC_CONF") or os.environ.get("PYTORCH_CUDA_ALLOC_CONF", "")
    if "expandable" in conf:
        result.info["segments_expandable"] = any(
            segment.get("is_expandable") for segment in torch.cuda.memory_snapshot()
        )


def out_of_memory(torch, act):
    """Whether this raises what programs catch, and how it reads without its figures."""
    try:
        act()
    except torch.cuda.OutOfMemoryError as error:
        return str(error).split(".")[0]
    return None


def exhaust(torch, result, most_bytes):
    """An allocation that no card holds, then filling up to the quota, then work as before."""
    total = torch.cuda.get_device_properties(0).total_memory
    said = out_of_memory(torch, lambda: torch.empty(total + (1 << 30), dtype=torch.uint8, device="cuda"))
    result.exact["said"] = said
    result.holds["too_large_is_out_of_memory"] = said is not None
    blocks = []

    def fill():
        while len(blocks) * BLOCK_BYTES < most_bytes:
            blocks.append(torch.ones(BLOCK_BYTES, dtype=torch.uint8, device="cuda"))

    filled = out_of_memory(torch, fill)
    result.info["filled_blocks"] = len(blocks)
    result.info["filled_said"] = filled
    # Natively the card may have more than is worth filling; a quota must be met.
    result.holds["quota_is_out_of_memory"] = filled is not None or MODE == "native"
    if blocks:
        result.holds["blocks_kept"] = all(int(block[::65536].long().sum()) == BLOCK_BYTES // 65536 for block in blocks)
    blocks.clear()
    torch.cuda.empty_cache()
    x = torch.randn(1024, 1024, device="cuda")
    result.exact["goes_on"] = digest(x @ x)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("check", choices=("churn", "exhaust"))
    parser.add_argument("--most-bytes", type=int, default=8 << 30)
    options = parser.parse_args()
    outcome = Result()
    if options.check == "churn":
        churn(seeded(), outcome)
    else:
        exhaust(seeded(), outcome, options.most_bytes)
    outcome.print()
