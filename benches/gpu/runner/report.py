"""The results file, and the table for people."""

import json
import os

SAME, MEASURED, DIFFERENT, FAILED, NATIVE_FAILED, SKIPPED = (
    "same",
    "measured",
    "different",
    "failed",
    "native failed",
    "skipped",
)
# Rows in these states need not be run again.
DONE = (SAME, MEASURED)


class Results:
    """The results file: read at the start, written after every row."""

    def __init__(self, path, machine):
        self.path = path
        self.body = {"schema": 1, "machine": machine, "runs": [], "rows": {}}
        if path.exists():
            before = json.loads(path.read_text())
            self.body["rows"] = before.get("rows", {})
            self.body["runs"] = before.get("runs", []) + [before.get("machine")]

    def is_done(self, name):
        """Whether an earlier run has a result of this row that counts."""
        return self.body["rows"].get(name, {}).get("status") in DONE

    def add(self, name, outcome):
        """Keeps a row's outcome and writes everything."""
        self.body["rows"][name] = outcome
        self.write()

    def write(self):
        """Writes the file and the table beside it, each whole or not at all."""
        pairs = ((self.path, json.dumps(self.body, indent=1) + "\n"), (self.path.with_suffix(".md"), self.table()))
        for path, text in pairs:
            new = path.with_name(path.name + ".new")
            new.write_text(text)
            os.replace(new, path)

    def table(self):
        """All rows as two Markdown tables."""
        machine = self.body["machine"]
        gpu = machine.get("gpu") or {}
        packages = ", ".join(f"{name} {version}" for name, version in machine.get("packages", {}).items())
        lines = [
            f"{gpu.get('name', 'no card')}, driver {gpu.get('driver_version')}, CUDA {machine.get('cuda_of_driver')}; "
            f"{machine.get('cpu')}, {machine.get('cores')} cores, Linux {machine.get('kernel')}; {packages}; "
            f"{machine.get('vgpu')}, revision {machine.get('revision')}; {machine.get('date')}",
            "",
        ]
        return "\n".join(lines + self.correctness() + self.performance() + self.unsupported())

    def unsupported(self):
        """What guests called and vgpu does not do, with the rows that called it."""
        callers = {}
        for name, row in self.body["rows"].items():
            for entry in row.get("entries", []):
                for line in entry.get("shim_messages", []):
                    if " is not supported" in line:
                        callers.setdefault(line.split()[1], set()).add(name)
        if not callers:
            return []
        lines = [f"- `{function}`: {', '.join(sorted(names))}" for function, names in sorted(callers.items())]
        return ["Called and not supported:", "", *lines, ""]

    def correctness(self):
        """The rows that compare results."""
        rows = [(name, row) for name, row in self.body["rows"].items() if row.get("group") == "correctness"]
        if not rows:
            return []
        lines = ["| row | outcome | native s | vgpu s | what |", "|---|---|---|---|---|"]
        for name, row in rows:
            what = row.get("reason") or "; ".join(row.get("differences", []))
            if row.get("unstable"):
                what += f" (differs natively too: {', '.join(row['unstable'])})"
            lines.append(
                f"| {name} | {row['status']} | {seconds(row, 'native')} | {seconds(row, 'vgpu')} | {cell(what)} |"
            )
        return [*lines, ""]

    def performance(self):
        """The rows that measure."""
        lines = [
            "| figure | native | vgpu | spread native | spread vgpu | ratio | goal | |",
            "|---|---|---|---|---|---|---|---|",
        ]
        count = len(lines)
        for name, row in self.body["rows"].items():
            if row.get("group") != "performance":
                continue
            lines += [figure_line(figure) for figure in row.get("figures", [])]
            if row["status"] != MEASURED:
                lines.append(f"| {name}: {row['status']} | {cell(row.get('reason') or '')} | | | | | | |")
        return [*lines, ""] if len(lines) > count else []


def seconds(row, mode):
    """How long the runs of one side took."""
    times = [entry["seconds"] for entry in row.get("entries", []) if entry.get("mode") == mode]
    return f"{max(times):.1f}" if times else ""


def cell(text):
    """A text that fits a table's cell."""
    return " ".join(str(text).replace("|", "\\|").split())[:400]


def number(value):
    """A number with four digits that count."""
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def figure_line(figure):
    """A figure as a line of the table."""
    native, vgpu = figure["native"], figure["vgpu"]
    values = [f"{number(side['value'])} {figure['unit']}" if side else "" for side in (native, vgpu)]
    spreads = [f"{number(side['least'])}-{number(side['most'])}" if side else "" for side in (native, vgpu)]
    ratio = f"{figure['ratio']:.3f}" if figure["ratio"] is not None else ""
    met = {None: "", True: "met", False: "**missed**"}[figure["met"]]
    cells = [figure["name"], *values, *spreads, ratio, figure["goal"] or "", met]
    return f"| {' | '.join(cells)} |"
