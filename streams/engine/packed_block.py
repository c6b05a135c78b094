"""Many packed messages in one read: the records of all their arrays laid end to end as one Avro block.

An Avro array is a count, its records and a zero, so between the count and the zero stand the very bytes that a block of
such records has. Behind the records of each message one more is laid that carries sixteen random characters. As every
message says how many records it has, it is known in which rows these characters must come back, and no sender can know
them: a message whose records end too soon or too late, or take a neighbour's bytes, moves them, and nothing of that
read is used. (Reading the arrays as lists of structs costs as much as this and the copies out of the list besides.)

The other way, :class:`PackedReader`, takes one message and gives the verdict on it. Both accept the same messages, but
that one with an array in several parts, or with fields behind it, is always read by the second.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streams.engine.avro_block import PREFIX_BYTES, BlockColumns, long_bytes
from streams.engine.avro_schema import RecordSchema
from streams.engine.packed_schema import MOST_ROWS, PackedResolution, PackedSchema
from streams.engine.record_by_record import RecordReader, check_end, read_long
from streams.engine.rejection import BATCH_TOO_LARGE, UNDECODABLE
from streams.engine.resolution import FlatResolution, WrittenField
from weir.errors import PoisonError

_Head = tuple[tuple[Any, ...], int, bytes]
"""What stands before the records of one message: what they share, how many they are; and these."""

NOISE_BYTES = 8
"""Random bytes of a read; they are written as twice as many hexadecimal digits."""

_EMPTY = {"float": bytes(4), "double": bytes(8)}


class Packed(NamedTuple):
    """The rows of some messages, in order, in the reader's columns; ``counts`` says how many each message has."""

    frame: pl.DataFrame
    counts: NDArray[np.int64]


class PackedBlock:
    """Reads packed messages of one schema id, all or nothing."""

    def __init__(
        self, schema_id: int, resolution: PackedResolution, packed: PackedSchema, reader: RecordSchema
    ) -> None:
        """Read what ``resolution`` says was written under ``schema_id``."""
        self._prefix = b"\0" + schema_id.to_bytes(4, "big")
        self._packed = packed
        self._names = list(reader.dtypes)
        self._shared = RecordReader(resolution.before, packed.shared)
        self._items = BlockColumns(resolution.items, packed.items)
        self._carrier = _carrier(resolution.items.written)
        self._is_one_text = _is_one_text(resolution.before)
        self._is_plain = not resolution.after.written and self._carrier is not None
        if self._carrier is not None:
            at = resolution.items.written.index(self._carrier)
            self._before = b"".join(map(_least, resolution.items.written[:at])) + _value_branch(self._carrier)
            self._after = b"".join(map(_least, resolution.items.written[at + 1 :]))

    def read(self, values: Sequence[bytes | None]) -> Packed | None:
        """The rows of all messages, or None if any of them is not a whole packed record of this id, in one part.

        Messages keep their 5-byte prefix. None says nothing about which message is at fault.
        """
        heads: list[_Head] = []
        for value in values if self._is_plain else [None]:
            head = None if value is None or value[:PREFIX_BYTES] != self._prefix else self._head(value)
            if head is None:
                return None
            heads.append(head)
        shared, rows, arrays = zip(*heads, strict=True) if heads else ((), (), ())
        counts = np.array(rows, dtype=np.int64)
        items = self._read_items(arrays, counts)
        return None if items is None else Packed(self._side_by_side(shared, items, counts), counts)

    def _head(self, value: bytes) -> _Head | None:
        try:
            if self._is_one_text:  # 1 us a message less than the way that fits all
                size, at = read_long(value, PREFIX_BYTES)
                shared: tuple[Any, ...] = (value[at : at + size].decode(),)
                at = at + size if size >= 0 else len(value)
            else:
                shared, at = self._shared.read_at(value, PREFIX_BYTES)
            rows, at = read_long(value, at)
        except (PoisonError, IndexError, ValueError):
            return None
        if rows == 0:
            return (shared, 0, b"") if at == len(value) else None
        if not 0 < rows <= MOST_ROWS or value[-1] or at >= len(value):
            return None
        return shared, rows, value[at:-1]

    def _read_items(self, arrays: Sequence[bytes], counts: NDArray[np.int64]) -> pl.DataFrame | None:
        noise = secrets.token_hex(NOISE_BYTES)
        carrier = long_bytes(len(noise)) + noise.encode()
        sentinel = b"".join((self._before, carrier, self._after))
        body = sentinel.join([*arrays, b""])
        total = int(counts.sum()) + len(arrays)
        frame = self._items.parse(total, len(body), (body,))
        if frame is None or frame.height != total or self._carrier is None or self._carrier.target is None:
            return None
        ends = np.cumsum(counts + 1) - 1
        carried = frame.get_column(self._carrier.target.name)[ends]
        if not carried.eq_missing(pl.Series([noise]).cast(carried.dtype)).all():
            return None
        is_row = np.ones(total, dtype=np.bool_)
        is_row[ends] = False
        return self._items.in_reader_columns(frame.filter(pl.Series(is_row)))

    def _side_by_side(
        self, shared: Sequence[tuple[Any, ...]], items: pl.DataFrame, counts: NDArray[np.int64]
    ) -> pl.DataFrame:
        message = np.repeat(np.arange(len(counts), dtype=np.uint32), counts)
        columns = [
            pl.Series(name, cells, dtype=dtype)[message]
            for (name, dtype), cells in zip(self._packed.shared.dtypes.items(), zip(*shared, strict=True), strict=True)
        ]
        return pl.DataFrame([*columns, *items.get_columns()]).select(self._names)


class PackedReader:
    """Reads single packed payloads (without the 5-byte prefix) of one writer's schema into rows."""

    def __init__(self, resolution: PackedResolution, packed: PackedSchema) -> None:
        """Read what ``resolution`` says was written."""
        self._shared = RecordReader(resolution.before, packed.shared)
        self._item = RecordReader(resolution.items, packed.items)
        self._after = RecordReader(resolution.after, packed.shared)
        self._array = packed.array
        self._order = packed.order

    def read(self, payload: bytes) -> list[tuple[Any, ...]]:
        """The rows of one payload, in the reader's columns.

        Raises PoisonError ``undecodable``, ``trailing_bytes``, ``incompatible_schema`` or ``batch_too_large``.
        """
        shared, position = self._shared.read_at(payload, 0)
        rows: list[tuple[Any, ...]] = []
        count, position = self._count(payload, position, len(rows))
        while count:
            for _ in range(count):
                item, position = self._next(payload, position, len(rows))
                both = shared + item
                rows.append(tuple([both[place] for place in self._order]))
            count, position = self._count(payload, position, len(rows))
        _, position = self._after.read_at(payload, position)
        check_end(payload, position)
        return rows

    def _count(self, payload: bytes, position: int, before: int) -> tuple[int, int]:
        """How many items come next; a part of an array may be written with its size, which is of no use here."""
        try:
            count, position = read_long(payload, position)
            if count < 0:
                _, position = read_long(payload, position)
        except (IndexError, ValueError):
            raise PoisonError(
                UNDECODABLE, f"The record ends inside field {self._array}, after item {before}."
            ) from None
        if abs(count) + before > MOST_ROWS:
            raise PoisonError(
                BATCH_TOO_LARGE,
                f"Field {self._array} has {abs(count) + before:,} items, and one message may have {MOST_ROWS:,}.",
            )
        return abs(count), position

    def _next(self, payload: bytes, position: int, before: int) -> tuple[tuple[Any, ...], int]:
        try:
            return self._item.read_at(payload, position)
        except PoisonError as error:
            raise PoisonError(error.reason, f"Item {before + 1} of {self._array}: {error.detail}") from None


def _is_one_text(shared: FlatResolution) -> bool:
    """Whether the rows share one text that is never null, and nothing else."""
    return not shared.defaults and [
        (each.scalar.kind, each.scalar.nullable, each.target is not None and each.target.scalar.kind)
        for each in shared.written
    ] == [("string", False, "string")]


def _carrier(written: tuple[WrittenField, ...]) -> WrittenField | None:
    """The field of the sentinel's record that carries the noise; text that is never null before other text."""
    texts = [each for each in written if each.target is not None and each.scalar.kind in ("string", "bytes")]
    return min(texts, key=lambda each: each.scalar.nullable, default=None)


def _value_branch(field: WrittenField) -> bytes:
    if not field.scalar.nullable:
        return b""
    return long_bytes(1) if field.scalar.null_first else long_bytes(0)


def _least(field: WrittenField) -> bytes:
    """The shortest value of a field."""
    scalar = field.scalar
    if scalar.nullable:
        return long_bytes(0) if scalar.null_first else long_bytes(1)
    return bytes(scalar.size) if scalar.kind == "fixed" else _EMPTY.get(scalar.kind, b"\0")
