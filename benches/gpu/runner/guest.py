"""Programs, run natively and as guests: the environment of both, and what is kept of a run."""

import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

from . import process

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT.parent.parent / "vgpu-core" / "fixtures"
NATIVE, VGPU = "native", "vgpu"
MODES = (NATIVE, VGPU)
# Caches of compiled kernels, one folder each for native and vgpu: neither side may profit from the other's work.
CACHES = ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "CUPY_CACHE_DIR", "CUDA_CACHE_PATH")
# As Python prints the exception that ends a program.
EXCEPTION = re.compile(r"^[\w.]+(Error|Exception|Interrupt)\b")
# As the shim logs what a call answered, where that is neither success nor "not ready".
ERROR_OF_CALL = re.compile(r"^vgpu: \w+ = (?!600\b)\d+ ")
# Calls that PyTorch makes before all others and that tell nothing.
QUIET = re.compile(
    r"^vgpu: +(cuCtxGetDevice(_v2)?|cuCtxGetCurrent|cuDevicePrimaryCtxGetState|table function storage_get)\b"
)
CALLS_KEPT = 80
DIAGNOSIS_S = 60.0
TRACE_LINES = 200
TAIL_LINES_OF_SHIM = 40


class Guests:
    """How to start a program on either side."""

    def __init__(self, options, work):
        self.options = options
        self.work = Path(work)
        self.fixtures = Path(os.environ.get("VGPU_FIXTURE_DIR", FIXTURES)).resolve()

    def temporary(self, mode):
        """The folder of temporary files of one side, so that what is left behind is seen, and removed at the end."""
        folder = self.work / f"tmp-{mode}"
        folder.mkdir(exist_ok=True)
        return folder

    def env(self, mode, more=(), host=None, tenant=None):
        """The environment of a program."""
        env = dict(os.environ)
        for name in ("VGPU_SOCKET", "VGPU_LOG"):
            env.pop(name, None)
        env.update(
            {
                "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT / "lib"), env.get("PYTHONPATH")])),
                "PYTHONFAULTHANDLER": "1",
                "PYTHONUNBUFFERED": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
                "VGPU_FIXTURE_DIR": str(self.fixtures),
                "TMPDIR": str(self.temporary(mode)),
                "VGPU_BENCH_MODE": mode,
            }
        )
        for name in CACHES:
            folder = self.work / "caches" / mode / name.lower()
            folder.mkdir(parents=True, exist_ok=True)
            env[name] = str(folder)
        if mode == VGPU:
            env["VGPU_SOCKET"] = host.socket(tenant)
            env["VGPU_LIB_DIR"] = str(self.options.bin_dir)
            if self.options.trace:
                env["VGPU_LOG"] = "debug"
        env.update(dict(more))
        return env

    def command(self, mode, words):
        """The command line of a program: `.py` files run with Python, others are programs that were compiled."""
        words = [str(word) for word in words]
        if words[0].endswith(".py"):
            words = [self.options.python or sys.executable, str(ROOT / words[0]), *words[1:]]
        if mode == VGPU:
            words = [str(Path(self.options.bin_dir) / "vgpu-client"), "run", "--", *words]
        return words

    def start(self, mode, words, more=(), host=None, tenant=None, **streams):
        """Starts a program."""
        env = self.env(mode, more, host, tenant)
        return process.start(self.command(mode, words), env, str(self.work), **streams)

    def run(self, mode, words, timeout_s, more=(), host=None, tenant=None):
        """Runs a program to its end and returns the record of it."""
        log_before = len(host.log()) if host else 0
        begin = time.monotonic()
        # A file, because a log of every call may be too long for memory.
        with tempfile.TemporaryFile("w+", dir=self.work, errors="replace") as messages:
            child = self.start(mode, words, more, host, tenant, stderr=messages)
            done = process.finish(child, timeout_s)
            done.seconds = time.monotonic() - begin
            done.stderr = process.end_of(messages)
        return record(mode, done, timeout_s, host, log_before, self.options.trace)

    def diagnosis(self, words, timeout_s, more, host, tenant):
        """Runs a guest that failed once more, with every call logged and waited for; returns what it called last."""
        more = (*more, ("VGPU_LOG", "debug"), ("VGPU_SYNC", "1"))
        with tempfile.TemporaryFile("w+", dir=self.work, errors="replace") as messages:
            child = self.start(VGPU, words, more, host, tenant, stderr=messages)
            done = process.finish(child, min(timeout_s, DIAGNOSIS_S))
            lines = [line for line in process.end_of(messages).splitlines() if not QUIET.match(line)]
        errors = [line for line in lines if ERROR_OF_CALL.match(line)]
        return {
            "rc": done.rc,
            "timed_out": done.timed_out,
            "calls_that_failed": errors[-CALLS_KEPT:],
            "last_lines": lines[-CALLS_KEPT:],
        }


def result_of(stdout):
    """The JSON object of the last line that is one."""
    for line in reversed(stdout.splitlines()):
        if line.startswith("{"):
            try:
                return json.loads(line)
            except ValueError:
                continue
    return None


def record(mode, done, timeout_s=None, host=None, log_before=0, trace=False):
    """What is kept of a program that ended."""
    result = result_of(done.stdout)
    entry = {"mode": mode, "rc": done.rc, "seconds": round(done.seconds, 2), "result": result}
    if done.timed_out:
        entry["timed_out_after_s"] = timeout_s
    shim = [line for line in done.stderr.splitlines() if line.startswith(("vgpu: ", "vgpu-client: "))]
    if shim and not trace:
        entry["shim_messages"] = shim[:TAIL_LINES_OF_SHIM]
    if done.rc != 0 or result is None:
        entry["stderr_tail"] = process.tail(done.stderr)
        entry["stdout_tail"] = process.tail(done.stdout, 2000)
        if host:
            entry["host_log_tail"] = process.tail(host.log()[log_before:], 4000)
    if trace and host:
        entry["trace"] = done.stderr.splitlines()[-TRACE_LINES:]
        entry["host_trace"] = host.log()[log_before:].splitlines()[-TRACE_LINES:]
    return entry


def cause(text):
    """The line of a program's messages that says most: its last exception, else its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    exceptions = [line for line in lines if EXCEPTION.match(line)]
    return (exceptions or lines or ["nothing said"])[-1][:300]


def failure(entry):
    """Why a run is of no use, in one line; None where it is."""
    if "timed_out_after_s" in entry:
        return f"{entry['mode']}: no end after {entry['timed_out_after_s']:.0f} s"
    if entry["rc"] != 0:
        return f"{entry['mode']}: exit {entry['rc']}: {cause(entry.get('stderr_tail', ''))}"
    if entry["result"] is None:
        return f"{entry['mode']}: no result printed"
    return None
