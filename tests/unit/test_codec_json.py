"""Plain JSON messages, held to the reader schema's types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from streams.engine.codec import Codec

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "R",
    "fields": [
        {"name": "class", "type": "string"},
        {"name": "i", "type": "int", "default": 7},
        {"name": "l", "type": ["null", "long"], "default": None},
        {"name": "f", "type": ["null", "float"], "default": None},
        {"name": "d", "type": ["null", "double"], "default": None},
        {"name": "b", "type": "boolean", "default": True},
        {"name": "y", "type": "bytes", "default": "\u00ff"},
        {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["on", "off"]}, "default": "off"},
    ],
}


class FakeSchemas:
    """A registry that JSON has no need of."""

    def schema(self, schema_id: int) -> Mapping[str, Any]:
        raise AssertionError(f"asked for {schema_id}")


@pytest.fixture
def codec() -> Codec:
    return Codec(SCHEMA, FakeSchemas())


def test_absent_fields_take_their_defaults_and_unknown_fields_are_ignored(codec: Codec) -> None:
    decoded = codec.decode([b' {"class": "x", "other": [1, {"l": 5}]} '])
    assert decoded.frame.row(0) == ("x", 7, None, None, None, True, b"\xff", "off")


def test_every_type_is_read_and_integers_serve_as_floats(codec: Codec) -> None:
    text = b'{"class":"\\u00e9","i":-1,"l":9223372036854775807,"f":3,"d":1e300,"b":false,"y":"aGk=","e":"on"}'
    decoded = codec.decode([text])
    assert decoded.frame.row(0) == ("é", -1, 2**63 - 1, 3.0, 1e300, False, b"hi", "on")
    assert [str(dtype) for dtype in decoded.frame.dtypes] == [
        "String", "Int32", "Int64", "Float32", "Float64", "Boolean", "Binary", "String",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ('"class": 5', "$.class"),
        ('"class": null', "$.class"),
        ('"class": "x", "i": 2147483648', "$.i"),
        ('"class": "x", "i": 5.0', "$.i"),
        ('"class": "x", "i": true', "$.i"),
        ('"class": "x", "l": 9223372036854775808', "$.l"),
        ('"class": "x", "l": "5"', "$.l"),
        ('"class": "x", "f": 1e39', "$.f"),
        ('"class": "x", "d": 1e999', "$.d"),
        ('"class": "x", "d": "NaN"', "$.d"),
        ('"class": "x", "b": 1', "$.b"),
        ('"class": "x", "y": "%%%"', "$.y"),
        ('"class": "x", "e": "dim"', "$.e"),
        ('"i": 5', "class"),
    ],
)
def test_a_wrong_type_is_rejected_with_its_path(codec: Codec, fields: str, path: str) -> None:
    (rejected,) = codec.decode([b"{" + fields.encode() + b"}"]).rejected
    assert rejected.reason == "json_type_mismatch"
    assert path in rejected.detail
    assert rejected.schema_id is None


@pytest.mark.parametrize(
    "text",
    [
        b'{"class": "x", "d": NaN}',
        b'{"class": "x", "d": Infinity}',
        b'{"class": "x", "d": -Infinity}',
        b'{"class": "x"',
        b'{"class": "x"} {}',
        b'{"class": "\xff"}',
        b'{"class": "\\ud800"}',
        b'{"other": ' + b"[" * 200_000,
        b"\xef\xbb\xbf{}",
        b"\x01\x00\x00\x00\x07",
    ],
)
def test_what_is_no_json_is_invalid(codec: Codec, text: bytes) -> None:
    whole = b'{"class": "x"}'
    decoded = codec.decode([whole, text, whole])
    assert [(each.index, each.reason) for each in decoded.rejected] == [(1, "invalid_json")]
    assert decoded.index.tolist() == [0, 2]


def test_an_array_is_json_of_the_wrong_type(codec: Codec) -> None:
    assert [each.reason for each in codec.decode([b'[{"class": "x"}]']).rejected] == ["json_type_mismatch"]
