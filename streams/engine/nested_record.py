"""Records that Polars cannot read in blocks (maps, arrays, inner records, wider unions): fastavro reads each.

Here fastavro alone judges, so the verdict is the same with or without neighbours; where it is lax (a boolean byte
other than 0 and 1 is true, a negative enum or branch index counts from the end) so is this. But for one thing: what
fastavro 1.13 passes over it does not measure, so a record cut short inside a field that the reader has not would pass.
Eight bytes behind every record, declared as its last field, cannot be read then.
"""

from __future__ import annotations

import io
from typing import Any

from fastavro import schemaless_reader
from fastavro.read import SchemaResolutionError

from streams.engine.avro_block import INT32_MAX, INT32_MIN
from streams.engine.avro_schema import RecordSchema
from streams.engine.rejection import INCOMPATIBLE_SCHEMA, TRAILING_BYTES, UNDECODABLE
from streams.engine.resolution import END_FIELD, NestedResolution
from weir.errors import PoisonError

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
_END = bytes(END_FIELD["type"]["size"])
_RANGES = {"int": (INT32_MIN, INT32_MAX), "long": (INT64_MIN, INT64_MAX)}


class NestedRecordReader:
    """Reads single payloads (without the 5-byte prefix) of one writer's schema into rows of the reader's columns."""

    def __init__(self, resolution: NestedResolution, reader: RecordSchema) -> None:
        """Keep the two schemas that fastavro resolves."""
        self._resolution = resolution
        self._fields = reader.fields
        self._defaults = {each.name: each.default for each in resolution.defaults}

    def read(self, payload: bytes) -> tuple[Any, ...]:
        """The row of one payload.

        Raises PoisonError ``undecodable``, ``trailing_bytes`` or ``incompatible_schema``.
        """
        source = io.BytesIO(payload + _END)
        try:
            record = schemaless_reader(source, self._resolution.writer, self._resolution.reader)
        except SchemaResolutionError as error:
            raise PoisonError(
                INCOMPATIBLE_SCHEMA, f"This record has no place in the reader's schema: {error}."
            ) from None
        except (EOFError, LookupError, ValueError, OverflowError, TypeError, RecursionError) as error:
            where = f"near byte {min(source.tell(), len(payload))} of {len(payload)}"
            raise PoisonError(UNDECODABLE, f"The record does not follow its schema {where}: {error}.") from None
        end = source.tell() - len(_END)
        if end != len(payload):
            raise PoisonError(TRAILING_BYTES, f"The record ends at byte {end} and {len(payload) - end} more follow.")
        return self._row(record)

    def _row(self, record: Any) -> tuple[Any, ...]:  # noqa: ANN401  # fastavro gives what the schema says
        named = {
            self._resolution.names[name]: value for name, value in record.items() if name in self._resolution.names
        } | self._defaults
        for field in self._fields:
            low, high = _RANGES.get(field.scalar.kind, (None, None))
            value = named[field.name]
            if low is not None and value is not None and not low <= value <= high:
                raise PoisonError(UNDECODABLE, f"Field {field.name} is {field.scalar.kind}, and {value} does not fit.")
        return tuple(named[field.name] for field in self._fields)
