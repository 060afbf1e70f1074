"""The command line, and the order in which rows run."""

import argparse
import concurrent.futures
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

from . import facts, process, report, rows
from .guest import MODES, VGPU, Guests
from .host import SOFT_BYTES, Host, HostError
from .programs import Programs
from .table import ROWS

# A module's first import, from a disk that may be slow.
IMPORT_S = 150
# A host that failed to start so often will not start.
STARTS_MAX = 2
BINARIES = ("vgpu-host", "vgpu-client", "libvgpu_cuda.so")


class Bench:
    """What the rows share: options, the host, the programs."""

    def __init__(self, options):
        self.options = options
        self.work = Path(tempfile.mkdtemp(prefix="vgpu-bench-"))
        # Native first: a guest is compared with it.
        self.modes = [VGPU] if options.vgpu_only else list(MODES)
        self.guests = Guests(options, self.work)
        self.programs = Programs(self.work)
        self.machine = facts.machine(options)
        self.host = None
        self.lock = threading.Lock()
        self.restarts = 0
        self.start_failures = []
        self.found = {}

    def say(self, line):
        """A line of progress."""
        print(f"[{time.monotonic() - self.options.begin:6.1f} s] {line}", file=sys.stderr, flush=True)

    def card_bytes(self):
        """Memory that the host may lend."""
        if self.options.device == "soft":
            return SOFT_BYTES
        gpu = self.machine.get("gpu") or {}
        total_mib = gpu.get("memory.total", "")
        # What the driver keeps for itself is no tenant's.
        return int(int(total_mib) * 0.95) << 20 if total_mib.isdigit() else 16 << 30

    def start_host(self, gpu_lines=()):
        """Starts a host for this device."""
        options = self.options
        return Host(options.bin_dir, options.device, self.card_bytes(), options.trace, gpu_lines)

    def ensure_host(self):
        """The host, started anew where a row before this one ended it."""
        with self.lock:
            # A second question: a host that is busy may miss the first.
            if self.host and (self.host.answers() or self.host.answers()):
                return
            if len(self.start_failures) >= STARTS_MAX:
                raise self.start_failures[-1]
            if self.host:
                self.restarts += 1
                self.say("the host no longer answers; starting another")
                self.host.stop()
            self.host = None
            try:
                self.host = self.start_host()
            except HostError as error:
                self.start_failures.append(error)
                raise

    def has_modules(self, names):
        """Whether the workloads' Python finds these modules."""
        if names not in self.found:
            self.found[names] = facts.has_modules(self.options.python, names)
        return self.found[names]

    def warm_up(self, wanted):
        """Imports once what the rows import, so that the first row does not pay for a cold disk. Returns seconds."""
        names = sorted({name for row in wanted for name in row.needs if self.has_modules((name,))})

        def load(name):
            begin = time.monotonic()
            done = process.run([self.options.python or sys.executable, "-c", f"import {name}"], None, "/", IMPORT_S)
            return round(time.monotonic() - begin, 1) if done.rc == 0 else process.tail(done.stderr, 300)

        with concurrent.futures.ThreadPoolExecutor() as pool:
            return dict(zip(names, pool.map(load, names)))

    def words(self, words):
        """A command line in which sources are replaced by their programs, and fixtures by their paths."""
        made = []
        for word in words:
            if word.endswith((".c", ".cu")):
                word = str(self.programs.path(word))
            elif word.endswith(".ptx"):
                word = str(self.guests.fixtures / word)
            made.append(word)
        return made

    def close(self):
        """Ends the host, keeps its log beside the results, removes the folder."""
        if self.host:
            log = self.host.stop()
            self.options.results.with_name("host.log").write_text(log[-4_000_000:])
        shutil.rmtree(self.work, ignore_errors=True)


def parse(arguments):
    """The options."""
    parser = argparse.ArgumentParser(
        prog="run.py", description="CUDA workloads, natively and through vgpu, side by side."
    )
    parser.add_argument("--list", action="store_true", help="print the rows and end")
    parser.add_argument("--only", metavar="ROW[,ROW]", help="these rows, by name or group (correctness, performance)")
    parser.add_argument("--skip", metavar="ROW[,ROW]", default="", help="not these rows")
    parser.add_argument("--skip-done", action="store_true", help="not the rows with a good result in the results file")
    parser.add_argument(
        "--results", type=Path, default=Path("gpu-results.json"), help="results file; the table lies beside it"
    )
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="start no row after this time")
    parser.add_argument("--jobs", type=int, default=4, help="correctness rows at once (default 4)")
    parser.add_argument("--turns", type=int, default=2, help="turns native, vgpu of a performance row (default 2)")
    parser.add_argument("--sessions", type=int, default=2000, help="sessions of the row `sessions` (default 2000)")
    parser.add_argument("--device", default="cuda:0", help="the host's device: cuda:N, cuda:GPU-<uuid> or soft")
    parser.add_argument("--vgpu-only", action="store_true", help="no native runs: only what holds by itself is checked")
    parser.add_argument("--python", help="interpreter for the workloads (default: this one)")
    parser.add_argument("--diagnose", action="store_true", help="run guests that fail again with every call logged")
    parser.add_argument("--trace", action="store_true", help="keep the end of the debug logs of guests and host")
    options = parser.parse_args(arguments)
    options.bin_dir = Path(os.environ.get("VGPU_BIN_DIR", ".")).resolve()
    options.results = options.results.resolve()
    options.begin = time.monotonic()
    return options


def chosen(options):
    """The rows that were asked for, in the table's order."""
    known = {row.name for row in ROWS} | {row.group for row in ROWS}
    pick = lambda text: {word for word in (text or "").split(",") if word}
    only, skip = pick(options.only), pick(options.skip)
    unknown = (only | skip) - known
    if unknown:
        raise SystemExit(f"run.py: no such row: {', '.join(sorted(unknown))}; --list prints them")
    wanted = [row for row in ROWS if not only or row.name in only or row.group in only]
    return [row for row in wanted if row.name not in skip and row.group not in skip]


def outcome_of(bench, row):
    """Runs one row; whatever goes wrong is its outcome."""
    if row.card and bench.options.device == "soft":
        return {"status": report.SKIPPED, "reason": "needs a card"}
    if row.needs and not bench.has_modules(row.needs):
        return {"status": report.SKIPPED, "reason": f"Python has no {' or no '.join(row.needs)}"}
    begin = time.monotonic()
    try:
        bench.ensure_host()
        outcome = rows.run_row(bench, row)
    except HostError as error:
        outcome = {"status": report.FAILED, "reason": str(error)}
    except Exception as error:  # A defect of one row must not end the others.
        outcome = {
            "status": report.FAILED,
            "reason": f"{type(error).__name__}: {error}",
            "where": traceback.format_exc(),
        }
    outcome["row_seconds"] = round(time.monotonic() - begin, 1)
    return outcome


def run_all(bench, results, wanted):
    """Runs the rows: those that may run together first in each stretch of such rows, all within the budget."""

    def act(row):
        budget = bench.options.budget
        if budget is not None and time.monotonic() - bench.options.begin > budget:
            bench.say(f"{row.name}: not started, the budget is spent")
            return
        outcome = outcome_of(bench, row)
        outcome.update({"group": row.group, "title": row.title})
        with bench.lock:
            results.add(row.name, outcome)
        reason = outcome.get("reason") or "; ".join(outcome.get("differences", []))
        bench.say(f"{row.name}: {outcome['status']} in {outcome.get('row_seconds', 0)} s {reason[:400]}".rstrip())
        for figure in outcome.get("figures", []):
            bench.say("    " + report.figure_line(figure))

    pool = concurrent.futures.ThreadPoolExecutor(bench.options.jobs)
    try:
        waiting = []
        for row in wanted:
            if row.alone or row.group == rows.PERFORMANCE:
                settle(waiting)
                act(row)
            else:
                waiting.append(pool.submit(act, row))
        settle(waiting)
    finally:
        # An interrupted run starts no further row; those that run end by their deadlines.
        pool.shutdown(wait=True, cancel_futures=True)


def settle(waiting):
    """Waits for rows that run, and raises what they raised."""
    while waiting:
        waiting.pop(0).result()


def main(arguments=None):
    """Runs what the command line says. Returns the exit status: 0, or 1 where a row is not as it must be."""
    options = parse(arguments)
    wanted = chosen(options)
    if options.list:
        for row in wanted:
            print(f"{row.name:24} {row.group:12} {row.title}")
        return 0
    missing = [name for name in BINARIES if not (options.bin_dir / name).is_file()]
    if missing:
        print(f"run.py: VGPU_BIN_DIR ({options.bin_dir}) has no {', '.join(missing)}", file=sys.stderr)
        return 2
    # A terminated run, too, ends its host and keeps its results.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bench = Bench(options)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    results = report.Results(options.results, bench.machine)
    if options.skip_done:
        wanted = [row for row in wanted if not results.is_done(row.name)]
    try:
        results.body["import_seconds"] = bench.warm_up(wanted)
        bench.say(f"imported: {results.body['import_seconds']}")
        run_all(bench, results, wanted)
    finally:
        results.body["host_restarts"] = bench.restarts
        results.body["seconds"] = round(time.monotonic() - options.begin, 1)
        results.write()
        bench.close()
    print(results.table())
    good = (*report.DONE, report.SKIPPED)
    statuses = [results.body["rows"].get(row.name, {}).get("status") for row in wanted]
    return 0 if all(status in good for status in statuses) else 1
