"""Figures: medians over the turns, their spread, the ratio to native, and the goal."""

import statistics

RATIO_MAX, RATIO_MIN, VALUE_MAX = "ratio <=", "ratio >=", "<="

# What is to be reached, by the figure's name. A ratio is vgpu / native.
GOALS = {
    "launch, burst": (VALUE_MAX, 500.0),
    "launches, sustained": (RATIO_MIN, 0.98),
    "launch + synchronize, p50": (RATIO_MAX, 1.15),
    "4 bytes to the host, p50": (RATIO_MAX, 1.3),
    "H2D pageable 64 MiB": (RATIO_MIN, 1.0),
    "H2D pageable 1 GiB": (RATIO_MIN, 1.0),
    "H2D pinned 64 MiB": (RATIO_MIN, 0.97),
    "H2D pinned 1 GiB": (RATIO_MIN, 0.97),
    "D2H pageable 64 MiB": (RATIO_MIN, 1.0),
    "D2H pageable 1 GiB": (RATIO_MIN, 1.0),
    "D2H pinned 64 MiB": (RATIO_MIN, 0.97),
    "D2H pinned 1 GiB": (RATIO_MIN, 0.97),
    "ResNet-50 training": (RATIO_MIN, 0.99),
    "GPT-2 training": (RATIO_MIN, 0.99),
    "torch.compile training": (RATIO_MIN, 0.99),
    # Launch-bound: vgpu is to be faster than native.
    "LLM decode, eager": (RATIO_MAX, 1.0),
    "first call, warm spare": (VALUE_MAX, 20.0),
    "context memory, idle": (VALUE_MAX, 330.0),
}


def summary(samples_by_turn):
    """Median over the turns, and the least and the most of them."""
    return {
        "value": statistics.median(samples_by_turn),
        "least": min(samples_by_turn),
        "most": max(samples_by_turn),
        "turns": samples_by_turn,
    }


def joined(native_runs, vgpu_runs):
    """One entry for each figure of the runs of a row, which are results as workloads print them."""
    entries = []
    names = {name: figure["unit"] for run in native_runs + vgpu_runs for name, figure in run.get("figures", {}).items()}
    for name, unit in names.items():
        sides = []
        for runs in (native_runs, vgpu_runs):
            values = [run["figures"][name]["value"] for run in runs if name in run.get("figures", {})]
            sides.append(summary(values) if values else None)
        entries.append(entry(name, unit, *sides))
    return entries


def entry(name, unit, native, vgpu):
    """A figure with its ratio and its goal."""
    both = native and vgpu and native["value"] != 0
    ratio = vgpu["value"] / native["value"] if both else None
    made = {"name": name, "unit": unit, "native": native, "vgpu": vgpu, "ratio": ratio, "goal": None, "met": None}
    if name in GOALS and vgpu:
        kind, bound = GOALS[name]
        made["goal"] = f"{kind} {bound:g}" + (f" {unit}" if kind == VALUE_MAX else "")
        measured = vgpu["value"] if kind == VALUE_MAX else ratio
        if measured is not None:
            made["met"] = measured >= bound if kind == RATIO_MIN else measured <= bound
    return made
