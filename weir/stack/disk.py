"""Is there room? Asked before anything is written, so that a full disk is a sentence and not a crash."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from weir.errors import StackError

MEGABYTE = 1_000_000
RESERVE_BYTES = 500 * MEGABYTE
"""Left free beside whatever is about to be written: Kafka and ClickHouse misbehave on a disk that fills up."""


def free_bytes(path: Path) -> int:
    """Bytes that this user may still write where ``path`` is, or where its nearest existing parent is."""
    existing = path
    while not existing.exists():
        existing = existing.parent
    return os.statvfs(existing).f_bavail * os.statvfs(existing).f_frsize


def require_space(path: Path, needed: int, purpose: str, free: Callable[[Path], int] = free_bytes) -> None:
    """Raise :class:`~weir.errors.StackError` unless ``needed`` bytes and the reserve are free at ``path``."""
    available = free(path)
    if available < needed + RESERVE_BYTES:
        raise StackError(
            f"{purpose} needs {(needed + RESERVE_BYTES) // MEGABYTE} MB free at {path}, and only "
            f"{available // MEGABYTE} MB are; free some space or choose another folder."
        )


def disk_full(path: Path, purpose: str) -> StackError:
    """The sentence for a disk that filled up while ``purpose`` was going on."""
    return StackError(f"{purpose} stopped because the disk at {path} is full; free some space and start again.")
