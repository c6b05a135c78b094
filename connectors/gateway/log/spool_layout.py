"""How a record lies in a segment of the spool::

    segment   8 bytes "weirspl" and the version, then records until the end of the file
    record    4 crc32 of all that follows | 4 length of all that follows | fixed fields | topic | key | value | headers
    fixed     8 timestamp_ms | 4 partition | 4 length of key | 4 length of value | 2 length of topic | 2 headers
    header    2 length of name | 4 length of value | name | value

Numbers are little-endian; a length of -1 is None. The checksum covers the length, so that neither a torn record nor one
whose length was damaged can be taken for another.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple
from zlib import crc32

from connectors.gateway.log.waiting_keys import WaitingKeys
from connectors.gateway.records import Headers, Outgoing

VERSION: Final = 1
MAGIC: Final = b"weirspl"
BEGINNING: Final = MAGIC + bytes([VERSION])

_CRC: Final = struct.Struct("<I")
_LENGTH: Final = struct.Struct("<I")
_FIXED: Final = struct.Struct("<qiiiHH")
_BODY: Final = struct.Struct("<IqiiiHH")
_RECORD: Final = struct.Struct("<IIqiiiHH")
_HEADER: Final = struct.Struct("<Hi")
FRAME_BYTES: Final = _CRC.size + _LENGTH.size


class Kept(NamedTuple):
    """A record as it was read, and where the next one begins."""

    record: Outgoing
    end: int


class Tally(NamedTuple):
    """How many whole records there are, and where the last ends."""

    records: int
    end: int


def encode(record: Outgoing) -> bytes:
    """The record's bytes in the spool. Raises ValueError or struct.error for what the fields cannot hold."""
    topic, key, value, partition, headers, timestamp_ms = record
    name = topic.encode()
    rest = name + (key or b"") + (value or b"")
    if headers:
        rest += _encode_headers(headers)
    body = (
        _BODY.pack(
            _FIXED.size + len(rest),
            timestamp_ms,
            partition,
            -1 if key is None else len(key),
            -1 if value is None else len(value),
            len(name),
            len(headers),
        )
        + rest
    )
    return _CRC.pack(crc32(body)) + body


def read(data: bytes, begin: int = 0) -> Iterator[Kept]:
    """Whole records from ``begin`` on; ends before the first that is incomplete or damaged."""
    view = memoryview(data)
    while True:
        end = end_of(data, begin)
        if end > len(data) or end < begin + FRAME_BYTES + _FIXED.size:
            return
        (checksum,) = _CRC.unpack_from(data, begin)
        if crc32(view[begin + _CRC.size : end]) != checksum:
            return
        yield Kept(_decode(data, begin + FRAME_BYTES), end)
        begin = end


def tally(data: bytes, begin: int, keys: WaitingKeys) -> Tally:
    """What :func:`read` would find, counted in a third of its time, and its keys added to ``keys``."""
    view, least = memoryview(data), FRAME_BYTES + _FIXED.size
    records, topics = 0, dict[bytes, str]()
    while begin + least <= len(data):
        checksum, length, _, _, key_length, _, topic_length, _ = _RECORD.unpack_from(data, begin)
        end = begin + FRAME_BYTES + length
        if end > len(data) or end < begin + least or crc32(view[begin + _CRC.size : end]) != checksum:
            break
        if key_length >= 0:
            at = begin + least + topic_length
            name = data[begin + least : at]
            topic = topics.get(name) or topics.setdefault(name, name.decode())
            keys.add(topic, data[at : at + key_length])
        records += 1
        begin = end
    return Tally(records, begin)


def end_of(data: bytes, begin: int) -> int:
    """Where the record at ``begin`` says that it ends; unchecked, and behind the data when that is not told."""
    if begin + FRAME_BYTES > len(data):
        return begin + FRAME_BYTES + _FIXED.size + len(data)
    (length,) = _LENGTH.unpack_from(data, begin + _CRC.size)
    return begin + FRAME_BYTES + int(length)


def _decode(data: bytes, at: int) -> Outgoing:
    timestamp_ms, partition, key_length, value_length, topic_length, headers = _FIXED.unpack_from(data, at)
    at += _FIXED.size
    topic = data[at : at + topic_length].decode()
    at += topic_length
    key, at = _piece(data, at, key_length)
    value, at = _piece(data, at, value_length)
    return Outgoing(topic, key, value, partition, _decode_headers(data, at, headers), timestamp_ms)


def _piece(data: bytes, at: int, length: int) -> tuple[bytes | None, int]:
    return (None, at) if length < 0 else (data[at : at + length], at + length)


def _encode_headers(headers: Headers) -> bytes:
    parts = []
    for name, value in headers:
        raw = name.encode()
        parts += [_HEADER.pack(len(raw), -1 if value is None else len(value)), raw, value or b""]
    return b"".join(parts)


def _decode_headers(data: bytes, at: int, count: int) -> Headers:
    headers = []
    for _ in range(count):
        name_length, value_length = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        name = data[at : at + name_length].decode()
        value, at = _piece(data, at + name_length, value_length)
        headers.append((name, value))
    return tuple(headers)
