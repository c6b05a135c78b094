"""How far the spool has been replayed, in a small file that is replaced whole."""

from __future__ import annotations

import logging
import os
import struct
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

_LAYOUT: Final = struct.Struct("<QQ")
_CRC: Final = struct.Struct("<I")
_log = logging.getLogger(__name__)


class Position(NamedTuple):
    """A place in a segment; everything before it is in Kafka."""

    segment: int
    offset: int


def read_position(folder: Path) -> Position | None:
    """Where replay goes on; None when nobody wrote it, or when it is damaged: then all that is there comes again."""
    try:
        data = (folder / "position").read_bytes()
    except FileNotFoundError:
        return None
    body, checksum = data[: _LAYOUT.size], data[_LAYOUT.size :]
    if len(body) != _LAYOUT.size or checksum != _CRC.pack(crc32(body)):
        _log.warning("The spool's position in %s is damaged; all that waits there is replayed.", folder)
        return None
    return Position(*_LAYOUT.unpack(body))


def write_position(folder: Path, position: Position) -> None:
    """Replace it; on disk when this returns."""
    body = _LAYOUT.pack(*position)
    new = folder / "position.new"
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, body + _CRC.pack(crc32(body)))
        os.fsync(file)
    finally:
        os.close(file)
    new.replace(folder / "position")
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make names that appeared or went in a folder outlive a crash."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
