"""Avro record schemas as the codec sees them: flat records of scalar fields, logical types set aside.

A logical type changes neither bytes nor resolution, so ``timestamp-millis`` is the ``long`` it is written as.
Source: Apache Avro 1.12 specification, "Schema Declaration" and "Names".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import fastavro
import polars as pl
from fastavro.types import AvroMessage

from weir.errors import ConfigError

PRIMITIVES = frozenset({"boolean", "int", "long", "float", "double", "string", "bytes"})

DTYPES: dict[str, pl.DataType] = {
    "boolean": pl.Boolean(),
    "int": pl.Int32(),
    "long": pl.Int64(),
    "float": pl.Float32(),
    "double": pl.Float64(),
    "string": pl.String(),
    "bytes": pl.Binary(),
    "enum": pl.String(),
}
"""The column type of each kind of reader field."""

SchemaNode = Any
"""One node of an Avro schema as JSON: a name, a union list or an object."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """The type of one field: a primitive, an enum or a fixed, possibly in a union with null.

    ``null_first`` says which branch of the union null is. ``name`` (in full), ``aliases``, ``symbols`` and
    ``enum_default`` belong to enums, ``size`` (bytes) to fixed.
    """

    kind: str
    nullable: bool = False
    null_first: bool = True
    name: str = ""
    aliases: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    enum_default: str | None = None
    size: int = 0


@dataclass(frozen=True, slots=True)
class RecordField:
    """One field; ``default`` is the value that fills it where a writer has none, in its column's own type."""

    name: str
    scalar: Scalar
    aliases: tuple[str, ...] = ()
    has_default: bool = False
    default: AvroMessage = None

    @property
    def dtype(self) -> pl.DataType:
        """The Polars type of its column."""
        return DTYPES[self.scalar.kind]


@dataclass(frozen=True, slots=True)
class RecordSchema:
    """A flat record. As the reader's, it is what every decoded frame looks like, whoever wrote the records."""

    name: str
    aliases: tuple[str, ...]
    fields: tuple[RecordField, ...]
    parsed: dict[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, schema: Mapping[str, Any]) -> RecordSchema:
        """Read ``schema``; raises ConfigError for what is no flat record of scalars with or without null."""
        try:
            parsed = parse_plain(schema)
        except (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType, KeyError, TypeError) as error:
            raise ConfigError(f"The Avro schema does not parse ({error}); mend the .avsc file.") from None
        if not isinstance(parsed, dict) or parsed["type"] != "record":
            raise ConfigError("The Avro schema must be a record; wrap its type in one.")
        named = named_types(parsed)
        fields = tuple(_reader_field(parsed["name"], node, named) for node in parsed["fields"])
        if not fields:
            raise ConfigError(f"The Avro record {parsed['name']} has no fields; give it at least one.")
        return cls(parsed["name"], tuple(parsed.get("aliases", ())), fields, parsed)

    @property
    def dtypes(self) -> dict[str, pl.DataType]:
        """Column types of a decoded frame, in order."""
        return {each.name: each.dtype for each in self.fields}


def parse_plain(schema: SchemaNode) -> SchemaNode:
    """``schema`` without logical types, checked and with full names, as fastavro wants it."""
    return fastavro.parse_schema(_without_logical_types(schema))


def same_name(written: str, read: str, aliases: tuple[str, ...]) -> bool:
    """Whether a written type's full name stands for the type read: namespaces count only in an alias that has one."""
    last = written.rsplit(".", 1)[-1]
    return last == read.rsplit(".", 1)[-1] or written in aliases or last in aliases


def scalar_of(node: SchemaNode, named: Mapping[str, SchemaNode]) -> Scalar | None:
    """The scalar that a parsed schema node describes; None for maps, arrays, records and wider unions."""
    if isinstance(node, list):
        return _null_union(node, named)
    if isinstance(node, str):
        return Scalar(node) if node in PRIMITIVES else scalar_of(named[node], {}) if node in named else None
    kind = node["type"]
    if kind == "enum":
        return Scalar(
            kind,
            name=node["name"],
            aliases=tuple(node.get("aliases", ())),
            symbols=tuple(node["symbols"]),
            enum_default=node.get("default"),
        )
    if kind == "fixed":
        return Scalar(kind, name=node["name"], size=node["size"])
    return Scalar(kind) if isinstance(kind, str) and kind in PRIMITIVES else None


def named_types(node: SchemaNode, into: dict[str, SchemaNode] | None = None) -> dict[str, SchemaNode]:
    """Every named type declared inside a parsed schema, by full name."""
    found = {} if into is None else into
    if isinstance(node, list):
        for branch in node:
            named_types(branch, found)
    elif isinstance(node, dict):
        if "name" in node:
            found[node["name"]] = node
        for child in (*(each["type"] for each in node.get("fields", ())), node.get("items"), node.get("values")):
            named_types(child, found)
    return found


def _null_union(branches: list[SchemaNode], named: Mapping[str, SchemaNode]) -> Scalar | None:
    nulls = [_is_null(branch) for branch in branches]
    if len(branches) != 2 or nulls.count(True) != 1:
        return None
    inner = scalar_of(branches[nulls.index(False)], named)
    if inner is None or inner.nullable:
        return None
    return Scalar(inner.kind, True, nulls[0], inner.name, inner.aliases, inner.symbols, inner.enum_default, inner.size)


def _is_null(node: SchemaNode) -> bool:
    return node == "null" or (isinstance(node, dict) and node["type"] == "null")


def _reader_field(record: str, node: dict[str, Any], named: Mapping[str, SchemaNode]) -> RecordField:
    scalar = scalar_of(node["type"], named)
    if scalar is None or scalar.kind not in DTYPES:
        raise ConfigError(
            f"Field {node['name']} of the Avro record {record} has a type that no column holds; "
            "use a primitive type or an enum, or a union of null with one."
        )
    default = node.get("default")
    if scalar.kind == "bytes" and isinstance(default, str):
        default = default.encode("latin-1")  # the specification writes a byte as the code point of the same number
    if scalar.kind in ("float", "double") and isinstance(default, int):
        default = float(default)
    return RecordField(node["name"], scalar, tuple(node.get("aliases", ())), "default" in node, default)


def _without_logical_types(node: SchemaNode) -> SchemaNode:
    if isinstance(node, list):
        return [_without_logical_types(branch) for branch in node]
    if not isinstance(node, Mapping):
        return node
    plain = {key: value for key, value in node.items() if key not in ("logicalType", "__fastavro_parsed__")}
    for key in ("type", "items", "values"):
        if key in plain:
            plain[key] = _without_logical_types(plain[key])
    if "fields" in plain:
        plain["fields"] = [_without_logical_types(each) for each in plain["fields"]]
    return plain
