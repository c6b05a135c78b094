"""The codec: message values in, one frame of the reader's columns out, and each record that does not fit by itself.

The way of a call: values that all carry one schema id are read as one block (:mod:`streams.engine.avro_block`, or
:mod:`streams.engine.packed_block` for records that hold many rows). Otherwise they are grouped by schema id, with JSON
as one more group; a group whose block does not pass is read again in chunks, and a chunk that does not pass one by one
(:mod:`streams.engine.record_by_record`).
Rows come back in input order. The verdict on a record depends on its bytes and its schema only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streams.engine.avro_block import PREFIX_BYTES, AvroBlock
from streams.engine.avro_schema import RecordSchema
from streams.engine.json_payload import JsonReader
from streams.engine.nested_record import NestedRecordReader
from streams.engine.packed_block import Packed, PackedBlock, PackedReader
from streams.engine.packed_schema import PackedSchema, resolve_packed
from streams.engine.record_by_record import RecordReader
from streams.engine.rejection import EMPTY_VALUE, UNDECODABLE, Rejected
from streams.engine.resolution import FlatResolution, resolve
from weir.errors import PoisonError

__all__ = ["Codec", "Decoded", "Rejected", "SchemaSource"]

BLOCK_MIN_RECORDS = 16
"""Fewer are read one by one: a block takes about 80 us however small, a Reading alone 5 (bench/micro/codec.py)."""

CHUNK_RECORDS = 128
"""A block that does not pass is read again in chunks of this, and only the chunks that do not pass one by one.

Of 5,000 Readings with 1, 10, 50 and 5,000 at fault it takes 9, 18, 38 and 40 ms (512: 9, 30, 30, 37; 64: 24, 21, 51,
51; halving down to 64: 7, 23, 50, 64; RUST_BACKTRACE=1, which makes panics dear; bench/micro/codec.py)."""


class SchemaSource(Protocol):
    """Where writers' schemas come from; connectors.registry.Registry is one."""

    def schema(self, schema_id: int) -> Mapping[str, Any]:
        """The schema of that id. Raises PoisonError ``unknown_schema_id`` or TransientError."""
        ...


class Decoded(NamedTuple):
    """What became of a list of values.

    ``frame`` has the reader schema's fields in its order, one row an accepted record, in input order; ``index``
    (int64) the position in the values of each row; ``rejected`` the others, in input order. A packed record gives many
    rows or none; ``places`` (int64) is then the place of each row among those of its record, None without such records.
    """

    frame: pl.DataFrame
    index: NDArray[np.int64]  # type: ignore[assignment]  # hides tuple.index, which nobody calls here
    rejected: list[Rejected]
    places: NDArray[np.int64] | None = None


class Codec:
    """Decodes Confluent-framed Avro, and JSON, into the columns of one reader schema.

    Strings become String, long Int64, int Int32, double Float64, float Float32, boolean, bytes Binary, enum String;
    logical types stay the integers they are written as; a union with null is a nullable column.
    """

    def __init__(
        self, reader_schema: Mapping[str, Any], schemas: SchemaSource, packed: Mapping[str, Any] | None = None
    ) -> None:
        """``packed`` is the schema of a record that holds many of the reader's, if that is accepted, too.

        Raises ConfigError for a reader schema that is no flat record, and for a packed one that does not fit it.
        """
        self._reader = RecordSchema.parse(reader_schema)
        self._packed = None if packed is None else PackedSchema.parse(packed, self._reader)
        self._schemas = schemas
        self._json = JsonReader(self._reader)
        self._writers: dict[int, _Writer] = {}
        self._mixed = False

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """Decode ``values``; blocks for CPU time only, but for a schema id seen first, which asks the registry.

        Raises TransientError when the registry is away: nothing was decoded, the same call may succeed later.
        """
        tried = not self._mixed
        if tried:
            decoded = self._one_block(values)
            if decoded is not None:
                return decoded
        sorting = _Sorting(self._reader)
        groups = _group(values, sorting)
        self._mixed = len(groups) > 1
        for schema_id, (positions, group) in groups.items():
            if schema_id is None:
                _one_by_one(self._json, group, positions, sorting, None)
            else:
                self._decode_group(schema_id, group, positions, sorting, tried and len(group) == len(values))
        return sorting.decoded()

    def _one_block(self, values: Sequence[bytes | None]) -> Decoded | None:
        first = values[0] if values else None
        if first is None or len(first) < PREFIX_BYTES or first[0]:
            return None
        known = self._writers.get(int.from_bytes(first[1:PREFIX_BYTES], "big"))
        read = None if known is None else known.read_block(values)
        if read is None:
            return None
        everyone = np.arange(len(values), dtype=np.int64)
        if isinstance(read, Packed):
            return Decoded(read.frame, *_rows_of(read, everyone))
        return Decoded(read, everyone, [])

    def _decode_group(
        self, schema_id: int, values: list[bytes], positions: list[int], sorting: _Sorting, tried: bool
    ) -> None:
        known = schema_id in self._writers
        try:
            writer = self._writer(schema_id)
        except PoisonError as error:
            sorting.rejected += [Rejected(each, error.reason, error.detail, schema_id) for each in positions]
            return
        whole = None if known and tried else writer.read_block(values)
        if whole is not None:
            sorting.add(whole, positions)
            return
        for low in range(0, len(values), CHUNK_RECORDS):
            part, places = values[low : low + CHUNK_RECORDS], positions[low : low + CHUNK_RECORDS]
            read = writer.read_block(part)
            if read is not None:
                sorting.add(read, places)
            else:
                _one_by_one(writer.single, [each[PREFIX_BYTES:] for each in part], places, sorting, schema_id)

    def _writer(self, schema_id: int) -> _Writer:
        writer = self._writers.get(schema_id)
        if writer is None:
            writer = self._writers[schema_id] = _Writer(
                schema_id, self._schemas.schema(schema_id), self._reader, self._packed
            )
        if writer.fault is not None:
            raise PoisonError(*writer.fault)  # made anew: a kept exception keeps the frames it went through
        return writer


class _RowReader(Protocol):
    def read(self, payload: bytes) -> tuple[Any, ...] | list[tuple[Any, ...]]:
        """The row of one payload; a list of rows of a packed one."""


class _Writer:
    """How the records of one schema id are read: in blocks where that goes, always one by one; or why never."""

    def __init__(
        self, schema_id: int, schema: Mapping[str, Any], reader: RecordSchema, packed: PackedSchema | None
    ) -> None:
        self.fault: tuple[str, str] | None = None
        self.block: AvroBlock | PackedBlock | None = None
        self.single: _RowReader
        self._block_min = BLOCK_MIN_RECORDS
        try:
            if packed is not None and packed.is_written_as(schema):
                self._read_packed(schema_id, schema, reader, packed)
            else:
                self._read_flat(schema_id, schema, reader)
        except PoisonError as error:
            self.fault = (error.reason, error.detail)

    def _read_flat(self, schema_id: int, schema: Mapping[str, Any], reader: RecordSchema) -> None:
        resolution = resolve(schema, reader)
        if isinstance(resolution, FlatResolution):
            self.block = AvroBlock(schema_id, resolution, reader)
            self.single = RecordReader(resolution, reader)
        else:
            self.single = NestedRecordReader(resolution, reader)

    def _read_packed(
        self, schema_id: int, schema: Mapping[str, Any], reader: RecordSchema, packed: PackedSchema
    ) -> None:
        resolution = resolve_packed(schema, packed)
        self.block = PackedBlock(schema_id, resolution, packed, reader)
        self.single = PackedReader(resolution, packed)
        self._block_min = 1  # one message may have more rows than it takes

    def read_block(self, values: Sequence[bytes | None]) -> pl.DataFrame | Packed | None:
        return None if self.block is None or len(values) < self._block_min else self.block.read(values)


class _Sorting:
    """Gathers what the groups gave and puts it back into input order."""

    def __init__(self, reader: RecordSchema) -> None:
        self.rejected: list[Rejected] = []
        self._dtypes = reader.dtypes
        self._packed = False
        self._frames: list[pl.DataFrame] = []
        self._positions: list[NDArray[np.int64]] = []
        self._places: list[NDArray[np.int64] | None] = []
        self._rows: list[tuple[Any, ...]] = []
        self._row_positions: list[int] = []
        self._row_places: list[int] = []

    def add(self, read: pl.DataFrame | Packed, positions: list[int]) -> None:
        at = np.array(positions, dtype=np.int64)
        if isinstance(read, Packed):
            index, _, places = _rows_of(read, at)
            self._add_frame(read.frame, index, places)
        else:
            self._add_frame(read, at, None)

    def add_rows(self, read: tuple[Any, ...] | list[tuple[Any, ...]], position: int) -> None:
        rows = read if isinstance(read, list) else [read]
        self._rows += rows
        self._row_positions += [position] * len(rows)
        self._row_places += range(len(rows))
        self._packed |= isinstance(read, list)

    def _add_frame(self, frame: pl.DataFrame, positions: NDArray[np.int64], places: NDArray[np.int64] | None) -> None:
        self._frames.append(frame)
        self._positions.append(positions)
        self._places.append(places)
        self._packed |= places is not None

    def decoded(self) -> Decoded:
        if self._rows or not self._frames:
            columns = zip(*self._rows, strict=True) if self._rows else [()] * len(self._dtypes)
            series = [
                pl.Series(name, column, dtype=dtype)
                for (name, dtype), column in zip(self._dtypes.items(), columns, strict=True)
            ]
            at, places = (np.array(each, dtype=np.int64) for each in (self._row_positions, self._row_places))
            self._add_frame(pl.DataFrame(series), at, places if self._packed else None)
        index, frame = np.concatenate(self._positions), pl.concat(self._frames)
        all_places = self._all_places() if self._packed else None
        if len(self._frames) > 1 or (np.diff(index) < 0).any():
            order = np.argsort(index, kind="stable")
            index, frame = index[order], frame[order]
            all_places = None if all_places is None else all_places[order]
        self.rejected.sort(key=lambda each: each.index)
        return Decoded(frame, index, self.rejected, all_places)

    def _all_places(self) -> NDArray[np.int64]:
        """A record that is not packed has one row, and that has place 0."""
        pairs = zip(self._places, self._positions, strict=True)
        return np.concatenate([np.zeros_like(at) if places is None else places for places, at in pairs])


def _rows_of(read: Packed, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[Rejected], NDArray[np.int64]]:
    """Index, nothing rejected, and places of the rows of packed records that stand at ``positions``."""
    before = np.cumsum(read.counts) - read.counts
    places = np.arange(read.frame.height, dtype=np.int64) - np.repeat(before, read.counts)
    return np.repeat(positions, read.counts), [], places


def _group(values: Sequence[bytes | None], sorting: _Sorting) -> dict[int | None, tuple[list[int], list[bytes]]]:
    """Positions and values by schema id; None stands for JSON. What has neither is rejected here."""
    groups: dict[bytes, tuple[list[int], list[bytes]]] = {}
    for position, value in enumerate(values):
        if not value:
            what = "no value (a tombstone)" if value is None else "an empty value"
            sorting.rejected.append(Rejected(position, EMPTY_VALUE, f"The message has {what}.", None))
            continue
        if not value[0] and len(value) < PREFIX_BYTES:
            detail = f"The message has {len(value)} bytes, and Confluent framing alone takes {PREFIX_BYTES}."
            sorting.rejected.append(Rejected(position, UNDECODABLE, detail, None))
            continue
        prefix = b"" if value[0] else value[:PREFIX_BYTES]
        group = groups.get(prefix)
        if group is None:
            group = groups[prefix] = ([], [])
        group[0].append(position)
        group[1].append(value)
    return {int.from_bytes(key[1:], "big") if key else None: group for key, group in groups.items()}


def _one_by_one(
    reader: _RowReader, payloads: list[bytes], positions: list[int], sorting: _Sorting, schema_id: int | None
) -> None:
    for payload, position in zip(payloads, positions, strict=True):
        try:
            read = reader.read(payload)
        except PoisonError as error:
            sorting.rejected.append(Rejected(position, error.reason, error.detail, schema_id))
        else:
            sorting.add_rows(read, position)
