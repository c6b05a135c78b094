"""JSON messages, as a REST proxy writes them for ``application/vnd.kafka.json.v2+json``: one plain object each.

The rules are the reader schema's, applied strictly: an integer is taken for a float or double, nothing else changes
its type; integers and floats keep within their width; an enum is one of its symbols; ``bytes`` are base64; a field
that is absent takes its default. Unknown fields are ignored, like the fields of a writer's Avro schema that the
reader's has not. NaN and Infinity are no JSON. Of a name given twice the last value counts.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec

from streams.engine.avro_block import INT32_MAX, INT32_MIN
from streams.engine.avro_schema import RecordField, RecordSchema
from streams.engine.nested_record import INT64_MAX, INT64_MIN
from streams.engine.rejection import INVALID_JSON, JSON_TYPE_MISMATCH
from weir.errors import PoisonError

FLOAT_MAX = 3.4028234663852886e38
"""Largest finite 32-bit float."""


class JsonReader:
    """Reads JSON objects into rows of the reader's columns."""

    def __init__(self, reader: RecordSchema) -> None:
        """Make the record's type; fields are numbered inside because an Avro name may be a Python keyword."""
        inner = [f"f{place}" for place in range(len(reader.fields))]
        record = msgspec.defstruct(
            "Record",
            [_field(name, each) for name, each in zip(inner, reader.fields, strict=True)],
            kw_only=True,
            rename=dict(zip(inner, (each.name for each in reader.fields), strict=True)),
        )
        self._decoder = msgspec.json.Decoder(record)
        self._row = attrgetter(*inner) if len(inner) > 1 else lambda read: (getattr(read, inner[0]),)

    def read(self, payload: bytes) -> tuple[Any, ...]:
        """The row of one object. Raises PoisonError ``invalid_json`` or ``json_type_mismatch``."""
        try:
            row: tuple[Any, ...] = self._row(self._decoder.decode(payload))
        except msgspec.ValidationError as error:
            raise PoisonError(JSON_TYPE_MISMATCH, f"The JSON object does not fit: {error}.") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            detail = f"Byte 0 is {payload[0]}, which is no Confluent framing, and as JSON it does not parse: {error}."
            raise PoisonError(INVALID_JSON, detail) from None
        return row


def _field(name: str, field: RecordField) -> tuple[str, Any] | tuple[str, Any, Any]:
    kind = _type(field)
    if field.scalar.nullable:
        kind = kind | None
    return (name, kind, field.default) if field.has_default else (name, kind)


def _type(field: RecordField) -> Any:  # noqa: ANN401  # a type form
    match field.scalar.kind:
        case "int":
            return Annotated[int, msgspec.Meta(ge=INT32_MIN, le=INT32_MAX)]
        case "long":
            return Annotated[int, msgspec.Meta(ge=INT64_MIN, le=INT64_MAX)]
        case "float":
            return Annotated[float, msgspec.Meta(ge=-FLOAT_MAX, le=FLOAT_MAX)]
        case "enum":
            return Literal[field.scalar.symbols]
        case kind:
            return {"boolean": bool, "double": float, "string": str, "bytes": bytes}[kind]
