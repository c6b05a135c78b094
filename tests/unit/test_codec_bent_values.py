"""Bytes that Polars and fastavro take differently: what holds here, alone and among neighbours alike."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

import pytest

from streams.engine.avro_block import long_bytes
from streams.engine.codec import Codec

COLOUR = {"type": "enum", "name": "Colour", "symbols": ["red", "green"]}


class FakeSchemas:
    """One schema for every id."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema

    def schema(self, schema_id: int) -> Mapping[str, Any]:
        return self._schema


def record(*types: Any) -> dict[str, Any]:
    return {"type": "record", "name": "R", "fields": [{"name": f"f{n}", "type": each} for n, each in enumerate(types)]}


def outcomes(types: list[Any], payload: bytes, whole: bytes) -> list[Any]:
    """What becomes of ``payload`` by itself, and among copies of ``whole`` that must stay as they are."""
    codec = Codec(record(*types), FakeSchemas(record(*types)))
    seen = []
    for neighbours in (0, 20):
        values = [b"\0\0\0\0\1" + whole] * neighbours + [b"\0\0\0\0\1" + payload]
        decoded = codec.decode(values)
        kept = neighbours in decoded.index
        assert decoded.frame.height == neighbours + kept
        assert decoded.frame.head(neighbours).n_unique() == min(neighbours, 1)
        seen.append(decoded.frame.row(-1) if kept else (decoded.rejected[0].reason, decoded.rejected[0].detail))
    return seen


DOUBLE = struct.pack("<d", 1.5)
ACCEPTED = {
    "a branch beyond the union is not null": ([["null", "double"]], b"\x06" + DOUBLE, b"\2" + DOUBLE, (1.5,)),
    "a negative branch is not null": ([["null", "double"]], b"\x03" + DOUBLE, b"\2" + DOUBLE, (1.5,)),
    "a branch beyond a union that ends in null is null": ([["double", "null"]], b"\x06", b"\0" + DOUBLE, (None,)),
    "a long with needless zero bits": (["long"], b"\x81\x80\x00", b"\2", (-1,)),
    "the smallest long": (["long"], b"\xff" * 9 + b"\x01", b"\2", (-(2**63),)),
    "a long of ten bytes wraps at 64 bits": (["long"], b"\xff" * 9 + b"\x7f", b"\2", (-(2**63),)),
    "the smallest int": (["int"], b"\xff\xff\xff\xff\x0f", b"\2", (-(2**31),)),
    "a text with a zero character": (["string"], b"\x06a\0b", b"\0", ("a\0b",)),
    "infinity": (["float"], struct.pack("<f", math.inf), b"\0" * 4, (math.inf,)),
    "an enum in a union": ([["null", COLOUR]], b"\2\2", b"\2\0", ("green",)),
}


@pytest.mark.parametrize(("types", "payload", "whole", "row"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepted_with_the_same_value_alone_and_among_neighbours(
    types: list[Any], payload: bytes, whole: bytes, row: tuple[Any, ...]
) -> None:
    assert outcomes(types, payload, whole) == [row, row]


REJECTED = {
    "a boolean byte 2": (["boolean"], b"\2", b"\1", "Field f0 at byte 0 is a boolean, and its byte is 2."),
    "a boolean byte 255": ([["null", "boolean"]], b"\2\xff", b"\2\1", "is a boolean, and its byte is 255."),
    "an int of 2^31": (["int"], long_bytes(2**31), b"\2", "is an int, and 2147483648 does not fit in 32 bits."),
    "an int of 2^33": ([["null", "int"]], b"\2" + long_bytes(2**33), b"\0", "does not fit in 32 bits."),
    "an enum index beyond": ([COLOUR], b"\4", b"\2", "is an enum of 2 symbols, and its index is 2."),
    "a negative enum index": ([COLOUR], b"\1", b"\2", "its index is -1."),
    "an enum index that wraps to 0": ([COLOUR], long_bytes(2**33), b"\2", "its index is 8589934592."),
    "a long of eleven bytes": (["long"], b"\x80" * 10 + b"\0", b"\2", "has a number of more than ten bytes."),
    "a surrogate as text": (["string"], b"\x06\xed\xa0\x80", b"\0", "is no UTF-8 (invalid continuation byte)."),
    "two bytes for one ASCII character": (["string"], b"\x04\xc0\x80", b"\0", "is no UTF-8 (invalid start byte)."),
}


@pytest.mark.parametrize(("types", "payload", "whole", "detail"), REJECTED.values(), ids=REJECTED.keys())
def test_rejected_with_the_same_sentence_alone_and_among_neighbours(
    types: list[Any], payload: bytes, whole: bytes, detail: str
) -> None:
    alone, among = outcomes(types, payload, whole)
    assert alone == among
    assert alone[0] == "undecodable"
    assert alone[1].endswith(detail)


def test_nan_passes_and_stays_nan() -> None:
    payload = struct.pack("<Q", 0x7FF8000000000123)
    for row in outcomes(["double"], payload, b"\0" * 8):
        assert math.isnan(row[0])
