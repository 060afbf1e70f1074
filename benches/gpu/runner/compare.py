"""Whether vgpu gave what native CUDA gave."""

SHOWN = 160


def short(value):
    """A value, shortened for a table."""
    text = str(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def differences(native, vgpu):
    """What is not as it must be in the result of a guest, as pairs of a name and a line that says it."""
    found = []
    theirs = vgpu.get("exact", {})
    for name, expected in native.get("exact", {}).items():
        if name not in theirs:
            found.append((name, f"{name}: missing"))
        elif theirs[name] != expected:
            found.append((name, f"{name}: {short(theirs[name])}, natively {short(expected)}"))
    theirs = vgpu.get("close", {})
    for name, (expected, tolerance) in native.get("close", {}).items():
        if name not in theirs:
            found.append((name, f"{name}: missing"))
            continue
        value = theirs[name][0]
        # Written so that a NaN is a difference.
        if not abs(value - expected) <= tolerance * abs(expected):
            found.append((name, f"{name}: {value:.6g}, natively {expected:.6g}, allowed {tolerance:.0%} apart"))
    names = [name for name in native.get("holds", {}) if name not in vgpu.get("holds", {})]
    found += [(name, f"{name}: missing") for name in names]
    info = vgpu.get("info", {})
    for name, holds in vgpu.get("holds", {}).items():
        if not holds:
            found.append((name, short(f"{name}: not so {info.get(name + '_error', '')}".strip())))
    return found


def unstable(first, second):
    """Names whose values differ between two native runs: there nothing can be compared."""
    return {name for name, _ in differences(first, second)}
