"""Frames to messages, byte by byte."""

from __future__ import annotations

import math
import struct
from typing import Any

import polars as pl
import pytest

from streams.engine.encoder import MAX_REMEMBERED, Encoder
from weir.errors import ConfigError

COLOUR = {"type": "enum", "name": "Colour", "symbols": ["red", "green"]}


def encoder(*types: Any) -> Encoder:
    fields = [{"name": f"f{place}", "type": each} for place, each in enumerate(types)]
    return Encoder({"type": "record", "name": "R", "fields": fields}, 258)


def cell(kind: Any, value: Any, dtype: Any = None) -> bytes:
    (message,) = encoder(kind).encode(pl.DataFrame({"f0": pl.Series([value], dtype=dtype)}))
    assert message[:5] == b"\0\0\0\1\2"
    return message[5:]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("string", "°C", b"\x06\xc2\xb0C"),
        ("string", "", b"\0"),
        ("string", "x" * 300, b"\xd8\x04" + b"x" * 300),
        ("bytes", b"\0\xff", b"\4\0\xff"),
        ("long", 0, b"\0"),
        ("long", -1, b"\1"),
        ("long", 64, b"\x80\1"),
        ("long", 1000, b"\xd0\x0f"),
        ("long", 2**63 - 1, b"\xfe" + b"\xff" * 8 + b"\1"),
        ("long", -(2**63), b"\xff" * 9 + b"\1"),
        ("int", -(2**31), b"\xff\xff\xff\xff\x0f"),
        ("boolean", True, b"\1"),
        ("double", -1.5, b"\0\0\0\0\0\0\xf8\xbf"),
        ("float", 0.25, b"\0\0\x80\x3e"),
        (COLOUR, "green", b"\2"),
        (["null", "long"], 0, b"\2\0"),
        (["long", "null"], 0, b"\0\0"),
        (["null", "double"], -0.0, b"\2" + struct.pack("<d", -0.0)),
        (["null", "boolean"], False, b"\2\0"),
        (["null", COLOUR], "green", b"\2\2"),
    ],
)
def test_a_value_is_written_as_the_specification_lays_it_out(kind: Any, value: Any, expected: bytes) -> None:
    assert cell(kind, value) == expected


@pytest.mark.parametrize("kind", ["string", "bytes", "long", "int", "boolean", "double", "float", COLOUR])
def test_null_is_its_branch_and_nothing_else(kind: Any) -> None:
    assert cell(["null", kind], None, pl.Null) == b"\0"
    assert cell([kind, "null"], None, pl.Null) == b"\2"


def test_both_zeros_and_nan_keep_their_bits_in_one_column() -> None:
    frame = pl.DataFrame({"f0": [0.0, -0.0, math.nan, None]})
    cells = [each[5:] for each in encoder(["null", "double"]).encode(frame)]
    assert cells[:2] == [b"\2" + struct.pack("<d", 0.0), b"\2" + struct.pack("<d", -0.0)]
    assert math.isnan(struct.unpack("<d", cells[2][1:])[0])
    assert cells[3] == b"\0"


def test_neighbouring_numbers_of_two_widths_and_a_text_between_keep_their_order() -> None:
    frame = pl.DataFrame({"f0": [1.0], "f1": [2.0], "f2": [0.5], "f3": ["t"], "f4": [3.0]})
    (message,) = encoder("double", "double", "float", "string", "double").encode(frame)
    assert message[5:] == struct.pack("<ddf", 1, 2, 0.5) + b"\2t" + struct.pack("<d", 3)


def test_columns_are_matched_by_name_and_datetimes_are_their_milliseconds() -> None:
    frame = pl.DataFrame({"other": [1], "f1": ["t"], "f0": pl.Series([1000]).cast(pl.Datetime("ms"))})
    (message,) = encoder({"type": "long", "logicalType": "timestamp-millis"}, "string").encode(frame)
    assert message[5:] == b"\xd0\x0f\2t"


def test_an_empty_frame_gives_no_messages() -> None:
    assert encoder("string").encode(pl.DataFrame({"f0": pl.Series([], dtype=pl.String)})) == []


def test_more_values_than_are_remembered_are_still_written_right() -> None:
    texts = [f"{place:05d}" for place in range(2 * MAX_REMEMBERED)]
    encode = encoder("string").encode
    for _ in range(2):
        assert [each[6:].decode() for each in encode(pl.DataFrame({"f0": texts}))] == texts


@pytest.mark.parametrize(
    ("kind", "column", "match"),
    [
        ("long", pl.Series("other", [1]), "f0 of R is missing"),
        ("long", pl.Series("f0", ["five"]), "cannot be written as long"),
        ("int", pl.Series("f0", [2**31]), "cannot be written as int"),
        ("long", pl.Series("f0", [1, None]), "holds 1 nulls"),
        (COLOUR, pl.Series("f0", ["blue"]), "none of red, green"),
    ],
)
def test_a_column_that_does_not_fit_the_schema_is_a_config_error(kind: Any, column: pl.Series, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        encoder(kind).encode(pl.DataFrame([column]))
