"""All rows, the most important first."""

from . import measure, special
from .host import SMALL
from .rows import CORRECTNESS, PERFORMANCE, Row

TORCH = ("torch",)
# Of the compiler, in each process: many start at once.
THREADS = (("TORCHINDUCTOR_COMPILE_THREADS", "4"),)
CONF = "PYTORCH_CUDA_ALLOC_CONF"


def torch_row(name, title, *words, **more):
    """A correctness row of PyTorch."""
    return Row(name, CORRECTNESS, title, (f"correctness/{words[0]}.py", *words[1:]), needs=TORCH, card=True, **more)


def conf_rows():
    """Rows that run a program under an allocator's setting, by both names of the variable."""
    settings = {"expandable": "expandable_segments:True", "async": "backend:cudaMallocAsync"}
    for name, value in settings.items():
        env = ((CONF, value), ("PYTORCH_ALLOC_CONF", value))
        yield torch_row(f"memory-{name}", f"allocations under {value}", "torch_memory", "churn", env=env)
        yield torch_row(f"train-{name}", f"training under {value}", "torch_train", "gpt", "--steps", "5", env=env)


def other_row(name, title, *words, **more):
    """A correctness row of other programs."""
    return Row(name, CORRECTNESS, title, (f"correctness/{words[0]}", *words[1:]), **more)


def rust_row(program, title, timeout_s):
    """A row of the tests in Rust."""
    return Row(
        f"rust-{program}",
        CORRECTNESS,
        title,
        (program,),
        timeout_s=timeout_s,
        alone=True,
        card=True,
        procedure=special.rust_tests,
    )


def program_row(name, title, source, *words, **more):
    """A row of a program of the end-to-end tests, which checks its own results."""
    return Row(name, CORRECTNESS, title, (f"../../tests/programs/{source}", *words), plain=True, **more)


CORRECT = (
    program_row("driver-api", "driver API: what it does and refuses", "driver.c", "saxpy.ptx"),
    # The driver itself answers some of it with a crash.
    program_row("misuse", "misuse that vgpu answers with errors", "misuse.c", "saxpy.ptx", native=False),
    program_row("runtime", "a program of nvcc: kernels, streams, events, managed memory", "runtime.cu"),
    torch_row("hello", "first tensor, device properties", "torch_basic", "hello"),
    torch_row("matmul", "matrix products, fp32, bf16, fp16, fp64", "torch_basic", "matmul"),
    torch_row("misc", "pinned copies, events, sort, FFT, SVD, solve, sparse", "torch_basic", "misc"),
    torch_row("train-resnet", "losses of 20 steps of ResNet-18, bf16", "torch_train", "resnet"),
    torch_row("train-gpt", "losses of 20 steps of a transformer, bf16", "torch_train", "gpt"),
    torch_row("graph", "CUDA graph: training step captured and replayed", "torch_graph", "replay"),
    torch_row("llm", "token ids of a decoder, fp16, eager and graph", "torch_llm"),
    torch_row(
        "compile", "torch.compile, forward, backward, reduce-overhead", "torch_compile", timeout_s=150, env=THREADS
    ),
    other_row(
        "jax", "JAX: jit, gradient loop, sort, FFT", "jax_programs.py", needs=("jax", "numpy"), timeout_s=90, card=True
    ),
    other_row("cupy", "CuPy: reductions, RawKernel, pools", "cupy_programs.py", needs=("cupy",), card=True),
    other_row("nvml", "NVML: the card, its memory, own processes", "nvml.py", needs=("pynvml", "torch"), card=True),
    torch_row("triton", "Triton kernels", "triton_kernels"),
    other_row("printf", "what kernels print", "output.c", "print", procedure=special.kernel_output),
    other_row("assert", "what a failed assertion says", "output.c", "assert", procedure=special.kernel_output),
    other_row("flag", "a kernel spins on a pinned word, driver API", "pinned_flag.c", timeout_s=30),
    torch_row("graph-streams", "CUDA graphs with several streams", "torch_graph", "streams"),
    torch_row("two-processes", "two PyTorch processes at once", "torch_train", "gpt", together=2),
    *conf_rows(),
    torch_row("dataloader", "pinned DataLoader, forked workers", "torch_data"),
    torch_row("profiler", "torch.profiler", "torch_profiler"),
    torch_row("assertion", "an index out of range in PyTorch", "torch_fault", "assert"),
    torch_row("out-of-memory", "out of memory, then on", "torch_memory", "exhaust", tenant=SMALL),
    torch_row(
        "wild", "an illegal access beside a neighbour", "torch_fault", "wild", procedure=special.beside_neighbour
    ),
    torch_row("timing", "event times within 5 % of native", "torch_timing", alone=True),
    torch_row(
        "ctrl-c", "Ctrl-C leaves nothing behind", "torch_endless", "loop", alone=True, procedure=special.interrupted
    ),
    torch_row(
        "ctrl-c-spin",
        "the same in an endless kernel",
        "torch_endless",
        "spin",
        alone=True,
        procedure=special.interrupted,
    ),
    rust_row("cuda_gpu", "device/cuda on the card, in Rust", 150),
    rust_row("cuda", "host, worker and card, in Rust", 150),
    rust_row("conformance_cuda", "conformance suite on the card, in Rust", 240),
    other_row(
        "sessions",
        "sessions opened and closed",
        "sessions.c",
        timeout_s=420,
        alone=True,
        procedure=special.many_sessions,
    ),
)


def performance_row(name, title, *words, timeout_s=120.0, needs=TORCH, **more):
    """A performance row; all of them run alone."""
    return Row(name, PERFORMANCE, title, (f"rows/{words[0]}", *words[1:]), timeout_s=timeout_s, needs=needs, **more)


PERFORM = (
    performance_row("calls", "launches, synchronisation, events, allocation", "calls.c", needs=()),
    performance_row("decode-eager", "1.1 B decoder, batch 1, eager", "decode.py", "eager", card=True),
    performance_row("train-resnet50", "ResNet-50 training, bf16, batch 64", "train.py", "resnet50", card=True),
    performance_row("copies", "copies of 4 KiB to 1 GiB", "copies.c", needs=()),
    performance_row(
        "first-call", "exec to the first allocation", "first_call.c", needs=(), procedure=measure.first_call
    ),
    performance_row("first-tensor", "PyTorch's first tensor", "first_tensor.py", card=True),
    performance_row("train-gpt2", "GPT-2 size training, bf16, 8 x 512", "train.py", "gpt2", card=True),
    performance_row("decode-graph", "1.1 B decoder, batch 1, CUDA graph", "decode.py", "graph", card=True),
    performance_row(
        "context-idle",
        "memory of an idle context",
        "hold.c",
        "idle",
        needs=(),
        card=True,
        procedure=measure.context_memory,
    ),
    performance_row(
        "context-resnet",
        "memory of a context after a ResNet step",
        "hold_resnet.py",
        "after a ResNet step",
        card=True,
        procedure=measure.context_memory,
    ),
    performance_row("jax-step", "JAX training step", "jax_step.py", needs=("jax",), card=True),
    performance_row("cupy-loop", "small CuPy operations", "cupy_loop.py", needs=("cupy",), card=True),
    performance_row(
        "train-compile", "torch.compile training", "train.py", "compile", timeout_s=200.0, card=True, env=THREADS
    ),
)

ROWS = CORRECT + PERFORM
