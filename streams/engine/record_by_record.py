"""One Avro record on its own: the verdict on a record whose block did not pass, and the sentence that explains it.

It accepts exactly what :mod:`streams.engine.avro_block` accepts, with the same values, so that the verdict on a
record never depends on its neighbours. tests/property/test_codec_mutations.py holds the two against each other.
fastavro would not do: it takes what the block refuses (a boolean byte 2, an ``int`` of 40 bits, a negative enum index
counted from the end) and refuses what the block takes (a union branch that does not exist). Where Avro's
specification is silent or both are lax, this is what holds:

- a branch index of a union with null means null only if it is null's own: in ``[null, T]`` every index but 0 is T,
  in ``[T, null]`` every index but 0 is null. That concerns the sender's own record only; its end is still checked.
- a ``long`` takes at most ten bytes and wraps at 64 bits; needless zero bits are allowed.
- what the reader passes over is measured, not understood: its text may be any bytes, its enum index any number.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from streams.engine.avro_block import INT32_MAX, INT32_MIN
from streams.engine.avro_schema import RecordSchema
from streams.engine.rejection import INCOMPATIBLE_SCHEMA, TRAILING_BYTES, UNDECODABLE
from streams.engine.resolution import FlatResolution, WrittenField
from weir.errors import PoisonError

Read = Callable[[bytes, int], tuple[Any, int]]
"""Reads one value at a position; gives it and the position after it."""

_FLOAT = struct.Struct("<f").unpack_from
_DOUBLE = struct.Struct("<d").unpack_from
_MASK = 2**64 - 1
_LONG_BITS = 63


class RecordReader:
    """Reads single payloads (without the 5-byte prefix) of one writer's schema into rows of the reader's columns."""

    def __init__(self, resolution: FlatResolution, reader: RecordSchema) -> None:
        """Work out one reading function a field."""
        place = {each.name: position for position, each in enumerate(reader.fields)}
        self._blank = [each.default for each in reader.fields]
        self._steps = [
            (each.name, _reader_of(each), None if each.target is None else place[each.target.name])
            for each in resolution.written
        ]

    def read(self, payload: bytes) -> tuple[Any, ...]:
        """The row of one payload.

        Raises PoisonError ``undecodable``, ``trailing_bytes`` or ``incompatible_schema``.
        """
        row, position = self.read_at(payload, 0)
        check_end(payload, position)
        return row

    def read_at(self, payload: bytes, position: int) -> tuple[tuple[Any, ...], int]:
        """The row of the record that begins at ``position``, and the position after it.

        Raises PoisonError ``undecodable`` or ``incompatible_schema``.
        """
        row = self._blank.copy()
        for name, read, place in self._steps:
            try:
                value, position = read(payload, position)
            except (IndexError, struct.error):
                raise PoisonError(
                    UNDECODABLE, f"The record ends inside field {name}, at byte {len(payload)}."
                ) from None
            except (ValueError, LookupError) as error:
                reason = INCOMPATIBLE_SCHEMA if isinstance(error, KeyError) else UNDECODABLE
                raise PoisonError(reason, f"Field {name} at byte {position} {error.args[0]}.") from None
            if place is not None:
                row[place] = value
        return tuple(row), position


def check_end(payload: bytes, position: int) -> None:
    """Raise PoisonError ``trailing_bytes`` unless the record that ended at ``position`` was all of ``payload``."""
    if position != len(payload):
        left = len(payload) - position
        raise PoisonError(TRAILING_BYTES, f"The record ends at byte {position} and {left} more follow.")


def _reader_of(field: WrittenField) -> Read:
    scalar, target = field.scalar, field.target
    if target is None:
        read = _SKIPS[scalar.kind] if scalar.kind != "fixed" else _fixed(scalar.size)
        return _nullable(read, scalar.null_first, True) if scalar.nullable else read
    read = _enum(field.symbols) if scalar.kind == "enum" else _READS[scalar.kind]
    if (scalar.kind, target.scalar.kind) == ("bytes", "string"):
        read = _read_string
    elif (scalar.kind, target.scalar.kind) == ("string", "bytes"):
        read = _as(read, str.encode)
    elif target.scalar.kind in ("float", "double") and scalar.kind in ("int", "long"):
        read = _as(read, float)
    return _nullable(read, scalar.null_first, target.scalar.nullable) if scalar.nullable else read


def read_long(data: bytes, position: int) -> tuple[int, int]:
    """The Avro long at ``position``, and the position after it. Raises IndexError at the end of ``data``.

    Raises ValueError for more than ten bytes.
    """
    byte = data[position]
    position += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), position
    bits, shift = byte & 0x7F, 7
    while byte > 0x7F:
        if shift > _LONG_BITS:
            raise ValueError("has a number of more than ten bytes")
        byte = data[position]
        position += 1
        bits |= (byte & 0x7F) << shift
        shift += 7
    bits &= _MASK
    return (bits >> 1) ^ -(bits & 1), position


def _read_int(data: bytes, position: int) -> tuple[int, int]:
    number, position = read_long(data, position)
    if not INT32_MIN <= number <= INT32_MAX:
        raise ValueError(f"is an int, and {number} does not fit in 32 bits")
    return number, position


def _read_bytes(data: bytes, position: int) -> tuple[bytes, int]:
    length, start = read_long(data, position)
    if length < 0:
        raise ValueError(f"has the length {length}")
    if length > len(data) - start:
        raise ValueError(f"claims {length} bytes, and {len(data) - start} are left")
    return data[start : start + length], start + length


def _read_string(data: bytes, position: int) -> tuple[str, int]:
    raw, after = _read_bytes(data, position)
    try:
        return raw.decode(), after
    except UnicodeDecodeError as error:
        raise ValueError(f"is no UTF-8 ({error.reason})") from None


def _read_boolean(data: bytes, position: int) -> tuple[bool, int]:
    byte = data[position]
    if byte > 1:
        raise ValueError(f"is a boolean, and its byte is {byte}")
    return byte == 1, position + 1


def _read_float(data: bytes, position: int) -> tuple[float, int]:
    return _FLOAT(data, position)[0], position + 4


def _read_double(data: bytes, position: int) -> tuple[float, int]:
    return _DOUBLE(data, position)[0], position + 8


_READS: dict[str, Read] = {
    "boolean": _read_boolean,
    "int": _read_int,
    "long": read_long,
    "float": _read_float,
    "double": _read_double,
    "string": _read_string,
    "bytes": _read_bytes,
}


def _fixed(size: int) -> Read:
    def read(data: bytes, position: int) -> tuple[bytes, int]:
        if size > len(data) - position:
            raise IndexError
        return data[position : position + size], position + size

    return read


def _enum(symbols: tuple[str | None, ...]) -> Read:
    def read(data: bytes, position: int) -> tuple[str, int]:
        index, position = read_long(data, position)
        if not 0 <= index < len(symbols):
            raise ValueError(f"is an enum of {len(symbols)} symbols, and its index is {index}")
        symbol = symbols[index]
        if symbol is None:
            raise KeyError(f"is an enum, and the reader does not know its symbol {index}")
        return symbol, position

    return read


def _as(read: Read, convert: Callable[[Any], Any]) -> Read:
    def promoted(data: bytes, position: int) -> tuple[Any, int]:
        value, position = read(data, position)
        return convert(value), position

    return promoted


def _nullable(read: Read, null_first: bool, null_allowed: bool) -> Read:
    def branch(data: bytes, position: int) -> tuple[Any, int]:
        index, position = read_long(data, position)
        if (index == 0) != null_first:
            return read(data, position)
        if not null_allowed:
            raise KeyError("is null, and the reader's field cannot be")
        return None, position

    return branch


_SKIPS: dict[str, Read] = {
    "boolean": _fixed(1),
    "int": read_long,
    "long": read_long,
    "float": _fixed(4),
    "double": _fixed(8),
    "string": _read_bytes,
    "bytes": _read_bytes,
    "enum": read_long,
}
