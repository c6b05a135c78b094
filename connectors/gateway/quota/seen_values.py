"""A file of the values that organisations have sent before, so that a restart neither forgets them nor charges again.

One JSON array a line: UTC day, organisation, dimension, value, device. A line that cannot be read (the torn one at the
end after a crash) is passed over.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

LARGE_BYTES: Final = 16_777_216
"""From this size on a file that has doubled is written anew, with the newest values only."""

SAFE_MODE: Final = 0o600


class SeenValue(NamedTuple):
    """A value that an organisation sent for the first time on ``day`` (since 1970, UTC). ``device`` is for sensors."""

    day: int
    organisation: str
    dimension: str
    value: str
    device: str = ""


class SeenValues:
    """The file in ``folder``; every method blocks, and one thread at a time may call them. They raise OSError."""

    def __init__(self, folder: Path, most_values: int) -> None:
        """Keep the newest ``most_values`` whenever the file is written anew."""
        self._path = folder / "seen.jsonl"
        self._most = most_values
        self._compact_at = 0

    def load(self) -> list[SeenValue]:
        """What is remembered, oldest first; makes the folder and writes the file anew."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        values = self._newest()
        self._write(values)
        return values

    def append(self, values: Iterable[SeenValue]) -> None:
        """Remember more of them; returns when they are on the disk."""
        with self._path.open("ab") as file:
            file.write(b"".join(_line(value) for value in values))
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        if size > self._compact_at:
            self._write(self._newest())

    def _newest(self) -> list[SeenValue]:
        values: deque[SeenValue] = deque(maxlen=self._most)
        decode = msgspec.json.Decoder(SeenValue).decode
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            for line in file:
                with suppress(msgspec.DecodeError, UnicodeDecodeError):
                    values.append(decode(line))
        return list(values)

    def _write(self, values: Iterable[SeenValue]) -> None:
        """In one step, so that a crash leaves the old file or the new one. Ends in a whole line, for :meth:`append`."""
        fresh = self._path.with_suffix(".new")
        with open(fresh, "wb", opener=lambda path, flags: os.open(path, flags, SAFE_MODE)) as file:
            file.writelines(_line(value) for value in values)
            file.flush()
            os.fsync(file.fileno())
            self._compact_at = max(LARGE_BYTES, 2 * file.tell())
        fresh.replace(self._path)


def _line(value: SeenValue) -> bytes:
    return msgspec.json.encode(value) + b"\n"
