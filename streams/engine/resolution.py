"""How a writer's records become the reader's columns: Avro schema resolution, worked out once a schema id.

Names are matched as Avro 1.12 says ("Schema Resolution"): records and enums by unqualified name or the reader's
alias, fields by name, then by the reader's alias. Numbers widen (int, long, float, double), string and bytes swap,
null unions widen, added fields take their default, removed fields are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastavro.schema import SchemaParseException, UnknownType

from streams.engine.avro_schema import (
    RecordField,
    RecordSchema,
    Scalar,
    SchemaNode,
    named_types,
    parse_plain,
    same_name,
    scalar_of,
)
from streams.engine.rejection import INCOMPATIBLE_SCHEMA, WRONG_SCHEMA
from weir.errors import PoisonError

PROMOTIONS: dict[str, frozenset[str]] = {
    "int": frozenset({"int", "long", "float", "double"}),
    "long": frozenset({"long", "float", "double"}),
    "float": frozenset({"float", "double"}),
    "string": frozenset({"string", "bytes"}),
    "bytes": frozenset({"bytes", "string"}),
}
"""Which reader kinds a written kind may become; others only become themselves."""

END_FIELD: dict[str, Any] = {"name": "weir__end", "type": {"type": "fixed", "name": "weir__End", "size": 8}}
"""The last field of a nested record, which :mod:`streams.engine.nested_record` lays behind every payload."""

MAX_VALUES = 10_000
"""Values in one record, arrays and maps counted once: types that double what they hold are refused beyond it."""


@dataclass(frozen=True, slots=True)
class WrittenField:
    """One field in the order it was written: its type, and the reader's field it fills (None: passed over)."""

    name: str
    scalar: Scalar
    target: RecordField | None

    @property
    def symbols(self) -> tuple[str | None, ...]:
        """What each enum index means to the reader; None where the reader has neither symbol nor default."""
        if self.target is None:
            return self.scalar.symbols
        known = self.target.scalar.symbols
        return tuple(each if each in known else self.target.scalar.enum_default for each in self.scalar.symbols)


@dataclass(frozen=True, slots=True)
class FlatResolution:
    """A writer of flat records: its fields in order, and the reader's fields it does not write."""

    written: tuple[WrittenField, ...]
    defaults: tuple[RecordField, ...]


@dataclass(frozen=True, slots=True)
class NestedResolution:
    """A writer of anything else: fastavro reads it with ``writer`` and ``reader``.

    ``reader`` holds only the fields that are written, under the writer's names; ``names`` maps these to the
    reader's own. Both end with :data:`END_FIELD`.
    """

    writer: dict[str, Any]
    reader: dict[str, Any]
    names: dict[str, str]
    defaults: tuple[RecordField, ...]


def resolve(writer_schema: Mapping[str, Any], reader: RecordSchema) -> FlatResolution | NestedResolution:
    """Work out how ``writer_schema``'s records fill ``reader``'s columns.

    Raises PoisonError ``wrong_schema`` (another record) or ``incompatible_schema`` (no way to fill a column, or a
    schema that is not safe to read).
    """
    writer = _parse_writer(writer_schema)
    _check_names(writer, reader)
    named = _safe_named_types(writer)
    targets = _match_fields(writer["fields"], reader)
    defaults = tuple(each for each in reader.fields if each not in targets.values())
    for each in defaults:
        if not each.has_default:
            raise _incompatible(f"the writer does not write field {each.name}, which has no default")
    written: list[WrittenField | None] = []
    for node in writer["fields"]:
        scalar, target = scalar_of(node["type"], named), targets.get(node["name"])
        fits = scalar is not None and (target is None or _fits(scalar, target.scalar))
        if scalar is not None and target is not None and not fits and not scalar.nullable:
            raise _incompatible(f"field {node['name']} is written as {scalar.kind} and read as {target.scalar.kind}")
        written.append(WrittenField(node["name"], scalar, target) if scalar is not None and fits else None)
    flat = tuple(each for each in written if each is not None)
    if len(flat) == len(written):
        return FlatResolution(flat, defaults)
    return _nested(writer, reader, targets, defaults)


def _parse_writer(schema: Mapping[str, Any]) -> dict[str, Any]:
    try:
        parsed = parse_plain(schema)
    except (SchemaParseException, UnknownType, LookupError, TypeError, ValueError, AttributeError) as error:
        raise _incompatible(f"the registered schema does not parse ({error!r})") from None
    if isinstance(parsed, dict) and parsed["type"] == "record":
        return parsed
    kind = parsed.get("type") if isinstance(parsed, dict) else parsed
    raise PoisonError(WRONG_SCHEMA, f"Expected a record, and the schema describes {kind!r}.")


def _check_names(writer: dict[str, Any], reader: RecordSchema) -> None:
    if not same_name(writer["name"], reader.name, reader.aliases):
        raise PoisonError(
            WRONG_SCHEMA, f"Expected the record {reader.name}, and the schema describes {writer['name']}."
        )


def _safe_named_types(writer: dict[str, Any]) -> dict[str, SchemaNode]:
    """Named types by full name; refuses what lets a few bytes cost a worker its life.

    Seen with fastavro 1.13: 10,000 bytes of a record that contains itself overflow the C stack (SIGSEGV), and
    an array of items that take no bytes is read for as long as its count says.
    """
    named = named_types(writer)
    if _values_in(writer, named, (), {}) > MAX_VALUES:
        raise _incompatible(f"one record holds more than {MAX_VALUES} values")
    return named


def _values_in(node: SchemaNode, named: Mapping[str, SchemaNode], inside: tuple[str, ...], done: dict[str, int]) -> int:
    """How many values one ``node`` holds, arrays and maps counted as one item; ``done`` keeps named types' answers."""
    if isinstance(node, list):
        return 1 + sum(_values_in(branch, named, inside, done) for branch in node)
    name = node if isinstance(node, str) else node.get("name")
    if name in inside:
        raise _incompatible(f"the type {name} contains itself")
    if name in done:
        return done[name]
    if isinstance(node, str):
        return _values_in(named[node], named, inside, done) if node in named else 1
    if node["type"] == "array" and _may_be_empty(node["items"], named):
        raise _incompatible("it has an array whose items may take no bytes")
    deeper = inside if name is None else (*inside, name)
    children = (*(each["type"] for each in node.get("fields", ())), node.get("items"), node.get("values"))
    count = 1 + sum(_values_in(child, named, deeper, done) for child in children if child is not None)
    if name is not None:
        done[name] = count
    return count


def _may_be_empty(node: SchemaNode, named: Mapping[str, SchemaNode]) -> bool:
    if isinstance(node, str):
        return node == "null" or (node in named and _may_be_empty(named[node], named))
    if isinstance(node, list):
        return False
    if node["type"] == "record":
        return all(_may_be_empty(each["type"], named) for each in node["fields"])
    return bool(node["type"] == "null" or (node["type"] == "fixed" and node["size"] == 0))


def _match_fields(written: list[dict[str, Any]], reader: RecordSchema) -> dict[str, RecordField]:
    """The reader's field that each written field fills, by the writer's name; all names go before any alias."""
    names = [node["name"] for node in written]
    targets = {each.name: each for each in reader.fields if each.name in names}
    for each in reader.fields:
        source = next((alias for alias in each.aliases if alias in names and alias not in targets), None)
        if source is not None and each not in targets.values():
            targets[source] = each
    return targets


def _fits(written: Scalar, read: Scalar) -> bool:
    if written.kind == read.kind == "enum":
        return same_name(written.name, read.name, read.aliases)
    return read.kind in PROMOTIONS.get(written.kind, frozenset({written.kind}))


def _nested(
    writer: dict[str, Any], reader: RecordSchema, targets: dict[str, RecordField], defaults: tuple[RecordField, ...]
) -> NestedResolution:
    types = {node["name"]: node["type"] for node in reader.parsed["fields"]}
    named = named_types(reader.parsed)
    declared: set[str] = set()
    fields = [
        {"name": source, "type": _self_contained(types[target.name], named, declared)}
        for source, target in targets.items()
    ]
    aligned = {"type": "record", "name": writer["name"], "fields": [*fields, END_FIELD]}
    ended = {**writer, "fields": [*writer["fields"], END_FIELD]}
    names = {source: target.name for source, target in targets.items()}
    return NestedResolution(parse_plain(ended), parse_plain(aligned), names, defaults)


def _self_contained(node: SchemaNode, named: Mapping[str, SchemaNode], declared: set[str]) -> SchemaNode:
    """``node`` with a named type spelled out where it is used first: the field that declared it may be gone."""
    if isinstance(node, list):
        return [_self_contained(branch, named, declared) for branch in node]
    name = node if isinstance(node, str) else node.get("name")
    if name not in named:
        return node
    if name in declared:
        return name
    declared.add(name)
    return named[name]


def _incompatible(why: str) -> PoisonError:
    return PoisonError(INCOMPATIBLE_SCHEMA, f"The writer's schema cannot be read as this stream's: {why}.")
