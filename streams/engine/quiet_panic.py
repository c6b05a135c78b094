"""Keep a hostile sender from filling the worker's log with Rust panics.

Polars reports some malformed Avro by a panic, which writes a message (with RUST_BACKTRACE=1: sixty lines) to file
descriptor 2 before it reaches Python. The first is let through; while more may follow, standard error is held back
during the read. What was written meanwhile is passed on afterwards, but for a panic and what came after it.
"""

from __future__ import annotations

import os
import tempfile
import threading
from types import TracebackType

import polars as pl

QUIET_READS = 1_000
"""Reads after a panic during which further panics are not shown; a new one starts the count again."""

MAX_PASSED_ON = 65_536
"""Bytes of other output that are passed on after one read."""

_PANIC = b"\nthread '"
_STDERR = 2
_LOCK = threading.Lock()


class PanicFilter:
    """A context around one read: ``with panics: try … except … as error: panics.seen(error)``.

    Holding back costs about 15 us a read and happens only after a panic. It is one lock for the process, because
    the file descriptor is.
    """

    def __init__(self) -> None:
        """Start by letting everything through."""
        self._quiet = 0
        self._panicked = False
        self._held: tuple[int, int] | None = None

    def seen(self, error: BaseException) -> None:
        """Note what the read raised."""
        if isinstance(error, pl.exceptions.PanicException):
            self._quiet = QUIET_READS
            self._panicked = True

    def __enter__(self) -> None:
        """Hold standard error back if a panic was seen lately."""
        self._panicked = False
        if self._quiet:
            self._quiet -= 1
            _LOCK.acquire()
            self._held = _hold()
            if self._held is None:
                _LOCK.release()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give standard error back, and what was written to it besides panics."""
        if self._held is not None:
            try:
                _release(*self._held, self._panicked)
            finally:
                self._held = None
                _LOCK.release()


def _hold() -> tuple[int, int] | None:
    """Point descriptor 2 at a temporary file; (the real one, the file), or None where there is no standard error."""
    try:
        real = os.dup(_STDERR)
    except OSError:  # a daemon may have closed it; then there is no log to fill
        return None
    with tempfile.TemporaryFile() as file:
        held = os.dup(file.fileno())
    os.dup2(held, _STDERR)
    return real, held


def _release(real: int, held: int, panicked: bool) -> None:
    os.dup2(real, _STDERR)
    if os.lseek(held, 0, os.SEEK_END):
        written = os.pread(held, MAX_PASSED_ON, 0)
        os.write(real, written.partition(_PANIC)[0] if panicked else written)
    os.close(held)
    os.close(real)
