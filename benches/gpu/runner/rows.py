"""What a row is, and how the two common kinds are run."""

import concurrent.futures
from dataclasses import dataclass, field
from typing import Callable, Optional, Tuple

from . import compare, figures, report
from .guest import NATIVE, VGPU, failure
from .host import BENCH

CORRECTNESS, PERFORMANCE = "correctness", "performance"


@dataclass(frozen=True)
class Row:
    """One row: what to run, what it needs, and how it is judged."""

    name: str
    group: str
    title: str
    # Program and arguments; `.py` files run with Python, `.c` and `.cu` files are compiled first.
    words: Tuple[str, ...] = ()
    timeout_s: float = 60.0
    # Python modules without which the row is skipped.
    needs: Tuple[str, ...] = ()
    env: Tuple[Tuple[str, str], ...] = ()
    # Guests at once, each compared with the native run.
    together: int = 1
    # Nothing else runs meanwhile: the row measures time or looks at the whole card.
    alone: bool = False
    tenant: str = BENCH
    # The program prints no result: it checks everything itself and ends with 0.
    plain: bool = False
    # There is a native run to compare with.
    native: bool = True
    # Needs a card: the software GPU cannot run it.
    card: bool = False
    # In place of the common way: a function of the bench and the row that returns an outcome.
    procedure: Optional[Callable] = field(default=None, compare=False)


def run_row(bench, row):
    """Runs a row and returns its outcome."""
    if row.procedure:
        return row.procedure(bench, row)
    return compared(bench, row) if row.group == CORRECTNESS else measured(bench, row)


def one(bench, row, mode, more_words=(), host=None):
    """One run of a row's program; guests use the common host unless another is named."""
    words = bench.words(row.words + tuple(more_words))
    host = (host or bench.host) if mode == VGPU else None
    entry = bench.guests.run(mode, words, row.timeout_s, row.env, host, row.tenant)
    if row.plain and entry["rc"] == 0:
        entry["result"] = {}
    if mode == VGPU and bench.options.diagnose and failure(entry):
        entry["diagnosis"] = bench.guests.diagnosis(words, row.timeout_s, row.env, host, row.tenant)
    return entry


def compared(bench, row):
    """Runs natively and as a guest, at the same time unless the row runs alone, and compares the results."""
    modes = (bench.modes[:-1] if row.native else []) + [VGPU] * row.together
    entries = [None] * len(modes)

    def fill(at):
        entries[at] = one(bench, row, modes[at])

    if row.alone:
        for at in range(len(modes)):
            fill(at)
    else:
        together(fill, len(modes))
    return judged(bench, row, entries)


def together(act, count):
    """Calls `act(0)` to `act(count - 1)` at the same time and waits for all."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        # What one of them raises is raised here.
        list(pool.map(act, range(count)))


def judged(bench, row, entries):
    """The outcome of one native run and of guests that are to equal it."""
    outcome = {"entries": entries}
    native = next((entry for entry in entries if entry["mode"] == NATIVE), None)
    guests = [entry for entry in entries if entry["mode"] == VGPU]
    reasons = [reason for reason in map(failure, guests) if reason]
    if native and failure(native):
        return {**outcome, "status": report.NATIVE_FAILED, "reason": "; ".join([failure(native), *reasons])}
    if reasons:
        return {**outcome, "status": report.FAILED, "reason": "; ".join(reasons)}
    expected = native["result"] if native else {}
    found = [pair for guest in guests for pair in compare.differences(expected, guest["result"])]
    if found and native:
        # Before vgpu is blamed, see whether native CUDA agrees with itself.
        again = one(bench, row, NATIVE)
        if not failure(again):
            shaky = compare.unstable(native["result"], again["result"])
            outcome["unstable"] = sorted(shaky)
            found = [(name, line) for name, line in found if name not in shaky]
    if found and native and bench.options.diagnose:
        # What is right with every call waited for, and wrong without, is a matter of order.
        calm = bench.guests.run(
            VGPU, bench.words(row.words), row.timeout_s, (*row.env, ("VGPU_SYNC", "1")), bench.host, row.tenant
        )
        outcome["differences_with_sync"] = failure(calm) or [
            line for _, line in compare.differences(expected, calm["result"])
        ]
    outcome["differences"] = [line for _, line in found]
    return {**outcome, "status": report.DIFFERENT if found else report.SAME}


def measured(bench, row):
    """Runs natively and as a guest in turns and joins the figures."""
    entries = []
    for _ in range(bench.options.turns):
        for mode in bench.modes:
            entries.append(one(bench, row, mode))
            if failure(entries[-1]):
                bench.say(f"{row.name}: {failure(entries[-1])}")
        # A side that cannot run at all will not run at its next turn.
        if all(failure(entry) for entry in entries[-len(bench.modes) :]):
            break
    return joined(entries)


def joined(entries):
    """The outcome of runs that measured."""
    runs = {mode: [e["result"] for e in entries if e["mode"] == mode and not failure(e)] for mode in (NATIVE, VGPU)}
    reasons = sorted({failure(entry) for entry in entries if failure(entry)})
    outcome = {"entries": entries, "figures": figures.joined(runs[NATIVE], runs[VGPU])}
    if reasons:
        guest_failed = any(entry["mode"] == VGPU and failure(entry) for entry in entries)
        status = report.FAILED if guest_failed else report.NATIVE_FAILED
        return {**outcome, "status": status, "reason": "; ".join(reasons)}
    return {**outcome, "status": report.MEASURED}
