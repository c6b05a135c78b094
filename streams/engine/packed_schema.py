"""Packed records: one message that stands for many rows, an array of records beside the fields that they share.

The reader's flat record is cut in two: the fields that all rows share are the packed record's own, the others are those
of the records in its one array.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from streams.engine.avro_schema import RecordSchema, same_name
from streams.engine.rejection import INCOMPATIBLE_SCHEMA
from streams.engine.resolution import FlatResolution, resolve
from weir.errors import ConfigError, PoisonError

MOST_ROWS: Final = 10_000
"""Rows of one message: a message is stored whole or not at all, and one flush must be able to hold it."""


@dataclass(frozen=True, slots=True)
class PackedSchema:
    """The reader's packed record: ``array`` is the field with the records ``items``; ``shared`` has the others.

    ``order`` says at which place of the shared and the item's fields, side by side, each column of a row stands.
    """

    name: str
    aliases: tuple[str, ...]
    array: str
    shared: RecordSchema
    items: RecordSchema
    order: tuple[int, ...]

    @classmethod
    def parse(cls, schema: Mapping[str, Any], reader: RecordSchema) -> PackedSchema:
        """Read ``schema``; raises ConfigError unless its fields and its items' together are those of ``reader``."""
        found = _array_field(schema)
        if found is None:
            raise ConfigError(f"The Avro record {schema['name']} must have one array of records; mend the .avsc file.")
        shared = RecordSchema.parse(_without(schema, found["name"]))
        items = RecordSchema.parse(found["type"]["items"])
        dtypes = [*shared.dtypes.items(), *items.dtypes.items()]
        if sorted(dtypes, key=str) != sorted(reader.dtypes.items(), key=str):
            raise ConfigError(f"The fields of {schema['name']} and its items are not those of {reader.name}.")
        names = [name for name, _ in dtypes]
        order = tuple(names.index(name) for name in reader.dtypes)
        return cls(shared.name, shared.aliases, found["name"], shared, items, order)

    def is_written_as(self, schema: Mapping[str, Any]) -> bool:
        """Whether a writer's schema describes this record, by its name."""
        name = schema.get("name")
        return isinstance(name, str) and schema.get("type") == "record" and same_name(name, self.name, self.aliases)


@dataclass(frozen=True, slots=True)
class PackedResolution:
    """How a writer's packed records fill the reader's: fields ``before`` the array, its items, fields ``after`` it."""

    before: FlatResolution
    items: FlatResolution
    after: FlatResolution


def resolve_packed(writer: Mapping[str, Any], packed: PackedSchema) -> PackedResolution:
    """Work out how a writer's packed records are read.

    Raises PoisonError ``incompatible_schema`` when a field has no way into its column, when the array holds anything
    but flat records, and when a field that the rows share is written behind it.
    """
    fields = writer.get("fields")
    if not isinstance(fields, list) or not all(isinstance(each, Mapping) for each in fields):
        raise _incompatible("it is no record with fields")
    names = [each.get("name") for each in fields]
    found = fields[names.index(packed.array)] if packed.array in names else {}
    node = found.get("type")
    if not isinstance(node, Mapping) or node.get("type") != "array" or not isinstance(node.get("items"), Mapping):
        raise _incompatible(f"its field {packed.array} is no array of records")
    items = resolve(node["items"], packed.items)
    shared = resolve(_without(writer, packed.array), packed.shared)
    if not isinstance(items, FlatResolution) or not isinstance(shared, FlatResolution):
        raise _incompatible("it has maps, arrays, records or wider unions beside its one array of flat records")
    at = names.index(packed.array)
    after = shared.written[at:]
    if any(each.target is not None for each in after):
        raise _incompatible(f"what its rows share must be written before {packed.array}")
    return PackedResolution(FlatResolution(shared.written[:at], shared.defaults), items, FlatResolution(after, ()))


def _array_field(schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
    arrays = [
        each for each in schema["fields"] if isinstance(each["type"], Mapping) and each["type"]["type"] == "array"
    ]
    return arrays[0] if len(arrays) == 1 else None


def _without(schema: Mapping[str, Any], field: str) -> dict[str, Any]:
    return {**schema, "fields": [each for each in schema["fields"] if each.get("name") != field]}


def _incompatible(why: str) -> PoisonError:
    return PoisonError(INCOMPATIBLE_SCHEMA, f"The writer's schema cannot be read as this stream's: {why}.")
