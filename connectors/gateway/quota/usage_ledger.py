"""Counts on their way to ClickHouse, and the file in which they outlive the process.

At any time there is at most one batch that may have been sent: its rows and its token stay as they are until ClickHouse
has said that it is stored, so that a repeated one is dropped there. What is counted meanwhile waits, merged by minute.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

MOST_ROWS: Final = 100_000
"""Beyond it, the minutes of what waits are merged to hours, then to days: counts stay exact, their time does not."""

COARSER_SECONDS: Final = (3_600, 86_400)

_log = logging.getLogger(__name__)


class UsageRow(NamedTuple):
    """What became of records of an organisation that came in the minute from ``minute`` (seconds since 1970) on."""

    organisation: str
    minute: int
    reason: str
    accepted: int = 0
    sampled_out: int = 0
    rejected: int = 0


class Batch(msgspec.Struct, frozen=True):
    """Rows that are stored once under their token, however often they are sent."""

    token: str
    rows: list[UsageRow]


class _Saved(msgspec.Struct):
    sending: Batch | None
    waiting: list[UsageRow]


class UsageLedger:
    """Belongs to one thread at a time; whatever touches the file blocks."""

    def __init__(self, folder: Path, most_rows: int = MOST_ROWS) -> None:
        """Begin with nothing, until :meth:`load`."""
        self._path = folder / "usage.json"
        self._most = most_rows
        self._waiting: dict[tuple[str, int, str], UsageRow] = {}
        self.sending: Batch | None = None

    def load(self) -> None:
        """Go on where the last process ended. Raises OSError; a file that cannot be read is put aside."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            try:
                saved = msgspec.json.decode(self._path.read_bytes(), type=_Saved)
            except (msgspec.DecodeError, UnicodeDecodeError):
                aside = self._path.with_suffix(".unreadable")
                self._path.replace(aside)
                _log.error("%s cannot be read, its counts are not written; it is kept as %s.", self._path, aside.name)
            else:
                self.sending = saved.sending
                self.add(saved.waiting)

    def add(self, rows: Iterable[UsageRow]) -> None:
        """Count what came."""
        for row in rows:
            self._merge(row)
        for seconds in COARSER_SECONDS:
            if len(self._waiting) > self._most:
                finer, self._waiting = list(self._waiting.values()), {}
                for row in finer:
                    self._merge(row._replace(minute=row.minute // seconds * seconds))

    def next_batch(self) -> Batch | None:
        """What is to be sent: the batch that may have been sent before, or else all that waits; None when none does."""
        if self.sending is None and self._waiting:
            self.sending = Batch(f"gateway:usage:{uuid.uuid4().hex}", list(self._waiting.values()))
            self._waiting = {}
        return self.sending

    def stored(self) -> None:
        """The batch is in ClickHouse for good."""
        self.sending = None

    def save(self) -> None:
        """Put all of it on the disk, in one step. Raises OSError."""
        content = msgspec.json.encode(_Saved(self.sending, list(self._waiting.values())))
        fresh = self._path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)

    def __len__(self) -> int:
        """How many rows are not known to be stored."""
        return len(self._waiting) + (len(self.sending.rows) if self.sending else 0)

    def _merge(self, row: UsageRow) -> None:
        key = row.organisation, row.minute, row.reason
        known = self._waiting.get(key)
        if known is not None:
            row = UsageRow(*key, *(ours + more for ours, more in zip(known[3:], row[3:], strict=True)))
        self._waiting[key] = row
