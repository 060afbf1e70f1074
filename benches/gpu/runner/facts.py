"""What a run was measured on."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time

from .guest import ROOT

QUERY = "name,driver_version,memory.total,uuid,pcie.link.gen.current,pcie.link.width.current,addressing_mode"
QUERY_PLAIN = "name,driver_version,memory.total,uuid"
PACKAGES = (
    "torch",
    "triton",
    "jax",
    "jaxlib",
    "cupy-cuda13x",
    "cupy-cuda12x",
    "numpy",
    "nvidia-cudnn-cu13",
    "nvidia-cublas",
    "nvidia-cuda-runtime",
    "nvidia-nccl-cu13",
    "nvidia-ml-py",
)
ASK_S = 20.0


def said(command, **options):
    """What a command printed, or None."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_S, **options)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def first_match(path, pattern):
    """The first group of a pattern in a file, or None."""
    try:
        with open(path, errors="replace") as file:
            found = re.search(pattern, file.read(), re.M)
    except OSError:
        return None
    return found.group(1).strip() if found else None


def gpu():
    """The first card as nvidia-smi tells it, or None."""
    for query in (QUERY, QUERY_PLAIN):
        text = said(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"])
        if text:
            return dict(zip(query.split(","), (value.strip() for value in text.splitlines()[0].split(","))))
    return None


def memory_used_bytes():
    """Memory in use on the first card, or None."""
    text = said(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"])
    return int(text.splitlines()[0]) << 20 if text else None


def processes_on_gpu():
    """Pids of compute processes as nvidia-smi lists them, with their memory in bytes; None where it cannot tell."""
    text = said(["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"])
    if text is None:
        return None
    rows = (line.split(",") for line in text.splitlines() if "," in line)
    return {int(pid): int(used) << 20 if used.strip().isdigit() else None for pid, used in rows}


def nvcc():
    """NVIDIA's compiler, or None."""
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    return shutil.which("nvcc") or shutil.which(os.path.join(home, "bin", "nvcc"))


def packages(python):
    """Versions of the Python packages that the workloads use."""
    code = (
        "import json, importlib.metadata as m\nfound = {}\n"
        f"for name in {PACKAGES!r}:\n"
        "    try: found[name] = m.version(name)\n"
        "    except m.PackageNotFoundError: pass\n"
        "print(json.dumps(found))"
    )
    text = said([python or sys.executable, "-c", code])
    return json.loads(text) if text else {}


def machine(options):
    """The facts, ready for JSON. What cannot be found out is null."""
    compiler = nvcc()
    version = said([compiler, "--version"]) if compiler else None
    status = said(["git", "status", "--porcelain", "--untracked-files=no"], cwd=ROOT)
    host = said([str(options.bin_dir / "vgpu-host"), "--version"]) if options.bin_dir else None
    smi = said(["nvidia-smi"]) or ""
    cuda = re.search(r"CUDA Version:\s*([\d.]+)", smi)
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "gpu": gpu(),
        "cuda_of_driver": cuda.group(1) if cuda else None,
        "nvcc": version.splitlines()[-1] if version else None,
        "cpu": first_match("/proc/cpuinfo", r"^model name\s*:\s*(.*)$"),
        "cores": os.cpu_count(),
        "hypervisor": bool(first_match("/proc/cpuinfo", r"^flags\s*:.*\b(hypervisor)\b")),
        "memory_kib": first_match("/proc/meminfo", r"^MemTotal:\s*(\d+)"),
        "kernel": platform.release(),
        "load": first_match("/proc/loadavg", r"^(.*)$"),
        "python": platform.python_version(),
        "packages": packages(options.python),
        "vgpu": host,
        "revision": said(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT),
        "modified": bool(status) if status is not None else None,
        "device": options.device,
    }


def has_modules(python, names):
    """Whether Python finds these modules, without importing them."""
    code = f"import importlib.util as u, sys; sys.exit(not all(u.find_spec(n) for n in {list(names)!r}))"
    return said([python or sys.executable, "-c", code]) is not None
