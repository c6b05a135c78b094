"""A raw value as a person can read it: decoded Avro, JSON, else bytes."""

from __future__ import annotations

import io
import json
from typing import Any, Final, NamedTuple

import msgspec
from fastavro import schemaless_reader

from connectors.registry import Registry
from weir.errors import WeirError

PREFIX_BYTES: Final = 5
DUMPED_BYTES: Final = 512
"""So many bytes are dumped; the others are counted."""


class ShownValue(NamedTuple):
    """``form`` is avro, json, bytes or none; ``decoded`` the record, if it could be; ``note`` what is odd about it."""

    form: str
    decoded: Any = None
    note: str = ""


def show_value(value: bytes | None, registry: Registry) -> ShownValue:
    """Decode a value by its schema id, or as JSON. Raises nothing; asks the registry and blocks for that."""
    if value is None:
        return ShownValue("none", note="null: the record was a tombstone")
    if value[:1] == b"\0" and len(value) >= PREFIX_BYTES:
        return _avro(value, registry)
    try:
        return ShownValue("json", msgspec.json.decode(value))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return ShownValue("bytes", note=f"neither Avro nor JSON: {error}" if value else "no bytes at all")


def _avro(value: bytes, registry: Registry) -> ShownValue:
    schema_id = int.from_bytes(value[1:PREFIX_BYTES], "big")
    try:
        schema = registry.schema(schema_id)
    except WeirError as error:
        return ShownValue("bytes", note=str(error))
    source = io.BytesIO(value[PREFIX_BYTES:])
    try:
        decoded = schemaless_reader(source, schema, None)
    except Exception as error:  # fastavro raises what its steps raise; here the bytes are shown, whatever it was
        return ShownValue("bytes", note=f"does not follow schema {schema_id}: {error or type(error).__name__}")
    more = len(value) - PREFIX_BYTES - source.tell()
    return ShownValue("avro", decoded, f"{more} bytes follow the record" if more else "")


def as_json(decoded: Any) -> str:  # noqa: ANN401  # whatever a schema says
    """A decoded value as JSON text, indented; bytes and times as text."""
    return json.dumps(decoded, indent=2, ensure_ascii=False, default=str)


def hex_dump(value: bytes) -> list[str]:
    """Lines of sixteen bytes: offset, hexadecimal, and what is printable ASCII."""
    lines = []
    for begin in range(0, min(len(value), DUMPED_BYTES), 16):
        part = value[begin : begin + 16]
        text = "".join(chr(each) if 32 <= each < 127 else "." for each in part)
        lines.append(f"{begin:06x}  {part.hex(' '):<47}  {text}")
    if len(value) > DUMPED_BYTES:
        lines.append(f"… and {len(value) - DUMPED_BYTES:,} bytes more")
    return lines
