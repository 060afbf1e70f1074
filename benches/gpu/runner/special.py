"""Rows that need more than two runs side by side: neighbours, interrupts, many sessions, output, tests in Rust."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

from . import facts, process, report
from .guest import NATIVE, VGPU, failure, record
from .host import BENCH, NEIGHBOUR
from .rows import judged, one

READY_S = 45.0
# Between the signal and the end of a program that obeys.
OBEY_S = 10.0
# What the kernels of `printf_assert.cu` say.
OF_KERNELS = re.compile("^thread |^no arguments|Assertion")
# What cargo adds to the name of a test program.
CARGO_HASH = "(-[0-9a-f]{16})?"


def until_line(child, wanted, timeout_s):
    """Reads a program's output until a line says `wanted`; False where it ends or falls silent first."""
    deadline = time.monotonic() + timeout_s
    os.set_blocking(child.stdout.fileno(), False)
    seen = ""
    while time.monotonic() < deadline:
        try:
            seen += child.stdout.read() or ""
        except (BlockingIOError, TypeError):
            pass
        if wanted in seen.splitlines():
            os.set_blocking(child.stdout.fileno(), True)
            return True
        if child.poll() is not None:
            break
        time.sleep(0.02)
    os.set_blocking(child.stdout.fileno(), True)
    return False


def beside_neighbour(bench, row):
    """A guest that faults, compared with native, while a neighbour of another tenant must go on undisturbed."""
    before = [one(bench, row, NATIVE)] if NATIVE in bench.modes else []
    words = bench.words(("correctness/torch_fault.py", "neighbour"))
    other = bench.guests.start(VGPU, words, (), bench.host, NEIGHBOUR, stdin=subprocess.PIPE)
    begin = time.monotonic()
    if not until_line(other, "running", READY_S):
        process.signal_group(other, signal.SIGABRT)
        done = process.finish(other, OBEY_S)
        entries = [*before, record(VGPU, done, host=bench.host)]
        return {"entries": entries, "status": report.FAILED, "reason": "the neighbour did not start to work"}
    guest = one(bench, row, VGPU)
    # Time for the neighbour to meet what the fault did.
    time.sleep(1.0)
    done = process.finish(other, OBEY_S + READY_S)
    done.seconds = time.monotonic() - begin
    neighbour = record(VGPU, done, OBEY_S + READY_S, bench.host)
    outcome = judged(bench, row, [*before, guest])
    outcome["neighbour"] = neighbour
    wrong = failure(neighbour) or next(
        (f"{name}: not so" for name, holds in neighbour["result"].get("holds", {}).items() if not holds), None
    )
    if wrong:
        outcome["status"] = report.DIFFERENT
        outcome.setdefault("differences", []).append(f"neighbour: {wrong}")
    return outcome


def interrupted(bench, row):
    """Ctrl-C: a signal to the program's whole group, as a terminal sends it; then nothing may be left."""
    entries, differences, info = [], [], {}
    for mode in bench.modes:
        host = bench.host if mode == VGPU else None
        child = bench.guests.start(mode, bench.words(row.words), row.env, host, BENCH)
        begin = time.monotonic()
        ready = until_line(child, "running", READY_S)
        workers = [session["worker_pid"] for session in host.sessions()] if host else []
        process.signal_group(child, signal.SIGINT)
        # The end is that of the whole group: it comes once nobody holds the output any more.
        done = process.finish(child, OBEY_S)
        info[f"{mode}_ended_by"] = "SIGKILL" if done.timed_out else "SIGINT"
        done.seconds = time.monotonic() - begin
        entry = record(mode, done)
        entries.append(entry)
        if not ready:
            reason = f"{mode}: it did not start to work: {failure(entry)}"
            status = report.NATIVE_FAILED if mode == NATIVE else report.FAILED
            return {"entries": entries, "status": status, "reason": reason}
        if host:
            differences += left_behind(host, workers)
    # Natively a program in an endless kernel may not end either.
    if info["vgpu_ended_by"] == "SIGKILL" and info.get("native_ended_by") != "SIGKILL":
        differences.append("SIGINT does not end the guest")
    status = report.DIFFERENT if differences else report.SAME
    return {"entries": entries, "differences": differences, "info": info, "status": status}


def left_behind(host, workers):
    """What sessions left after their guests ended, as lines."""
    found = []
    if not workers:
        found.append("the host told of no session while the guest ran")
    if not host.is_empty_soon():
        found.append(f"sessions are left: {host.sessions()}")
    alive = [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    if alive:
        found.append(f"workers are left: {alive}")
    on_gpu = [pid for pid in workers if pid in (facts.processes_on_gpu() or {})]
    if on_gpu:
        found.append(f"nvidia-smi lists workers that ended: {on_gpu}")
    tenant = host.tenant(BENCH)
    for key in ("memory_lent_bytes", "pinned_lent_bytes", "sessions"):
        if tenant.get(key):
            found.append(f"{key} of the tenant is {tenant[key]}")
    return found


def many_sessions(bench, row):
    """Opens and closes sessions; the host counts them, loses no worker and ends with none."""
    before = bench.host.tenant(BENCH)
    entry = bench.guests.run(
        VGPU, bench.words(row.words + (str(bench.options.sessions),)), row.timeout_s, row.env, bench.host, BENCH
    )
    outcome = {"entries": [entry]}
    if failure(entry):
        return {**outcome, "status": report.FAILED, "reason": failure(entry)}
    differences = [] if bench.host.is_empty_soon() else ["sessions are left"]
    after = bench.host.tenant(BENCH)
    opened = after.get("opened", 0) - before.get("opened", 0)
    if opened < bench.options.sessions:
        differences.append(f"the host counts {opened} sessions, not {bench.options.sessions}")
    for key in ("memory_lent_bytes", "pinned_lent_bytes"):
        if after.get(key):
            differences.append(f"{key} is {after[key]} afterwards")
    if after.get("workers_lost") != before.get("workers_lost"):
        differences.append(f"workers lost: {before.get('workers_lost')} before, {after.get('workers_lost')} after")
    status = report.DIFFERENT if differences else report.SAME
    return {**outcome, "differences": differences, "status": status}


def kernel_output(bench, row):
    """What kernels print, and what a failed assertion says, is the guest's own output as it is natively."""
    entries = []
    for mode in bench.modes:
        host = bench.host if mode == VGPU else None
        words = bench.words(row.words)
        done = process.finish(bench.guests.start(mode, words, row.env, host, BENCH), row.timeout_s)
        entry = record(mode, done, row.timeout_s, host)
        if entry["result"] is not None:
            # The order of lines of different threads is no promise.
            texts = {"stdout": done.stdout, "stderr": done.stderr}
            said = {name: sorted(filter(OF_KERNELS.search, text.splitlines())) for name, text in texts.items()}
            entry["result"].setdefault("exact", {}).update(said)
            entry["result"].setdefault("holds", {})["kernels_are_heard"] = any(said.values())
        entries.append(entry)
    return judged(bench, row, entries)


def rust_tests(bench, row):
    """The tests in Rust that need a card, where their programs lie beside the binaries."""
    name = re.compile(re.escape(row.words[0]) + CARGO_HASH)
    files = sorted(Path(bench.options.bin_dir).iterdir())
    programs = [path for path in files if name.fullmatch(path.name) and os.access(path, os.X_OK)]
    if not programs:
        reason = f"no test program {row.words[0]} in VGPU_BIN_DIR"
        return {"entries": [], "status": report.SKIPPED, "reason": reason}
    env = bench.guests.env(NATIVE, row.env)
    env["VGPU_BIN_DIR"] = str(bench.options.bin_dir)
    command = [str(programs[0]), "--ignored", "gpu::", "--test-threads=1"]
    done = process.run(command, env, str(bench.guests.work), row.timeout_s)
    total = re.search(r"test result: .*", done.stdout)
    failed = re.findall(r"^test (\S+) \.\.\. FAILED", done.stdout, re.M)
    entry = {
        "mode": VGPU,
        "rc": done.rc,
        "seconds": round(done.seconds, 2),
        "summary": total.group(0) if total else None,
    }
    if done.rc == 0:
        return {"entries": [entry], "status": report.SAME, "reason": entry["summary"]}
    entry.update({"stdout_tail": process.tail(done.stdout, 12000), "stderr_tail": process.tail(done.stderr)})
    reason = f"failed: {', '.join(failed)}" if failed else f"exit {done.rc}, timed out: {done.timed_out}"
    return {"entries": [entry], "status": report.FAILED, "reason": reason}
