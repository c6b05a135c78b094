"""A worker that a benchmark watches from outside: its metrics, its log, its end."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from bench.harness import read_metrics
from bench.testbed import Testbed
from weir.errors import StackError
from weir.settings import Settings
from weir.stack.child import Child

START_SECONDS: Final = 60.0
ASSIGNED: Final = re.compile(r"^\[(?P<time>[^\],]+),(?P<ms>\d+)\] .*?(?P<topic>[^\s\]]+): assigned \[\d", re.MULTILINE)


@dataclass(frozen=True)
class MeasuredWorker:
    """``started`` is when its process was asked for (``time.time()``)."""

    child: Child
    settings: Settings
    started: float
    log_start: int

    def metrics(self) -> dict[tuple[str, str], float]:
        """Samples by (name, stream); none while it does not answer. Costs the worker a millisecond or two.

        Raises :class:`~weir.errors.StackError` when it has ended.
        """
        if self.child.exit_code() is not None:
            raise StackError(f"The worker ended; the last lines of {self.child.log}:\n{self.child.last_lines()}")
        return read_metrics(self.settings.worker.web_host, self.settings.worker.web_port) or {}

    def assigned(self) -> dict[str, float]:
        """When it was last given partitions of each topic, by its own log (``time.time()``)."""
        with self.child.log.open("rb") as file:
            file.seek(self.log_start)
            return assignments(file.read().decode(errors="replace"))

    def wait_assigned(self) -> None:
        """Block until it reads every topic of Weir's streams."""
        topics = self.settings.topics
        deadline = time.monotonic() + START_SECONDS
        while not {topics.readings, topics.aggregates_1m, topics.aggregates_1h} <= set(self.assigned()):
            self.metrics()
            if time.monotonic() > deadline:
                raise StackError(f"The worker reads nothing; the last lines of its log:\n{self.child.last_lines()}")
            time.sleep(0.1)

    def kill(self) -> float:
        """SIGKILL; returns when (``time.time()``), with the process gone."""
        now = time.time()
        os.kill(self.child.pid, signal.SIGKILL)
        self.child.wait_stopped()
        return now


def assignments(log: str) -> dict[str, float]:
    """Topic and time of the last line that says of what the worker was given partitions; times are local ones."""
    return {
        line["topic"]: time.mktime(time.strptime(line["time"], "%Y-%m-%d %H:%M:%S")) + int(line["ms"]) / 1_000
        for line in ASSIGNED.finditer(log)
    }


@contextmanager
def measured_worker(testbed: Testbed, settings: Settings) -> Iterator[MeasuredWorker]:
    """Start a worker; it ends with the block."""
    log = testbed.plan.log_file("bench-worker")
    log_start = log.stat().st_size if log.exists() else 0
    started = time.time()
    child = testbed.spawn("bench-worker", settings, "weir", "worker", "--log-level", "info")
    try:
        yield MeasuredWorker(child, settings, started, log_start)
    finally:
        child.request_stop()
        child.wait_stopped()
