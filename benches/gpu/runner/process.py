"""Subprocesses that always end: each has a deadline, and what it leaves behind in its process group is killed."""

import os
import signal
import subprocess
import time

# After SIGABRT, for Python to print where each thread stands.
TRACEBACK_S = 3.0
# Of what a program said on standard error, so that a results file stays readable.
TAIL_BYTES = 6000
FILE_TAIL_BYTES = 1 << 20


class Finished:
    """What became of a program."""

    def __init__(self, rc, stdout, stderr, seconds, timed_out):
        self.rc, self.stdout, self.stderr = rc, stdout, stderr
        self.seconds, self.timed_out = seconds, timed_out


def start(command, env, cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE):
    """Starts a program in a session of its own, so that its group holds all its children."""
    return subprocess.Popen(
        command,
        env=env,
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        text=True,
        errors="replace",
    )


def signal_group(child, number):
    """Sends a signal to a program that `start` started, and to its children."""
    try:
        os.killpg(child.pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def finish(child, timeout_s):
    """Waits for the end of a program; at its deadline it is asked where it stands, then killed."""
    begin = time.monotonic()
    timed_out = False
    try:
        out, err = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        timed_out = True
        # With PYTHONFAULTHANDLER=1 Python answers SIGABRT with the stacks of all threads.
        signal_group(child, signal.SIGABRT)
        try:
            out, err = child.communicate(timeout=TRACEBACK_S)
        except subprocess.TimeoutExpired:
            signal_group(child, signal.SIGKILL)
            out, err = child.communicate()
    signal_group(child, signal.SIGKILL)
    return Finished(child.returncode, out or "", err or "", time.monotonic() - begin, timed_out)


def run(command, env, cwd, timeout_s):
    """Starts a program and waits for its end."""
    begin = time.monotonic()
    done = finish(start(command, env, cwd), timeout_s)
    done.seconds = time.monotonic() - begin
    return done


def end_of(file):
    """The end of a file that a program wrote: enough for any tail."""
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - FILE_TAIL_BYTES))
    return file.read()


def tail(text, bytes_max=TAIL_BYTES):
    """The end of a text."""
    return text if len(text) <= bytes_max else "[...] " + text[-bytes_max:]
