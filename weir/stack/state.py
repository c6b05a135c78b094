"""What a running stack leaves in its data folder: a lock, and a list of its processes.

The lock (``flock`` on ``<data-dir>/lock``) says whether a supervisor lives: the kernel drops it with the process. The
state file says which processes belong to it; each pid stands beside its start time, so that nobody signals a stranger
who got the same number later.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import psutil

from weir.errors import StackError
from weir.stack.endpoints import replace_file
from weir.stack.plan import StackPlan

START_TOLERANCE_SECONDS = 0.05
"""psutil computes a start time from clock ticks; two readings of one process differ by far less."""


@dataclass(frozen=True)
class ProcessRecord:
    """One process: its name in the stack, its pid, and when it started (seconds since the epoch)."""

    name: str
    pid: int
    created: float

    def process(self) -> psutil.Process | None:
        """The process, or None when it has ended, even if another has its pid by now."""
        try:
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.created) < START_TOLERANCE_SECONDS
            return found if same and found.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


@dataclass(frozen=True)
class StackState:
    """The supervisor, its children, and the plan they follow; ``ready`` once all are healthy."""

    supervisor: ProcessRecord
    children: tuple[ProcessRecord, ...]
    plan: StackPlan
    ready: bool

    def to_json(self) -> str:
        """As the state file holds it."""
        return json.dumps(
            {
                "supervisor": asdict(self.supervisor),
                "children": [asdict(child) for child in self.children],
                "plan": self.plan.to_dict(),
                "ready": self.ready,
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> StackState:
        """The inverse of :meth:`to_json`; ValueError, KeyError or TypeError if it is something else."""
        content = json.loads(text)
        return cls(
            supervisor=ProcessRecord(**content["supervisor"]),
            children=tuple(ProcessRecord(**child) for child in content["children"]),
            plan=StackPlan.from_dict(content["plan"]),
            ready=bool(content["ready"]),
        )


def state_file(data_dir: Path) -> Path:
    """Where the state of the stack in ``data_dir`` is."""
    return data_dir / "state.json"


def failure_file(data_dir: Path) -> Path:
    """Where a supervisor leaves the sentence it died with, for ``weir status``."""
    return data_dir / "failure.txt"


def read_state(data_dir: Path) -> StackState | None:
    """The state of the stack in ``data_dir``, or None when there is none (or it was torn by a power loss)."""
    try:
        return StackState.from_json(state_file(data_dir).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_state(state: StackState) -> None:
    """Replace the state file."""
    replace_file(state_file(state.plan.data_dir), state.to_json())


def this_process() -> ProcessRecord:
    """The record of the supervisor that asks."""
    return ProcessRecord("supervisor", os.getpid(), psutil.Process().create_time())


class DataDirLock:
    """Held by the supervisor for as long as it lives."""

    def __init__(self, data_dir: Path) -> None:
        """Take the lock of ``data_dir`` or raise :class:`~weir.errors.StackError` with the pid that holds it."""
        self._file: IO[str] = (data_dir / "lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            pid = self._file.read().strip() or "unknown"
            self._file.close()
            raise StackError(
                f"A stack already runs on {data_dir} (pid {pid}); stop it with `weir down --data-dir {data_dir}` or "
                "choose another --data-dir."
            ) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        """Let the next supervisor in."""
        self._file.close()


def is_locked(data_dir: Path) -> bool:
    """Whether a supervisor lives on ``data_dir``."""
    try:
        with (data_dir / "lock").open("r", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def await_end(records: Iterable[ProcessRecord], seconds: float) -> list[ProcessRecord]:
    """Wait until the processes have ended, at most ``seconds``; returns those that have not."""
    deadline = time.monotonic() + seconds
    left = [record for record in records if record.process()]
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = [record for record in left if record.process()]
    return left


def kill(records: Iterable[ProcessRecord]) -> None:
    """SIGKILL those processes that still live, and wait for their end."""
    for record in records:
        process = record.process()
        if process is not None:
            process.kill()
    await_end(records, 5.0)
