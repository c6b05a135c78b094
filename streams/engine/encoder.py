"""Frames to Confluent-framed Avro: each column becomes a list of cells, a message is a row of cells laid end to end.

Column by column because per-record writers pay for every value: Aggregates in blocks of 1,000 take 1.5 us a record
here and 8 with fastavro, its dicts included (bench/micro/codec.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import groupby, repeat
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streams.engine.avro_block import long_bytes
from streams.engine.avro_schema import RecordField, RecordSchema, Scalar
from weir.errors import ConfigError

MAX_REMEMBERED = 65_536
"""Encoded values that a text column keeps from block to block, 200 bytes each; names come again every window, in one
worker those of 50,000 devices with four sensors each."""

_FIXED_WIDTH = {"double": "<f8", "float": "<f4"}
_TABLED = frozenset({"string", "bytes", "enum", "boolean"})
_LONG_BYTES = 10
_SHORT_LENGTHS = tuple(long_bytes(size) for size in range(256))


class Encoder:
    """Encodes frames whose columns are a flat record's fields."""

    def __init__(self, schema: Mapping[str, Any], schema_id: int) -> None:
        """``schema_id`` is what the registry gave to ``schema``. Raises ConfigError for what is no flat record."""
        self._schema = RecordSchema.parse(schema)
        self._prefix = b"\0" + schema_id.to_bytes(4, "big")
        self._tables = {each.name: _Cells(each.scalar) for each in self._schema.fields if each.scalar.kind in _TABLED}

    def encode(self, frame: pl.DataFrame) -> list[bytes]:
        """One message a row, in order; columns that are no fields are left out.

        Raises ConfigError for a column that is missing, cannot be cast to its field's type, or holds a null or
        symbol that the schema does not allow: the caller and the schema do not fit together.
        """
        if frame.is_empty():
            return []
        cells: list[Iterable[bytes]] = [repeat(self._prefix)]
        columns = [(each, self._column(frame, each)) for each in self._schema.fields]
        for dtype, run in groupby(columns, lambda pair: _run_dtype(pair[0].scalar)):
            if dtype is None:
                cells += [self._cells(each, column) for each, column in run]
            else:
                cells.append(_side_by_side([column for _, column in run], dtype))
        return list(map(b"".join, zip(*cells)))  # noqa: B905  # the prefix is repeated as often as it takes

    def _column(self, frame: pl.DataFrame, field: RecordField) -> pl.Series:
        where = f"Column {field.name} of {self._schema.name}"
        if field.name not in frame.columns:
            raise ConfigError(f"{where} is missing from the frame to encode; it has {', '.join(frame.columns)}.")
        try:
            column = frame.get_column(field.name).cast(field.dtype)
        except pl.exceptions.PolarsError as error:
            raise ConfigError(f"{where} cannot be written as {field.scalar.kind}: {error}.") from None
        if column.null_count() and not field.scalar.nullable:
            raise ConfigError(f"{where} holds {column.null_count()} nulls, and its schema allows none.")
        if field.scalar.kind == "enum" and not column.drop_nulls().is_in(field.scalar.symbols).all():
            raise ConfigError(f"{where} holds a symbol that is none of {', '.join(field.scalar.symbols)}.")
        return column

    def _cells(self, field: RecordField, column: pl.Series) -> list[bytes]:
        table = self._tables.get(field.name)
        if table is not None:
            if len(table) > MAX_REMEMBERED:
                table.clear()  # ever new values must not fill the memory
            return list(map(table.__getitem__, column.to_list()))
        if field.scalar.kind in _FIXED_WIDTH:
            cells = _side_by_side([column.fill_null(0)], _FIXED_WIDTH[field.scalar.kind])
        else:
            cells = _long_cells(column.fill_null(0).to_numpy().astype(np.int64))
        if not field.scalar.nullable:
            return cells
        branch, null = _branches(field.scalar)
        return [branch + cell if valid else null for cell, valid in zip(cells, column.is_not_null(), strict=True)]


def _run_dtype(scalar: Scalar) -> str | None:
    return None if scalar.nullable else _FIXED_WIDTH.get(scalar.kind)


def _side_by_side(columns: list[pl.Series], dtype: str) -> list[bytes]:
    """Neighbouring fields of fixed width as one cell a row."""
    rows = np.column_stack([column.to_numpy() for column in columns]).astype(dtype, copy=False)
    cells: list[bytes] = rows.view(f"V{rows.shape[1] * rows.itemsize}").ravel().tolist()
    return cells


def _branches(scalar: Scalar) -> tuple[bytes, bytes]:
    if not scalar.nullable:
        return b"", b""
    return (long_bytes(1), long_bytes(0)) if scalar.null_first else (long_bytes(0), long_bytes(1))


def _encoding(scalar: Scalar) -> Callable[[Any], bytes]:
    match scalar.kind:
        case "string":
            return lambda text: _measured(text.encode())
        case "bytes":
            return _measured
        case "enum":
            return {symbol: long_bytes(place) for place, symbol in enumerate(scalar.symbols)}.__getitem__
        case _:
            return {False: b"\0", True: b"\1"}.__getitem__


def _measured(raw: bytes) -> bytes:
    size = len(raw)
    return (_SHORT_LENGTHS[size] if size < len(_SHORT_LENGTHS) else long_bytes(size)) + raw


class _Cells(dict[Any, bytes]):
    """The cells of one column by value, each encoded once."""

    def __init__(self, scalar: Scalar) -> None:
        super().__init__()
        self._encoding = _encoding(scalar)
        self._branch, self._null = _branches(scalar)

    def __missing__(self, value: Any) -> bytes:  # noqa: ANN401  # a column's values are of any type
        cell = self[value] = self._null if value is None else self._branch + self._encoding(value)
        return cell


def _long_cells(numbers: NDArray[np.int64]) -> list[bytes]:
    """Zigzag varints, all rows at once, one of the up to ten bytes after the other."""
    rest = ((numbers << 1) ^ (numbers >> 63)).view(np.uint64)
    table = np.zeros((len(rest), _LONG_BYTES), dtype=np.uint8)
    for place in range(_LONG_BYTES):
        byte = (rest & np.uint64(0x7F)).astype(np.uint8)
        rest = rest >> np.uint64(7)
        more = rest > 0
        table[:, place] = byte | (more.astype(np.uint8) << 7)
        if not more.any():
            break
    # numpy strips zero bytes from the end of a string, and only the number 0 ends with one
    return [cell or b"\0" for cell in table.view(f"S{_LONG_BYTES}").ravel().tolist()]
