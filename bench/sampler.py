"""Samples the stacks of a process of ours with py-spy (the extra ``bench``), and counts the CPU of its threads."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple

import psutil

from weir.errors import StackError

SAMPLES_A_SECOND: Final = 100
"""Taken while the process goes on: stopping it for each wakes its 60 threads, which took a third of its CPU."""

NATIVE_SAMPLES_A_SECOND: Final = 20
"""With C frames the process has to stop, and at 100 a second py-spy fell behind."""

STOP_SECONDS: Final = 60.0

REFUSED: Final = (
    "py-spy may not look into the worker: the system refuses ptrace. Run as root, set `sysctl "
    "kernel.yama.ptrace_scope=0`, or start the container with --cap-add SYS_PTRACE."
)

Stacks = Mapping[tuple[int, tuple[str, ...]], int]
"""Samples by thread id and stack, outermost frame first."""


class ThreadTimes(NamedTuple):
    """CPU seconds of each thread by id, their names by id, and those of the whole process."""

    threads: Mapping[int, float]
    names: Mapping[int, str]
    process: float


class Sampler:
    """A context manager: samples ``pid`` while it is entered; :attr:`stacks` is what it saw, afterwards.

    Raises :class:`~weir.errors.StackError` when py-spy is not installed or may not look into the process.
    """

    def __init__(self, pid: int, *, native: bool = False) -> None:
        """``native`` samples C frames as well, which is slow and wakes threads that wait."""
        self.stacks: Stacks = {}
        self.rate = NATIVE_SAMPLES_A_SECOND if native else SAMPLES_A_SECOND
        self._folder = Path(tempfile.mkdtemp(prefix="weir-profile-"))
        self._raw = self._folder / "stacks"
        options = ["--threads", "--format", "raw", "--rate", str(self.rate), "--output", str(self._raw)]
        self._command = [py_spy(), "record", "--pid", str(pid), *options, "--native" if native else "--nonblocking"]

    def __enter__(self) -> Sampler:
        """Begin to sample."""
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)  # noqa: S603 - our own arguments
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and read what was seen."""
        try:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGINT)
            self._process.wait(STOP_SECONDS)
            if error is None:
                self._read()
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise StackError("py-spy did not end; profile fewer readings.") from None
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _read(self) -> None:
        if not self._raw.exists():
            log = (self._folder / "log").read_text(errors="replace").strip()
            denied = "permission" in log.lower() or "not permitted" in log.lower()
            raise StackError(REFUSED if denied else f"py-spy saw nothing: {' '.join(log.split()[-60:]) or 'no word'}.")
        self.stacks = parsed(self._raw.read_text(errors="replace"))


def parsed(raw: str) -> Stacks:
    """Read py-spy's raw format: frames of a stack separated by ``;``, the thread first, the number of samples last."""
    stacks: Counter[tuple[int, tuple[str, ...]]] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        thread, *frames = stack.split(";")
        number = thread.partition("(")[2].partition(")")[0]
        stacks[int(number, 0), tuple(frames)] += int(count)
    return stacks


def thread_times(pid: int) -> ThreadTimes:
    """CPU seconds up to now."""
    process = psutil.Process(pid)
    used = process.cpu_times()
    threads = {each.id: each.user_time + each.system_time for each in process.threads()}
    return ThreadTimes(threads, {number: _name(pid, number) for number in threads}, used.user + used.system)


def _name(pid: int, thread: int) -> str:
    """The kernel's name of a thread, "" where it tells none."""
    try:
        return Path(f"/proc/{pid}/task/{thread}/comm").read_text().strip()
    except OSError:
        return ""


def py_spy() -> str:
    """Where py-spy is; raises :class:`~weir.errors.StackError` when it is not installed."""
    beside = Path(sys.executable).parent / "py-spy"
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        raise StackError("`weir bench profile` needs py-spy, which is not installed: pip install 'weir[bench]'.")
    return found
