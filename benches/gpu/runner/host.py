"""A vgpu host of the run's own, in a temporary folder."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

# A host answers in well under a second; a machine that is loaded, or whose driver is cold, may take its time.
START_S = 30.0
# Sessions that have not ended by then never will.
EMPTY_S = 20.0
STOP_S = 15.0
CTL_S = 10.0

# The tenants of every run: the one under test, its neighbour, and one with little memory.
BENCH, NEIGHBOUR, SMALL = "bench", "neighbour", "small"
SMALL_BYTES = 4 << 30
SOFT_BYTES = 4 << 30


class HostError(Exception):
    """The host did not start, or does not answer."""


class Host:
    """A running `vgpu-host serve`."""

    def __init__(self, bin_dir, device, card_bytes, trace=False, gpu_lines=()):
        self.bin_dir = Path(bin_dir)
        self.folder = Path(tempfile.mkdtemp(prefix="vgpu-b-"))
        self.config = self.folder / "vgpu.toml"
        self.config.write_text(self._config(device, card_bytes, gpu_lines))
        self.log_path = self.folder / "log"
        env = dict(os.environ)
        if trace:
            env["VGPU_LOG"] = "debug"
        self.daemon = subprocess.Popen(
            [str(self.bin_dir / "vgpu-host"), "serve", "--config", str(self.config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.log_path.open("w"),
            env=env,
            start_new_session=True,
        )
        self._wait_until_it_answers()

    def _config(self, device, card_bytes, gpu_lines):
        small = min(SMALL_BYTES, card_bytes // 8)
        # The context itself and the neighbours' need room too.
        quotas = {BENCH: card_bytes * 3 // 4, NEIGHBOUR: card_bytes // 4, SMALL: small}
        lines = [
            "[host]",
            f'runtime_dir = "{self.folder}/run"',
            f'state_dir = "{self.folder}/state"',
            "drain_timeout_ms = 2000",
            "[[gpu]]",
            'name = "gpu0"',
            f'device = "{device}"',
            *gpu_lines,
        ]
        if device == "soft":
            lines.append(f"soft = {{ memory_bytes = {card_bytes}, threads = 2 }}")
        for name, memory in quotas.items():
            lines += ["[[tenant]]", f'name = "{name}"', 'gpu = "gpu0"', f"memory_bytes = {memory}"]
            lines.append(f"pinned_bytes = {16 << 30}")
        return "\n".join(lines) + "\n"

    def _wait_until_it_answers(self):
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.daemon.poll() is not None:
                log = self.log()
                shutil.rmtree(self.folder, ignore_errors=True)
                raise HostError(f"vgpu-host ended with {self.daemon.returncode}:\n{log[-3000:]}")
            if self.answers():
                return
            time.sleep(0.05)
        log = self.log()
        self.stop()
        raise HostError(f"vgpu-host does not answer after {START_S:.0f} s:\n{log[-3000:]}")

    def answers(self):
        """Whether the host is there and serves its control API."""
        return self.daemon.poll() is None and self.ctl("tenants", "--json") is not None

    def ctl(self, *arguments):
        """The JSON that `vgpu-host ctl` prints, or None."""
        command = [str(self.bin_dir / "vgpu-host"), "ctl", "--socket", f"{self.folder}/run/control.sock", *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=CTL_S)
            return json.loads(done.stdout) if done.returncode == 0 else None
        except (subprocess.TimeoutExpired, ValueError, OSError):
            return None

    def sessions(self):
        """The live sessions; an empty list too where the host does not answer."""
        body = self.ctl("sessions", "--json") or {}
        return body.get("sessions", [])

    def is_empty_soon(self):
        """Waits until no session is left; False where some stay."""
        deadline = time.monotonic() + EMPTY_S
        while time.monotonic() < deadline:
            body = self.ctl("sessions", "--json")
            if body is not None and not body.get("sessions"):
                return True
            time.sleep(0.05)
        return False

    def tenant(self, name):
        """What the control API tells of a tenant."""
        body = self.ctl("tenants", "--json") or {}
        return next((tenant for tenant in body.get("tenants", []) if tenant.get("name") == name), {})

    def socket(self, tenant):
        """The socket of a tenant."""
        return f"{self.folder}/run/tenants/{tenant}/vgpu.sock"

    def log(self):
        """What the host and its workers logged so far."""
        try:
            return self.log_path.read_text(errors="replace")
        except OSError:
            return ""

    def stop(self):
        """Ends the host and removes its folder; returns its log."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.daemon.poll() is None:
                self.daemon.send_signal(number)
                try:
                    self.daemon.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    continue
        log = self.log()
        shutil.rmtree(self.folder, ignore_errors=True)
        return log
