"""Run one command so that it cannot outlive its supervisor: ``tether.py --control FD [...] -- COMMAND``.

The supervisor holds the other end of the control socket. When that end closes, because the supervisor stopped or was
killed, the command gets its stop signal, and SIGKILL after the grace time. When the tether itself is killed, the kernel
kills the command (PR_SET_PDEATHSIG). Whatever the command leaves behind is adopted (PR_SET_CHILD_SUBREAPER) and killed.

Runs as a script of its own (``python -I -S tether.py``), with the standard library only: it starts in 15 ms,
holds 14 MB, has one thread (a death signal is tied to the thread that forked), and does not
depend on what the child imports.
Its exit code is the command's, or 128 plus the signal that ended it.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import select
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
CANNOT_EXECUTE = 127


@dataclass
class Tether:
    """One command and how it is stopped."""

    child: int
    control: int
    stop_signal: int
    grace_seconds: float
    deadline: float | None = None

    def request_stop(self) -> None:
        """Send the stop signal, the first time it is asked for."""
        if self.deadline is None:
            self.deadline = time.monotonic() + self.grace_seconds
            os.kill(self.child, self.stop_signal)

    def run(self, wakeup: int) -> int:
        """Wait for the command's end and return its exit code; ``wakeup`` becomes readable at every signal."""
        watched = [wakeup, self.control]
        while (code := self._reap()) is None:
            left = None if self.deadline is None else self.deadline - time.monotonic()
            if left is not None and left <= 0:
                os.kill(self.child, signal.SIGKILL)
                left = 1.0
            ready, _, _ = select.select(watched, [], [], left)
            if wakeup in ready:
                for number in os.read(wakeup, 64):
                    if number == signal.SIGTERM:
                        self.request_stop()
            if self.control in ready and not os.read(self.control, 64):
                watched.remove(self.control)
                self.request_stop()
        return code

    def _reap(self) -> int | None:
        """Collect every ended child, adopted ones too; the exit code once the command itself has ended."""
        code = None
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return code
            if pid == 0:
                return code
            if pid == self.child:
                raw = os.waitstatus_to_exitcode(status)
                code = raw if raw >= 0 else 128 - raw


def children() -> list[int]:
    """Living children of this process, from /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == os.getpid() and state != "Z":
            found.append(int(stat.parent.name))
    return found


def kill_leftovers() -> None:
    """Kill what the command left behind; killing one may hand over its own children, hence the loop."""
    while left := children():
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def execute(command: list[str], parent: int) -> None:
    """In the forked child: become the command. Returns never."""
    try:
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(CANNOT_EXECUTE)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execvp(command[0], command)  # noqa: S606 - running a command is what a tether is for
    except OSError as error:
        os.write(2, f"{command[0]} cannot be run: {error.strerror}\n".encode())
    finally:
        os._exit(CANNOT_EXECUTE)


def note_signal(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the wakeup descriptor tells the loop."""


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options before ``--``, and the command after it."""
    parser = argparse.ArgumentParser(prog="tether.py", description=__doc__)
    parser.add_argument("--control", type=int, required=True, help="descriptor of the control socket")
    parser.add_argument("--stop-signal", type=int, default=int(signal.SIGTERM))
    parser.add_argument("--grace-seconds", type=float, default=10.0)
    parser.add_argument("command", nargs="+")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Start the command, report its pid on the control socket, and stay with it to the end."""
    options = parse(arguments)
    os.set_inheritable(options.control, False)
    wakeup, wakeup_write = os.pipe()
    os.set_blocking(wakeup_write, False)
    signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, note_signal)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    this = os.getpid()
    child = os.fork()
    if child == 0:
        execute(options.command, this)
    os.write(options.control, f"{child}\n".encode())
    code = Tether(child, options.control, options.stop_signal, options.grace_seconds).run(wakeup)
    kill_leftovers()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
