"""Writing a ledger: lines are appended, and count once they are on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from weir.errors import UsageError
from weir.load.entries import Entry, encode


class LedgerWriter:
    """Appends entries to a file. Used by one thread; nothing is on disk for certain before :meth:`sync`."""

    def __init__(self, path: Path, *, append: bool = False) -> None:
        """Create the file, or with ``append`` go on with one, after cutting off a line that a kill left torn.

        Raises :class:`UsageError` when there is a file and ``append`` was not given, or the folder is missing.
        """
        self.path = path
        self._unsynced = False
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | (0 if append else os.O_EXCL)
        try:
            self._file = os.open(path, flags, 0o644)
        except FileExistsError:
            raise UsageError(
                f"{path} is there already; give another --ledger, or --append to add a session to it."
            ) from None
        except OSError as error:
            raise UsageError(f"The ledger {path} cannot be written: {error.strerror}.") from error
        os.ftruncate(self._file, whole_bytes(path))
        _sync_folder(path.absolute().parent)

    def __enter__(self) -> Self:
        """The writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def write(self, *entries: Entry) -> None:
        """Append entries in one go; raises OSError when the disk is full."""
        left = memoryview(b"".join(encode(entry) for entry in entries))
        while left:
            left = left[os.write(self._file, left) :]
            self._unsynced = True

    def sync(self) -> None:
        """Block until everything written is on disk."""
        if self._unsynced:
            os.fdatasync(self._file)
            self._unsynced = False

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        os.close(self._file)


def whole_bytes(path: Path) -> int:
    """Length of the file up to the end of its last whole line."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        for begin in _blocks_backwards(end):
            file.seek(begin)
            at = file.read(min(_BLOCK, end - begin)).rfind(b"\n")
            if at >= 0:
                return begin + at + 1
    return 0


_BLOCK = 65_536


def _blocks_backwards(end: int) -> Iterator[int]:
    begin = end
    while begin > 0:
        begin = max(0, begin - _BLOCK)
        yield begin


def _sync_folder(folder: Path) -> None:
    """A new file is safe once its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
