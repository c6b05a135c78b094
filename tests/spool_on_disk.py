"""A spool on a real disk: records with numbers, what a process that opens the folder finds, and a disk that refuses."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from connectors.gateway.log import spool_files
from connectors.gateway.log.spool_files import SpoolFiles
from connectors.gateway.records import Outgoing


def record(number: int, key: bytes | None = b"device") -> Outgoing:
    """A record whose value is its number."""
    return Outgoing("weir.readings", key, b"%d" % number)


def numbers(records: list[Outgoing]) -> list[int]:
    """The numbers of records, in their order."""
    return [int(each.value or b"") for each in records]


def opened(folder: Path, segment_bytes: int = spool_files.SEGMENT_BYTES) -> SpoolFiles:
    """The files of a folder, as a process that starts opens them."""
    files = SpoolFiles(folder, segment_bytes)
    files.open()
    return files


def rest(folder: Path) -> list[int]:
    """What a process that starts on the folder now would replay."""
    files = opened(folder)
    try:
        found = []
        while (chunk := files.read(3)).records:
            found += numbers(chunk.records)
            files.advance(chunk.end)
        return found
    finally:
        files.close()


def failing(code: int) -> Callable[..., None]:
    """In place of a call to the system: it fails with that errno."""

    def fail(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    return fail
