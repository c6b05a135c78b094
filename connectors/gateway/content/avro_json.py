"""Writing values in Avro's JSON encoding as Avro's binary encoding, by any schema.

Avro 1.12, "Data Serialization": a union is null or ``{"branch": value}``, bytes and fixed are texts of code points up
to 255. Fields that are left out take the schema's default when that is a plain value; Confluent's proxy refuses them.
Each part of a schema becomes one function, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from connectors.gateway.content.avro_misfit import Misfit
from connectors.gateway.content.avro_records import record_of
from connectors.gateway.content.avro_writers import (
    NAMED,
    PRIMITIVE,
    Encoded,
    Write,
    array_of,
    enum_of,
    fixed_of,
    map_of,
    union_of,
)

MOST_PARTS: Final = 2_000
"""Types, fields and branches of one schema: compiled in 10 ms."""

MOST_NAME: Final = 250
"""Characters of a full name; fastavro writes a namespace out in every name, 64 KiB of schema as 18 MB."""

MOST_DEFAULTS: Final = 1_000
"""Bytes of all defaults of a schema; a list of ``{}`` stands for so many each. What is beyond must be sent."""

Encode = Callable[[Any, bytes], bytes]
"""Some bytes, and a value after them."""

_RECORDS: Final = frozenset({"record", "error"})

_MISSING: Final = object()


def compiled(schema: Any) -> Encode:
    """What writes values by a schema that fastavro has parsed, so that all names are complete.

    Raises :class:`ValueError` for what fastavro lets through though it can be no schema, and for a schema of too many
    parts. It raises :class:`~connectors.gateway.errors.GatewayError` 42203 for a value that does not fit, with the path
    to what does not, as ``items[3].price``. It may be called in any thread.
    """
    write = _Compiler().write_of(schema)

    def encode(value: Any, first: bytes) -> bytes:
        out = Encoded(first)
        try:
            write(value, out)
        except Misfit as misfit:
            raise misfit.refusal() from None
        return bytes(out)

    return encode


class _Compiler:
    """The names of one schema, and what is left of its budgets."""

    def __init__(self) -> None:
        self._names: dict[str, Write] = {}
        self._parts = MOST_PARTS
        self._default_bytes = MOST_DEFAULTS

    def write_of(self, schema: Any) -> Write:
        self._parts -= 1
        if self._parts < 0:
            raise ValueError(f"it has more than {MOST_PARTS} types and fields")
        if isinstance(schema, str):
            return self._named(schema)
        if isinstance(schema, Sequence):
            return union_of(schema, [self.write_of(each) for each in schema])
        if not isinstance(schema, Mapping) or "type" not in schema:
            raise ValueError("a part of it has no type")
        kind = schema["type"]
        if kind in NAMED:
            return self._definition(kind, schema)
        if kind == "array":
            return array_of(self.write_of(schema["items"]))
        if kind == "map":
            return map_of(self.write_of(schema["values"]))
        return self.write_of(kind)

    def _named(self, name: str) -> Write:
        if name in PRIMITIVE:
            return PRIMITIVE[name]
        if name not in self._names:
            raise ValueError(f"{name} is not defined")
        return lambda value, out: self._names[name](value, out)  # a record may hold itself

    def _definition(self, kind: str, schema: Mapping[str, Any]) -> Write:
        name = schema["name"]
        if len(name) > MOST_NAME:
            raise ValueError(f"it has a name of more than {MOST_NAME} characters")
        self._names[name] = _refuse_unfinished
        if kind in _RECORDS:
            write = record_of(name, [self._field(each) for each in schema["fields"]])
        else:
            write = enum_of(schema) if kind == "enum" else fixed_of(schema)
        self._names[name] = write
        return write

    def _field(self, field: Mapping[str, Any]) -> tuple[str, Write, bytes | None]:
        kind = field["type"]
        if isinstance(kind, Sequence) and not isinstance(kind, str):
            branches = [self.write_of(each) for each in kind]
            # a union's default is one of its first branch, and not wrapped
            default = self._default(field, kind[0], branches[0], b"\0") if branches else None
            return field["name"], union_of(kind, branches), default
        write = self.write_of(kind)
        return field["name"], write, self._default(field, kind, write, b"")

    def _default(self, field: Mapping[str, Any], kind: Any, write: Write, first: bytes) -> bytes | None:
        """The bytes of a field's default; None when it has none, or one that holds further values.

        Defaults of records are left out on purpose: a few hundred bytes of schema, each record holding two of the
        next, would stand for gigabytes.
        """
        default = field.get("default", _MISSING)
        if default is _MISSING:
            return None
        if isinstance(default, dict | list):
            wanted = "map" if isinstance(default, dict) else "array"
            is_empty = not default and isinstance(kind, Mapping) and kind["type"] == wanted
            return first + b"\0" if is_empty else None
        out = Encoded(first)
        try:
            write(default, out)
        except (Misfit, ValueError):
            return None
        if len(out) > self._default_bytes:
            return None
        self._default_bytes -= len(out)
        return bytes(out)


def _refuse_unfinished(value: Any, out: Encoded) -> None:
    raise ValueError("a default needs a record that is not complete yet")
