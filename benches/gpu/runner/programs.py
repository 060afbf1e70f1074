"""The programs in C and CUDA, compiled once in a run's folder."""

import shutil
import subprocess
import threading

from .facts import nvcc
from .guest import ROOT

COMPILE_S = 120
INCLUDE = ROOT.parent.parent / "tests" / "programs"


class CompileError(Exception):
    """A program does not compile, or there is no compiler."""


class Programs:
    """Compiles on first use. The programs open the driver at run time, so one file runs natively and as a guest."""

    def __init__(self, work):
        self.folder = work / "programs"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = threading.Lock()

    def path(self, source):
        """The executable of a source file, which is named from the benchmark's folder."""
        with self.lock:
            program = self.folder / (ROOT / source).stem
            if not program.exists():
                self.compile(ROOT / source, program)
            return program

    def compile(self, source, program):
        """Compiles one file."""
        host = shutil.which("cc") or shutil.which("gcc")
        options = [
            "-O2",
            "-I",
            str(INCLUDE),
            "-I",
            str(ROOT / "lib"),
            "-o",
            str(program),
            str(source),
            "-ldl",
            "-lpthread",
        ]
        compiler = nvcc() if source.suffix == ".cu" or host is None else host
        if compiler is None:
            raise CompileError(f"{source.name}: no compiler for it on the PATH")
        done = subprocess.run([compiler, *options], capture_output=True, text=True, timeout=COMPILE_S)
        if done.returncode != 0:
            raise CompileError(f"{source.name}: {done.stderr[-2000:]}")
