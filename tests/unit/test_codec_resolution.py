"""Writers' schemas that differ from the reader's, and what becomes of their records."""

from __future__ import annotations

import struct
from typing import Any

import polars as pl
import pytest

from streams.engine.avro_block import long_bytes
from streams.engine.codec import Codec, Decoded

TEXT = b"\x04hi"
MANY = 30


class FakeSchemas:
    """One schema for every id."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema

    def schema(self, schema_id: int) -> Any:
        return self._schema


def record(fields: dict[str, Any], name: str = "R", **more: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "name": name,
        "fields": [{"name": key, **_field(each)} for key, each in fields.items()],
        **more,
    }


def _field(node: Any) -> dict[str, Any]:
    return node if isinstance(node, dict) and "default" in node and "symbols" not in node else {"type": node}


def decode(writer: Any, reader: dict[str, Any], payload: bytes, times: int = MANY) -> Decoded:
    return Codec(reader, FakeSchemas(writer)).decode([b"\0\0\0\0\1" + payload] * times)


def row(writer: Any, reader: dict[str, Any], payload: bytes) -> tuple[Any, ...]:
    """The one row that all copies of ``payload`` become, in a block and alone."""
    many, one = decode(writer, reader, payload), decode(writer, reader, payload, 1)
    assert many.frame.height == MANY, many.rejected[:1]
    assert many.frame.unique().rows() == one.frame.rows()
    assert many.frame.schema == one.frame.schema
    return one.frame.row(0)


def reasons(writer: Any, reader: dict[str, Any], payload: bytes) -> set[str]:
    many, one = decode(writer, reader, payload), decode(writer, reader, payload, 1)
    assert many.frame.is_empty() and one.frame.is_empty()
    assert {each.detail for each in many.rejected} == {each.detail for each in one.rejected}
    assert [each.index for each in many.rejected] == list(range(MANY))
    return {each.reason for each in many.rejected}


def test_an_added_field_takes_its_default() -> None:
    reader = record(
        {
            "a": "string",
            "n": {"type": ["null", "long"], "default": None},
            "d": {"type": "double", "default": 2},
            "b": {"type": "bytes", "default": "\u00ff\u0001"},
            "s": {"type": "string", "default": "none"},
        }
    )
    assert row(record({"a": "string"}), reader, TEXT) == ("hi", None, 2.0, b"\xff\x01", "none")


def test_a_removed_field_is_passed_over_whatever_its_text() -> None:
    writer = record({"gone": "string", "a": "string", "last": ["long", "null"]})
    assert row(writer, record({"a": "string"}), b"\x04\xff\xfe" + TEXT + b"\0\x54") == ("hi",)


def test_fields_come_in_the_readers_order() -> None:
    assert row(record({"b": "long", "a": "string"}), record({"a": "string", "b": "long"}), b"\2" + TEXT) == ("hi", 1)


@pytest.mark.parametrize(
    ("written", "read", "payload", "value", "dtype"),
    [
        ("int", "long", long_bytes(-5), -5, pl.Int64),
        ("int", "float", long_bytes(3), 3.0, pl.Float32),
        ("int", "double", long_bytes(2**31 - 1), 2147483647.0, pl.Float64),
        ("long", "float", long_bytes(2**24 + 1), 16777216.0, pl.Float32),
        ("long", "float", long_bytes(2**60 + 2**36 + 1), 2.0**60, pl.Float32),  # by way of a double, as fastavro reads
        ("long", "double", long_bytes(-(2**53)), -9007199254740992.0, pl.Float64),
        ("float", "double", struct.pack("<f", 0.5), 0.5, pl.Float64),
        ("string", "bytes", TEXT, b"hi", pl.Binary),
        ("bytes", "string", TEXT, "hi", pl.String),
        ("long", ["null", "double"], long_bytes(4), 4.0, pl.Float64),
        (["null", "int"], ["long", "null"], b"\2" + long_bytes(4), 4, pl.Int64),
        (["null", "long"], "long", b"\2" + long_bytes(4), 4, pl.Int64),
        ({"type": "long", "logicalType": "timestamp-millis"}, "long", long_bytes(4), 4, pl.Int64),
        ("long", {"type": "long", "logicalType": "timestamp-millis"}, long_bytes(4), 4, pl.Int64),
    ],
)
def test_a_type_widens_to_the_readers(written: Any, read: Any, payload: bytes, value: Any, dtype: pl.DataType) -> None:
    assert row(record({"a": written}), record({"a": read}), payload) == (value,)
    assert decode(record({"a": written}), record({"a": read}), payload).frame.dtypes == [dtype]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("long", "int"),
        ("double", "float"),
        ("double", "long"),
        ("string", "long"),
        ("boolean", "int"),
        ("long", "string"),
    ],
)
def test_a_type_that_does_not_widen_is_incompatible(written: str, read: str) -> None:
    assert reasons(record({"a": written}), record({"a": read}), b"\0" * 8) == {"incompatible_schema"}


def test_a_missing_field_without_default_is_incompatible() -> None:
    assert reasons(record({"a": "string"}), record({"a": "string", "b": "long"}), TEXT) == {"incompatible_schema"}


def test_null_where_the_reader_has_none_rejects_that_record_only() -> None:
    codec = Codec(record({"a": "long"}), FakeSchemas(record({"a": ["null", "long"]})))
    values = [b"\0\0\0\0\1\2" + long_bytes(place) for place in range(MANY)]
    values[3] = b"\0\0\0\0\1\0"
    decoded = codec.decode(values)
    assert decoded.frame["a"].to_list() == [0, 1, 2, *range(4, MANY)]
    assert [(each.index, each.reason) for each in decoded.rejected] == [(3, "incompatible_schema")]


def test_a_union_whose_other_branch_does_not_widen_passes_its_nulls_only() -> None:
    writer, reader = record({"a": ["null", "long"]}), record({"a": ["null", "string"]})
    assert row(writer, reader, b"\0") == (None,)
    assert reasons(writer, reader, b"\2\4") == {"incompatible_schema"}


def test_namespaces_do_not_count_and_aliases_of_record_and_field_do() -> None:
    reader = {
        "type": "record", "name": "R", "namespace": "ours", "aliases": ["Old"],
        "fields": [{"name": "new", "type": "string", "aliases": ["former"]}],
    }  # fmt: skip
    assert row(record({"new": "string"}, "R", namespace="theirs"), reader, TEXT) == ("hi",)
    assert row(record({"former": "string"}, "Old", namespace="ours"), reader, TEXT) == ("hi",)
    assert row(record({"former": "long", "new": "string"}, "R"), reader, b"\2" + TEXT) == ("hi",)


@pytest.mark.parametrize("writer", [record({"a": "string"}, "Other"), "string", ["null", "string"]])
def test_another_record_is_the_wrong_schema(writer: Any) -> None:
    assert reasons(writer, record({"a": "string"}), TEXT) == {"wrong_schema"}


def colours(symbols: list[str], **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "Colour", "symbols": symbols, **more}


def test_enum_symbols_are_matched_by_name_and_unknown_ones_take_the_enums_default() -> None:
    writer = record({"a": colours(["blue", "red"])})
    assert row(writer, record({"a": colours(["red", "green"])}), b"\2") == ("red",)
    assert row(writer, record({"a": colours(["red", "green"], default="green")}), b"\0") == ("green",)
    assert reasons(writer, record({"a": colours(["red", "green"])}), b"\0") == {"incompatible_schema"}


def test_an_enum_of_another_name_is_incompatible() -> None:
    other = {"type": "enum", "name": "Shade", "symbols": ["red"]}
    assert reasons(record({"a": other}), record({"a": colours(["red"])}), b"\0") == {"incompatible_schema"}


def test_a_named_enum_may_be_used_twice() -> None:
    schema = record({"a": colours(["red", "green"]), "b": ["null", "Colour"]})
    assert row(schema, schema, b"\2\2\0") == ("green", "red")


TAGS = {"type": "map", "values": "string"}


def test_a_writer_with_fields_that_polars_cannot_read_goes_record_by_record() -> None:
    writer = record(
        {"tags": TAGS, "a": "string", "many": {"type": "array", "items": "long"}, "t": ["null", "int", "string"]}
    )
    reader = record({"a": ["null", "string"], "t": ["null", "string"], "z": {"type": "long", "default": 9}})
    payload = b"\2" + TEXT + TEXT + b"\0" + TEXT + b"\4\2\2\0" + b"\4" + TEXT
    assert row(writer, reader, payload) == ("hi", "hi", 9)
    assert reasons(writer, reader, payload[: -len(TEXT) - 1] + b"\2\2") == {
        "incompatible_schema"
    }  # an int for a string


def test_such_a_record_cut_short_in_a_field_the_reader_has_not_is_still_rejected() -> None:
    writer = record({"a": "string", "tags": TAGS, "gone": "string"})
    reader = record({"a": "string"})
    whole = TEXT + b"\0" + b"\x06abc"
    assert row(writer, reader, whole) == ("hi",)
    assert reasons(writer, reader, whole[:-1]) == {"undecodable"}
    assert reasons(writer, reader, whole + b"\0") == {"trailing_bytes"}
    assert reasons(writer, reader, TEXT + b"\0" + long_bytes(2**62)) == {"undecodable"}
    assert reasons(writer, reader, TEXT + b"\0" + long_bytes(-3)) == {"undecodable"}


def test_an_int_of_40_bits_in_such_a_record_is_undecodable() -> None:
    writer = record({"tags": TAGS, "a": "int"})
    assert reasons(writer, record({"a": "int"}), b"\0" + long_bytes(2**40)) == {"undecodable"}


def doubling(depth: int) -> dict[str, Any]:
    inner: Any = "long"
    for level in range(depth):
        name = f"L{level}"
        inner = record({"left": inner, "right": f"L{level - 1}" if level else "long"}, name)
    return record({"a": "string", "tree": inner})


DANGEROUS = {
    "a record that contains itself": record({"a": "string", "next": ["null", "R"]}),
    "an array of nulls": record({"a": "string", "many": {"type": "array", "items": "null"}}),
    "an array of empty records": record({"a": "string", "many": {"type": "array", "items": record({}, "Empty")}}),
    "types that double": doubling(30),
    "no schema at all": {"type": "record", "name": "R", "fields": [{"name": "a", "type": 5}]},
}


@pytest.mark.parametrize("writer", DANGEROUS.values(), ids=DANGEROUS.keys())
def test_a_writers_schema_that_could_end_the_worker_is_refused(writer: Any) -> None:
    assert reasons(writer, record({"a": "string"}), TEXT + b"\2" * 100_000) == {"incompatible_schema"}
