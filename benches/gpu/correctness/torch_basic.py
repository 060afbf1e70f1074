"""PyTorch piece by piece: torch_basic.py hello|matmul|misc."""

import sys

from workload import DEVICE, Result, digest, seeded


def hello(torch, result):
    """The first tensor, and what PyTorch says of the device."""
    x = torch.arange(1000, device=DEVICE, dtype=torch.float32)
    result.exact["sum"] = x.sum().item().hex()
    result.exact["squares"] = digest(x * x)
    if DEVICE == "cuda":
        properties = torch.cuda.get_device_properties(0)
        names = (
            "name",
            "major",
            "minor",
            "multi_processor_count",
            "warp_size",
            "L2_cache_size",
            "max_threads_per_multi_processor",
            "shared_memory_per_block_optin",
            "regs_per_multiprocessor",
        )
        result.exact["properties"] = {name: getattr(properties, name) for name in names if hasattr(properties, name)}
        result.exact["device_count"] = torch.cuda.device_count()
        result.exact["bf16"] = torch.cuda.is_bf16_supported()
        result.info["memory_bytes"] = properties.total_memory
        result.info["memory_free_and_total"] = torch.cuda.mem_get_info()
    result.info["torch"] = torch.__version__


def matmul(torch, result):
    """Matrix products of several types and shapes."""
    for kind in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        for n in (64, 1000, 2048):
            a, b = torch.randn(n, n, device=DEVICE).to(kind), torch.randn(n, n, device=DEVICE).to(kind)
            result.exact[f"{kind}_{n}"] = digest(a @ b)
    a = torch.randn(16, 128, 96, device=DEVICE, dtype=torch.bfloat16)
    result.exact["batched"] = digest(torch.bmm(a, a.transpose(1, 2)))
    result.exact["linear"] = digest(torch.nn.functional.linear(a, a[0, :64], a[0, 0, :64]))


def copies(torch, result):
    """Pinned and pageable copies, on a stream of their own."""
    pageable = torch.randn(1 << 20)
    pinned = pageable.pin_memory() if DEVICE == "cuda" else pageable.clone()
    result.exact["pageable"] = digest(pageable.to(DEVICE) + 1)
    if DEVICE != "cuda":
        return
    stream, event = torch.cuda.Stream(), torch.cuda.Event()
    with torch.cuda.stream(stream):
        there = pinned.to(DEVICE, non_blocking=True)
        there.mul_(2)
        back = torch.empty_like(pinned, pin_memory=True).copy_(there, non_blocking=True)
        event.record()
    event.synchronize()
    result.exact["pinned"] = digest(back)
    result.holds["event_is_done"] = event.query()
    result.holds["is_pinned"] = pinned.is_pinned() and not pageable.is_pinned()
    strided = torch.randn(64, 64)[::2, ::3]
    result.exact["strided"] = digest(strided.to(DEVICE))


def sorting(torch, result):
    """Sort, top-k, unique, random permutation, histogram, masked selection."""
    x = torch.randint(0, 1 << 30, (1 << 20,), device=DEVICE)
    result.exact["sort"] = digest(torch.sort(x).values)
    result.exact["argsort"] = digest(torch.argsort(x, stable=True))
    result.exact["topk"] = digest(torch.topk(x.float(), 100).values)
    result.exact["unique"] = digest(torch.unique(x % 1000))
    result.exact["bincount"] = digest(torch.bincount(x % 256))
    result.exact["masked"] = digest(x[x % 3 == 0])
    result.exact["cumsum"] = digest(torch.cumsum(x, 0))
    result.exact["permutation"] = digest(torch.randperm(10000, device=DEVICE))


def algebra(torch, result):
    """FFT, SVD, QR, Cholesky, eigenvalues, solve: cuFFT and cuSOLVER."""
    x = torch.randn(512, 512, device=DEVICE)
    result.exact["fft"] = digest(torch.view_as_real(torch.fft.fft2(x)))
    result.exact["rfft"] = digest(torch.view_as_real(torch.fft.rfft(x)))
    small = torch.randn(128, 128, device=DEVICE)
    symmetric = small @ small.T + 128 * torch.eye(128, device=DEVICE)
    result.exact["svd"] = digest(torch.linalg.svdvals(small))
    result.exact["qr"] = digest(torch.linalg.qr(small).R)
    result.exact["cholesky"] = digest(torch.linalg.cholesky(symmetric))
    result.exact["eigenvalues"] = digest(torch.linalg.eigvalsh(symmetric))
    result.exact["solve"] = digest(torch.linalg.solve(symmetric, small))
    result.exact["inverse"] = digest(torch.linalg.inv(symmetric))


def sparse(torch, result):
    """Products of sparse matrices: cuSPARSE."""
    dense = torch.randn(256, 256, device=DEVICE)
    dense[dense.abs() < 1.5] = 0
    other = torch.randn(256, 64, device=DEVICE)
    rows = dense.to_sparse_csr()
    result.exact["csr"] = digest(rows @ other)
    result.exact["csr_values"] = digest(rows.values())
    result.close["coo"] = [float((dense.to_sparse_coo().coalesce() @ other).double().norm()), 1e-5]


def misc(torch, result):
    """What programs use besides matrices."""
    for part in (copies, sorting, algebra, sparse):
        try:
            part(torch, result)
        except Exception as error:  # One library that fails must not hide what the others do.
            result.holds[part.__name__] = False
            result.info[f"{part.__name__}_error"] = f"{type(error).__name__}: {error}"[:600]
    grid = torch.randn(2, 8, 64, 64, device=DEVICE)
    result.exact["interpolate"] = digest(torch.nn.functional.interpolate(grid, scale_factor=2, mode="nearest"))
    result.exact["softmax"] = digest(torch.softmax(grid, -1))
    result.exact["reduce"] = digest(grid.var((0, 2, 3)))
    result.exact["random"] = digest(torch.randn(1000, device=DEVICE))


if __name__ == "__main__":
    outcome = Result()
    {"hello": hello, "matmul": matmul, "misc": misc}[sys.argv[1]](seeded(), outcome)
    outcome.print()
