"""Hypothesis strategies for flat Avro records, and fastavro as the independent judge of them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from hypothesis import strategies as st

PREFIX = b"\0\0\0\0\7"
PROMOTIONS = {
    "int": ["int", "long", "float", "double"],
    "long": ["long", "float", "double"],
    "float": ["float", "double"],
    "string": ["string", "bytes"],
    "bytes": ["bytes", "string"],
    "double": ["double"],
    "boolean": ["boolean"],
}
SYMBOLS = ["red", "green", "blue"]
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
DEFAULTS: dict[str, Any] = {"boolean": True, "int": 4, "long": -5, "float": 0.5, "double": 2.0, "string": "none"}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "string": st.text(st.characters(codec="utf-8"), max_size=8),
    "bytes": st.text(max_size=5).map(str.encode),  # a reader may take them for text
    "enum": st.sampled_from(SYMBOLS),
}


class FakeSchemas:
    """One schema for every id."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema

    def schema(self, schema_id: int) -> Mapping[str, Any]:
        return self._schema


@dataclass(frozen=True)
class Pair:
    """A writer's schema, a reader's that resolves it, and records of the writer's."""

    writer: dict[str, Any]
    reader: dict[str, Any]
    records: list[dict[str, Any]]

    def payloads(self) -> list[bytes]:
        return [encoded(self.writer, each) for each in self.records]


def encoded(schema: dict[str, Any], record: dict[str, Any]) -> bytes:
    """What fastavro writes."""
    out = io.BytesIO()
    schemaless_writer(out, parse_schema(schema), record)
    return out.getvalue()


def resolved(pair: Pair, payload: bytes) -> tuple[Any, ...]:
    """What fastavro reads, as a frame would hold it; raises what fastavro raises."""
    record: Any = schemaless_reader(io.BytesIO(payload), parse_schema(pair.writer), parse_schema(pair.reader))
    fields = pair.reader["fields"]
    return tuple(pl.Series([record[each["name"]]], dtype=dtype_of(each["type"]))[0] for each in fields)


def dtype_of(node: Any) -> pl.DataType:
    """The column type of a field's type."""
    if isinstance(node, list):
        return dtype_of(next(branch for branch in node if branch != "null"))
    return DTYPES[node["type"] if isinstance(node, dict) else node]


def enum(place: int, symbols: list[str], **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": f"Enum{place}", "symbols": symbols, **more}


def in_union(draw: st.DrawFn, node: Any) -> Any:
    """``node`` itself or a union of it with null, either way round."""
    return draw(st.sampled_from([node, ["null", node], [node, "null"]]))


@st.composite
def pairs(draw: st.DrawFn, min_records: int = 1, max_records: int = 24) -> Pair:
    """Schemas that share some fields, widened, dropped, added and shuffled; nullability differs freely."""
    written: list[dict[str, Any]] = []
    read: list[dict[str, Any]] = []
    kinds: dict[str, tuple[str, bool]] = {}
    for place in range(draw(st.integers(1, 7))):
        kind = draw(st.sampled_from([*PROMOTIONS, "enum"]))
        node: Any = enum(place, SYMBOLS) if kind == "enum" else kind
        written_type = in_union(draw, node)
        name = f"f{place}"
        written.append({"name": name, "type": written_type})
        kinds[name] = (kind, isinstance(written_type, list))
        if draw(st.integers(0, 3)):
            read.append({"name": name, "type": in_union(draw, _read_as(draw, kind, place))})
    for place in range(draw(st.integers(0 if read else 1, 2))):
        kind = draw(st.sampled_from(sorted(DEFAULTS)))
        read.append({"name": f"added{place}", "type": kind, "default": DEFAULTS[kind]})
    record = st.fixed_dictionaries(
        {name: st.none() | VALUES[kind] if nullable else VALUES[kind] for name, (kind, nullable) in kinds.items()}
    )
    records = draw(st.lists(record, min_size=min_records, max_size=max_records))
    return Pair(
        {"type": "record", "name": "R", "namespace": "theirs", "fields": written},
        {"type": "record", "name": "R", "namespace": "ours", "fields": draw(st.permutations(read))},
        records,
    )


def _read_as(draw: st.DrawFn, kind: str, place: int) -> Any:
    if kind != "enum":
        return draw(st.sampled_from(PROMOTIONS[kind]))
    return draw(
        st.sampled_from([enum(place, SYMBOLS[::-1]), enum(place, SYMBOLS[:2]), enum(place, ["red"], default="red")])
    )


@st.composite
def mutations(draw: st.DrawFn, payload: bytes) -> bytes:
    """``payload`` cut, grown or with bytes changed."""
    spot = draw(st.integers(0, len(payload)))
    noise = draw(
        st.binary(min_size=1, max_size=3)
        | st.sampled_from(
            [b"\xff" * 8 + b"\1", b"\xff" * 10 + b"\1", b"\x80\x80\x80\x80\x40", b"\x03", b"\x04", b"\x64"]
        )
    )
    match draw(st.sampled_from(["cut", "insert", "replace", "remove"])):
        case "cut":
            return payload[:spot]
        case "insert":
            return payload[:spot] + noise + payload[spot:]
        case "replace":
            return payload[:spot] + noise + payload[spot + len(noise) :]
        case _:
            return payload[:spot] + payload[spot + len(noise) :]
