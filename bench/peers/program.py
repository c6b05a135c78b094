"""What the program of every peer shares: its job, the decoding of a reading, and the account of what it did.

Runs in the environments of the peers: standard library and fastavro only.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

WINDOW_MS = 60_000
GRACE_MS = 10_000
"""How long a window waits for late readings; the dataset's come at most 4.5 s late."""

HEADER_BYTES = 5
"""Confluent's framing before the Avro bytes: a zero and the schema's id."""

REPORT = "report.json"


@dataclass(frozen=True)
class Job:
    """What a peer shall do: read ``messages`` messages of ``topic``, all that it holds, and stop.

    The last ``closing`` of them lie at ``closing_ms`` of event time: they close all windows before, and no window of
    theirs is counted. ``folder`` is for the peer's own state and for its report.
    """

    broker: str
    topic: str
    partitions: int
    messages: int
    closing: int
    closing_ms: int
    schema: str
    folder: str

    def write(self) -> Path:
        """Write it where the program finds it."""
        path = Path(self.folder) / "job.json"
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")
        return path


def read_job() -> Job:
    """The job that the command line names."""
    return Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))


def decoder(job: Job) -> Callable[[bytes], dict[str, Any]]:
    """Decode one message's value with fastavro's compiled reader: ``device_id``, ``sensor``, ``ts`` (ms), ``value``, …

    The schema's id is not looked at.
    """
    import fastavro

    schema = fastavro.parse_schema(json.loads(job.schema))
    read, buffer = fastavro.schemaless_reader, io.BytesIO

    def decode(value: bytes) -> Any:
        return read(buffer(value[HEADER_BYTES:]), schema, None)

    return decode


class Window(NamedTuple):
    """One window's aggregate."""

    readings: int
    total: float
    lowest: float
    highest: float


class Account:
    """Counts messages and windows, and when the first and the last of them came (``time.time()``).

    A window that comes again replaces its earlier form. The windows of the closing readings do not count.
    """

    def __init__(self, job: Job) -> None:
        """Nothing has come yet."""
        self._job = job
        self._seen = 0
        self._begin = self._end = 0.0
        self._windows: dict[tuple[str, int], Window] = {}

    def message(self) -> bool:
        """Count a message; whether it was the last. 0.1 us."""
        self._seen += 1
        if self._seen == 1:
            self._begin = time.time()
        if self._seen == self._job.messages:
            self._end = time.time()
            return True
        return False

    def window(self, series: str, start_ms: int, window: Window) -> None:
        """Take a window's aggregate that the peer gave out just now."""
        if start_ms < self._job.closing_ms:
            self._windows[series, start_ms] = window
            self._end = time.time()

    @property
    def readings_in_windows(self) -> int:
        """Readings that the windows count so far."""
        return sum(window.readings for window in self._windows.values())

    @property
    def complete(self) -> bool:
        """Whether every message has come."""
        return self._seen >= self._job.messages

    def finish(self, end: float | None = None) -> None:
        """Write the report; ``end`` for a peer whose windows are looked up afterwards."""
        columns = list(zip(*self._windows.values(), strict=True)) or [()] * len(Window._fields)
        sums = {name: sum(column) for name, column in zip(Window._fields, columns, strict=True)}
        write_report(self._job, self._seen, self._begin, self._end if end is None else end, len(self._windows), sums)


def write_report(job: Job, messages: int, begin: float, end: float, windows: int, sums: Mapping[str, float]) -> None:
    """Write what was done between two times (``time.time()``); ``sums`` are of the fields of all windows."""
    report = {"messages": messages, "begin": begin, "end": end, "windows": windows}
    report |= {f"sum_of_{name}": total for name, total in sums.items()}
    unfinished = Path(job.folder) / "report.tmp"
    unfinished.write_text(json.dumps(report), encoding="utf-8")
    unfinished.replace(Path(job.folder) / REPORT)
