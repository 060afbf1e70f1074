"""Rows that measure what one program by itself cannot: the first call of a process, and memory of the whole card."""

import subprocess
import time

from . import facts, process, report
from .guest import VGPU, failure, record
from .host import HostError
from .rows import joined, one
from .special import until_line

# Processes of one measurement.
PROCESSES = "6"
# For a spare to be ready again: the driver takes less than half a second.
PAUSE_MS = "1500"
READY_S = 60.0
# For the card's figures to follow.
SETTLE_S = 0.5
MIB = 1 << 20


def first_call(bench, row):
    """The first call of a process: with hosts that keep no worker ready, and one."""
    entries, reasons = [], []
    for name, spares, pause in (("no spare", 0, "0"), ("warm spare", 1, PAUSE_MS)):
        try:
            host = bench.start_host((f"spares = {spares}",))
        except HostError as error:
            reasons.append(f"{name}: {error}")
            continue
        try:
            for _ in range(bench.options.turns):
                for mode in bench.modes:
                    # A native process has no host that prepares for it.
                    words = (PROCESSES, pause if mode == VGPU else "0", f"first call, {name}")
                    entries.append(one(bench, row, mode, words, host))
        finally:
            host.stop()
    return with_reasons(joined(entries), reasons)


def with_reasons(outcome, reasons):
    """An outcome to which reasons were added."""
    if reasons:
        outcome["status"] = report.FAILED
        outcome["reason"] = "; ".join(filter(None, [outcome.get("reason"), *reasons]))
    return outcome


def context_memory(bench, row):
    """Memory of the card that a program's context takes, less what the program itself holds."""
    entries, reasons = [], []
    # No worker that waits may be counted.
    host = bench.start_host(("spares = 0",))
    try:
        # One turn: the driver's bookkeeping does not vary.
        for mode in bench.modes:
            entry, reason = held(bench, row, mode, host)
            entries.append(entry)
            reasons += [reason] if reason else []
    finally:
        host.stop()
    return with_reasons(joined(entries), reasons)


def held(bench, row, mode, host):
    """The record of one program that holds a context while it is looked at, and what went wrong."""
    before = facts.memory_used_bytes()
    child = bench.guests.start(
        mode, bench.words(row.words), row.env, host if mode == VGPU else None, row.tenant, stdin=subprocess.PIPE
    )
    begin = time.monotonic()
    ready = until_line(child, "running", READY_S)
    time.sleep(SETTLE_S)
    after = facts.memory_used_bytes()
    pid = child.pid
    if mode == VGPU:
        pid = next((session["worker_pid"] for session in host.sessions()), None)
    by_process = (facts.processes_on_gpu() or {}).get(pid)
    done = process.finish(child, READY_S)
    done.seconds = time.monotonic() - begin
    entry = record(mode, done, READY_S, host if mode == VGPU else None)
    if failure(entry) or not ready:
        return entry, failure(entry) or f"{mode}: it did not say that it runs"
    if before is None or after is None:
        return entry, f"{mode}: nvidia-smi does not tell the memory in use"
    reserved = entry["result"].get("info", {}).get("reserved_bytes", 0)
    # What nvidia-smi tells of a process is preferred: other users of the card do not change it.
    used = by_process if by_process is not None else after - before
    entry["memory"] = {"of_process": by_process, "of_card": after - before, "reserved": reserved}
    entry["result"]["figures"] = {f"context memory, {row.words[-1]}": {"value": (used - reserved) / MIB, "unit": "MiB"}}
    return entry, None
