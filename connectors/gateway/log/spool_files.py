"""The spool's files: segments that are only appended to, and a position up to which they are done with.

Everything here blocks, and is used by one thread at a time. A folder holds::

    lock                   whose process it is
    <number>.spool         segments, oldest first; one that is done with is deleted
    position               how far the oldest segment is done with
    <number>.spool.corrupt what a segment held from its first damaged record on
    refused/refused.jsonl  records that Kafka refused for good after they had been accepted
"""

from __future__ import annotations

import base64
import fcntl
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from connectors.gateway.errors import GatewayError
from connectors.gateway.log.spool_layout import BEGINNING, MAGIC, VERSION, Tally, end_of, read, tally
from connectors.gateway.log.spool_position import Position, read_position, sync_folder, write_position
from connectors.gateway.log.waiting_keys import WaitingKeys
from connectors.gateway.records import Outgoing
from weir.errors import ConfigError

SEGMENT_BYTES: Final = 16_777_216
START: Final = len(BEGINNING)
"""Where the first record of a segment lies."""
DIGITS: Final = 20
CHUNK_BYTES: Final = 1_048_576
"""Read at a time; a record that is longer is read whole."""

_log = logging.getLogger(__name__)


class Chunk(NamedTuple):
    """Records in the order in which they were written; ``end`` is where the next ones begin."""

    records: list[Outgoing]
    end: Position
    bytes: int


@dataclass
class Found:
    """What lay in the spool when it was opened: records that wait, and their keys."""

    records: int = 0
    bytes: int = 0
    keys: WaitingKeys = field(default_factory=WaitingKeys)


class SpoolFiles:
    """Opens, appends, reads and forgets. ``damaged_bytes`` counts what had to be kept aside."""

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Touch nothing yet."""
        self.folder = folder
        self.damaged_bytes = 0
        self.refused_records = 0
        self._segment_bytes = segment_bytes
        self._lock: int | None = None
        self._file: int | None = None
        self._number = 0
        self._sizes: dict[int, int] = {}
        self._position = Position(0, START)

    def open(self) -> Found:
        """Take the folder, mend what a crash left behind, and read all that waits: 1 GiB in some 10 s.

        Raises :class:`~weir.errors.ConfigError` when another process has it, or when it cannot be written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._take_lock()
            return self._recover()
        except OSError as error:
            raise ConfigError(f"The spool in {self.folder} cannot be used: {error.strerror}.") from error

    def write(self, data: bytes) -> None:
        """Append whole records and wait until the disk has them. After an OSError the spool is as it was before."""
        file = self._file_with_room(len(data))
        before = self._sizes[self._number]
        try:
            _write_all(file, data)
            os.fdatasync(file)
        except OSError:
            self._take_back(file, before)
            raise
        self._sizes[self._number] = before + len(data)

    def read(self, most_records: int) -> Chunk:
        """What comes next, at least one record unless all is done with; the same again until :meth:`advance`."""
        while self._position.segment in self._sizes:
            chunk = self._read_here(most_records)
            if chunk.records:
                return chunk
            if self._position.offset < self._sizes[self._position.segment]:
                self._set_aside(self._position)
            if not self._leave_segment():
                break
        return Chunk([], self._position, 0)

    def advance(self, end: Position) -> None:
        """Be done with everything before ``end``, also after a crash.

        A disk that is too full even for that must not stop replay, which makes room: then a crash brings more again.
        """
        try:
            write_position(self.folder, end)
        except OSError as error:
            _log.warning("How far the spool is replayed cannot be written: %s.", error.strerror)
        self._position = end

    def refuse(self, records: Sequence[tuple[Outgoing, GatewayError]]) -> None:
        """Keep records that Kafka refused for good where a person can find them, on disk when this returns."""
        folder = self.folder / "refused"
        folder.mkdir(exist_ok=True, mode=0o700)
        path = folder / "refused.jsonl"
        is_new = not path.exists()
        with path.open("ab") as file:
            file.writelines(_as_json(record, error) for record, error in records)
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            sync_folder(folder)
            sync_folder(self.folder)
        self.refused_records += len(records)
        _log.error("Kafka refused %d spooled records for good; they are in %s.", len(records), path)

    def close(self) -> None:
        """Let go of the folder."""
        self._close_file()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take_lock(self) -> None:
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise ConfigError(
                f"Another gateway uses the spool in {self.folder}: give each its own WEIR_GATEWAY__DATA_DIR."
            ) from None

    def _recover(self) -> Found:
        found = Found()
        self._position = read_position(self.folder) or Position(0, START)
        for path in sorted(self.folder.glob("[0-9]" * DIGITS + ".spool")):
            number = int(path.stem)
            if number < self._position.segment:
                path.unlink()
                continue
            self._sizes[number] = self._recover_segment(path, number, found)
        self._number = max(self._sizes, default=self._position.segment)
        first = min(self._sizes, default=self._number)
        if first != self._position.segment:
            self._position = Position(first, START)
        sync_folder(self.folder)
        return found

    def _recover_segment(self, path: Path, number: int, found: Found) -> int:
        data = path.read_bytes()
        begin = _first_record(path, data)
        if begin and number == self._position.segment:
            begin = max(begin, min(self._position.offset, len(data)))
        counted = tally(data, begin, found.keys) if begin else Tally(0, 0)
        found.records += counted.records
        found.bytes += counted.end - begin
        self._sizes[number] = len(data)
        if counted.end < len(data):
            self._set_aside(Position(number, counted.end))
        return self._sizes[number]

    def _set_aside(self, at: Position) -> None:
        """Cut a segment off where its damage begins, and keep what is cut off."""
        path = self._path(at.segment)
        data = path.read_bytes()[at.offset :]
        aside = path.with_name(f"{path.name}.corrupt")
        with aside.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.folder)
        os.truncate(path, at.offset)
        _sync_file(path)
        self._sizes[at.segment] = at.offset
        self.damaged_bytes += len(data)
        _log.warning("%s: %d bytes from %d on are no whole records; kept as %s.", path, len(data), at.offset, aside)

    def _read_here(self, most_records: int) -> Chunk:
        segment, offset = self._position
        left = max(0, self._sizes[segment] - offset)
        with self._path(segment).open("rb") as file:
            data = os.pread(file.fileno(), min(left, CHUNK_BYTES), offset)
            if data and CHUNK_BYTES < (wanted := end_of(data, 0)) <= left:
                data = os.pread(file.fileno(), wanted, offset)
        records, end = [], 0
        for kept in read(data):
            records.append(kept.record)
            end = kept.end
            if len(records) == most_records:
                break
        return Chunk(records, Position(segment, offset + end), end)

    def _leave_segment(self) -> bool:
        """Delete a segment that is done with; whether another follows it."""
        gone = self._position.segment
        if self._file is not None and gone == self._number:
            if self._sizes[gone] <= START:
                return False  # just begun
            self._close_file()
        following = min((number for number in self._sizes if number > gone), default=None)
        self.advance(Position(gone + 1 if following is None else following, START))
        self._path(gone).unlink(missing_ok=True)
        del self._sizes[gone]
        return following is not None

    def _file_with_room(self, length: int) -> int:
        size = self._sizes.get(self._number, 0)
        if self._file is not None and size + length > self._segment_bytes and size > START:
            self._close_file()
        return self._begin_segment() if self._file is None else self._file

    def _begin_segment(self) -> int:
        number = max(self._number, self._position.segment - 1, *self._sizes, 0) + 1
        path = self._path(number)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _write_all(file, BEGINNING)
            os.fsync(file)
            sync_folder(self.folder)
        except OSError:
            os.close(file)
            path.unlink(missing_ok=True)
            raise
        if not self._sizes:
            self._position = Position(number, START)
        self._number, self._file = number, file
        self._sizes[number] = START
        return file

    def _take_back(self, file: int, size: int) -> None:
        """Undo a write that failed. The next goes to another segment: what the disk made of this one is unknown."""
        try:
            os.ftruncate(file, size)
        except OSError:
            _log.exception("%s could not be cut back to %d bytes.", self._path(self._number), size)
        self._close_file()

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:0{DIGITS}d}.spool"


def _first_record(path: Path, data: bytes) -> int:
    """Where it lies; 0 for what is no segment of ours. Raises ConfigError for a segment of another version."""
    if data[:START] == BEGINNING:
        return START
    if data.startswith(MAGIC) and len(data) >= START:
        raise ConfigError(f"{path} has version {data[len(MAGIC)]} of the spool; this Weir reads {VERSION}.")
    return 0


def _write_all(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _as_json(record: Outgoing, error: GatewayError) -> bytes:
    said = {
        "error_code": error.code,
        "message": error.message,
        "topic": record.topic,
        "partition": record.partition,
        "timestamp_ms": record.timestamp_ms,
        "key": _base64(record.key),
        "value": _base64(record.value),
        "headers": [[name, _base64(value)] for name, value in record.headers],
    }
    return json.dumps(said).encode() + b"\n"


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()
