"""What becomes of a list of message values: whole, hostile, mixed, unknown."""

from __future__ import annotations

import io
import json
import struct
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest

from schemas import load_schema
from streams.engine.avro_block import long_bytes
from streams.engine.codec import CHUNK_RECORDS, Codec, Decoded
from streams.engine.rejection import REASONS
from weir.errors import ConfigError, PoisonError, TransientError

READING = 7
ALERT = 8
NEIGHBOURS = 40


class FakeSchemas:
    """A registry that lives in a dict and counts what it is asked."""

    def __init__(self, schemas: Mapping[int, Any]) -> None:
        self.schemas = dict(schemas)
        self.asked: list[int] = []
        self.away = False

    def schema(self, schema_id: int) -> Mapping[str, Any]:
        self.asked.append(schema_id)
        if self.away:
            raise TransientError("The registry is away.")
        if schema_id not in self.schemas:
            raise PoisonError("unknown_schema_id", f"The registry has no schema {schema_id}.")
        found: Mapping[str, Any] = self.schemas[schema_id]
        return found


@pytest.fixture
def registry() -> FakeSchemas:
    return FakeSchemas({READING: load_schema("Reading"), ALERT: load_schema("Alert")})


@pytest.fixture
def codec(registry: FakeSchemas) -> Codec:
    return Codec(load_schema("Reading"), registry)


def text(value: str) -> bytes:
    return long_bytes(len(value.encode())) + value.encode()


def framed(payload: bytes, schema_id: int = READING) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big") + payload


def reading(device_id: str = "d1", value: float = 1.5, source: str | None = None) -> bytes:
    """A Reading's payload, field by field as the specification lays it out: ts 1000, no other field set."""
    number = b"\2" + struct.pack("<d", value)
    last = b"\0" if source is None else b"\2" + text(source)
    return text(device_id) + text("temp") + long_bytes(1000) + number + b"\0" * 7 + last


def verdicts(decoded: Decoded) -> list[tuple[int, str]]:
    return [(each.index, each.reason) for each in decoded.rejected]


def among(neighbours: int, value: bytes | None) -> list[bytes | None]:
    """``value`` in the middle of whole readings."""
    values: list[bytes | None] = [framed(reading(f"n{place}", float(place))) for place in range(neighbours)]
    values.insert(neighbours // 2, value)
    return values


def assert_neighbours_unchanged(decoded: Decoded, neighbours: int) -> None:
    middle = neighbours // 2
    assert decoded.frame["device_id"].to_list() == [f"n{place}" for place in range(neighbours)]
    assert decoded.frame["value"].to_list() == [float(place) for place in range(neighbours)]
    assert decoded.index.tolist() == [*range(middle), *range(middle + 1, neighbours + 1)]


def test_a_reading_written_by_hand_comes_back_field_by_field(codec: Codec) -> None:
    message = (
        b"\x00\x00\x00\x00\x07"  # framing: schema 7
        b"\x04d1"  # device_id
        b"\x08temp"  # sensor
        b"\xd0\x0f"  # ts: 1000 is zigzag 2000 = 0b1111_1010000
        b"\x02\x00\x00\x00\x00\x00\x00\xf8\xbf"  # value -1.5
        b"\x00"  # str_value null
        b"\x02\x05"  # status_code -3
        b"\x02\x06\xc2\xb0C"  # unit, two bytes and one
        b"\x00\x00"  # seq, quality null
        b"\x02\x00\x00\x80\x3e"  # battery_level 0.25
        b"\x00"  # fw_ver null
        b"\x02\x00"  # source, empty and not null
    )
    decoded = codec.decode([message])
    assert decoded.frame.row(0) == ("d1", "temp", 1000, -1.5, None, -3, "°C", None, None, 0.25, None, "")
    assert decoded.frame.dtypes == [
        pl.String, pl.String, pl.Int64, pl.Float64, pl.String, pl.Int64,
        pl.String, pl.Int64, pl.String, pl.Float32, pl.String, pl.String,
    ]  # fmt: skip
    assert codec.decode([message] * NEIGHBOURS).frame.unique().equals(decoded.frame)


def test_whole_messages_keep_their_order_and_positions(codec: Codec) -> None:
    decoded = codec.decode([framed(reading(f"d{place}")) for place in range(1000)])
    assert decoded.frame["device_id"].to_list() == [f"d{place}" for place in range(1000)]
    assert decoded.index.dtype == np.int64 and decoded.index.tolist() == list(range(1000))
    assert decoded.rejected == []


def test_no_values_give_an_empty_frame_with_the_readers_columns(codec: Codec) -> None:
    decoded = codec.decode([])
    assert decoded.frame.shape == (0, 12)
    assert decoded.frame.columns == [field["name"] for field in load_schema("Reading")["fields"]]
    assert len(decoded.index) == 0


HOSTILE = {
    "tombstone": (None, "empty_value"),
    "no bytes": (b"", "empty_value"),
    "half a prefix": (b"\0\0\0", "undecodable"),
    "prefix alone": (framed(b""), "undecodable"),
    "truncated in the last field": (framed(reading(source="esp32")[:-1]), "undecodable"),
    "truncated by one whole field": (framed(reading()[:-1]), "undecodable"),
    "a length of 2^40": (framed(long_bytes(2**40) + reading()[1:]), "undecodable"),
    "a length of 2^62": (framed(long_bytes(2**62) + reading()[1:]), "undecodable"),
    "a negative length": (framed(long_bytes(-3) + reading()[1:]), "undecodable"),
    "no UTF-8": (framed(b"\x04\xff\xfe" + reading()[3:]), "undecodable"),
    "a number of eleven bytes": (framed(b"\xff" * 10 + b"\x01" + reading()), "undecodable"),
    "one byte too many": (framed(reading() + b"\0"), "trailing_bytes"),
    "two records in one message": (framed(reading() * 2), "trailing_bytes"),
    "unknown schema": (framed(reading(), 99), "unknown_schema_id"),
    "valid Avro of another record": (framed(b"\x02i" + b"\0" * 20, ALERT), "wrong_schema"),
    "neither Avro nor JSON": (b"hello", "invalid_json"),
    "JSON of another shape": (b'{"device_id": 5, "sensor": "temp", "ts": 1}', "json_type_mismatch"),
}


@pytest.mark.parametrize(("value", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("neighbours", [0, 2, NEIGHBOURS, 2 * CHUNK_RECORDS])
def test_a_hostile_value_is_rejected_alone(codec: Codec, value: bytes | None, reason: str, neighbours: int) -> None:
    decoded = codec.decode(among(neighbours, value))
    assert verdicts(decoded) == [(neighbours // 2, reason)]
    assert reason in REASONS
    assert_neighbours_unchanged(decoded, neighbours)


def test_a_detail_says_where_and_why_and_keeps_the_schema_id(codec: Codec) -> None:
    decoded = codec.decode([framed(long_bytes(2**40) + b"ab"), framed(reading()[:-1])])
    huge, short = decoded.rejected
    assert huge.detail == "Field device_id at byte 0 claims 1099511627776 bytes, and 2 are left."
    assert short.detail == "The record ends inside field source, at byte 26."
    assert (huge.schema_id, short.schema_id) == (READING, READING)


def test_a_crafted_pair_cannot_swallow_its_neighbour(codec: Codec) -> None:
    thief = reading("thief", source="esp32")[:-1]  # its last text wants one byte more than there is
    victim = reading("\x08abcd")  # a text whose first character would be the length of the rest
    naive = pl.read_avro(io.BytesIO(_file_without_sentinels([thief, victim])))
    assert naive["device_id"].to_list() == ["thief", "abcd"], "the pair must be able to steal, or this proves nothing"
    for times in (1, NEIGHBOURS):
        decoded = codec.decode([framed(thief), framed(victim)] * times)
        assert decoded.frame["device_id"].to_list() == ["\x08abcd"] * times
        assert verdicts(decoded) == [(2 * place, "undecodable") for place in range(times)]


def test_a_sender_who_knows_the_framing_cannot_add_rows(codec: Codec) -> None:
    inner = framed(reading("inner"))
    values = among(NEIGHBOURS, framed(reading("outer") + inner))
    decoded = codec.decode(values)
    assert verdicts(decoded) == [(NEIGHBOURS // 2, "trailing_bytes")]
    assert_neighbours_unchanged(decoded, NEIGHBOURS)


def test_schema_ids_and_json_in_one_call_come_back_in_input_order(registry: FakeSchemas) -> None:
    older = {"type": "record", "name": "Reading", "fields": load_schema("Reading")["fields"][:4]}
    registry.schemas[9] = older
    codec = Codec(load_schema("Reading"), registry)
    old = [framed(reading(f"old{place}")[:-8], 9) for place in range(NEIGHBOURS)]
    new = [framed(reading(f"new{place}")) for place in range(NEIGHBOURS)]
    plain = [
        b'{"device_id": "json%d", "sensor": "temp", "ts": 1000, "value": 1.5}' % place for place in range(NEIGHBOURS)
    ]
    values: list[bytes | None] = [each for trio in zip(old, new, plain, strict=True) for each in trio]
    values[4] = b""
    for _ in range(2):  # the second call knows that fetches are mixed and goes another way
        decoded = codec.decode(values)
        expected = [f"{kind}{place}" for place in range(NEIGHBOURS) for kind in ("old", "new", "json")]
        del expected[4]
        assert decoded.frame["device_id"].to_list() == expected
        assert decoded.index.tolist() == [place for place in range(len(values)) if place != 4]
        assert decoded.frame["value"].to_list() == [1.5] * len(expected)
        assert verdicts(decoded) == [(4, "empty_value")]


def test_each_writer_is_asked_for_once_and_unknown_ids_again_each_call(codec: Codec, registry: FakeSchemas) -> None:
    for _ in range(3):
        codec.decode([framed(reading())] * NEIGHBOURS)
    assert registry.asked == [READING]
    codec.decode([framed(reading(), 99)] * NEIGHBOURS)
    codec.decode([framed(reading(), 99)] * NEIGHBOURS)
    assert registry.asked == [READING, 99, 99]
    registry.schemas[99] = load_schema("Reading")
    assert codec.decode([framed(reading(), 99)] * NEIGHBOURS).rejected == []


@pytest.mark.parametrize("schema_id", [0, 1, 0x7F, 0x0100_807F, 2**31 - 1, 0xFFFF_FFFF])
def test_any_schema_id_is_told_from_its_neighbours(registry: FakeSchemas, schema_id: int) -> None:
    """The id is compared as the bits of a float: 0x0100807F is a signalling NaN, 0xFFFFFFFF a quiet one."""
    registry.schemas[schema_id] = load_schema("Reading")
    codec = Codec(load_schema("Reading"), registry)
    message = framed(reading(), schema_id)
    for _ in range(2):  # the second time in one block
        assert codec.decode([message] * NEIGHBOURS).frame.height == NEIGHBOURS
        decoded = codec.decode(among(NEIGHBOURS, message))
        assert decoded.frame["device_id"].to_list()[NEIGHBOURS // 2] == "d1"
    stranger = framed(reading(), schema_id ^ 0x0200)
    assert verdicts(codec.decode([message] * NEIGHBOURS + [stranger])) == [(NEIGHBOURS, "unknown_schema_id")]


def test_a_registry_that_is_away_rejects_nothing_and_the_same_call_succeeds_later(
    codec: Codec, registry: FakeSchemas
) -> None:
    registry.away = True
    with pytest.raises(TransientError):
        codec.decode([framed(reading())])
    registry.away = False
    assert codec.decode([framed(reading())]).frame.height == 1


@pytest.mark.parametrize("spoil", [lambda each: each[:-1], lambda each: each[:5] + long_bytes(2**62) + each[6:]])
def test_a_fetch_of_nothing_but_poison_takes_less_than_a_second(codec: Codec, spoil: Any) -> None:
    values = [spoil(framed(reading(f"dev-{place:06d}"))) for place in range(5000)]
    begin = time.process_time()
    decoded = codec.decode(values)
    assert time.process_time() - begin < 1
    assert verdicts(decoded) == [(place, "undecodable") for place in range(5000)]


def test_panics_do_not_fill_standard_error(codec: Codec, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(20):
        codec.decode(among(NEIGHBOURS, framed(long_bytes(2**62) + reading()[1:])))
    assert capfd.readouterr().err.count("panicked at") <= 1


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "record", "name": "R", "fields": [{"name": "a", "type": {"type": "map", "values": "long"}}]},
        {"type": "record", "name": "R", "fields": [{"name": "a", "type": {"type": "array", "items": "long"}}]},
        {"type": "record", "name": "R", "fields": [{"name": "a", "type": ["null", "long", "string"]}]},
        {"type": "record", "name": "R", "fields": [{"name": "a", "type": {"type": "fixed", "name": "F", "size": 2}}]},
        {"type": "record", "name": "R", "fields": [{"name": "a", "type": "strin"}]},
        {"type": "record", "name": "R", "fields": []},
        {"type": "enum", "name": "R", "symbols": ["a"]},
    ],
)
def test_a_reader_schema_that_no_columns_hold_is_refused_at_construction(schema: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="schema|record"):
        Codec(schema, FakeSchemas({}))


def _file_without_sentinels(payloads: list[bytes]) -> bytes:
    """An Avro file of one block, its records merely laid end to end."""
    sync = bytes(range(16))
    entries = ("avro.schema", json.dumps(load_schema("Reading")), "avro.codec", "null")
    meta = long_bytes(2) + b"".join(text(each) for each in entries) + b"\0"
    body = b"".join(payloads)
    return b"Obj\x01" + meta + sync + long_bytes(len(payloads)) + long_bytes(len(body)) + body + sync
