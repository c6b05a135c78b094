"""Packed messages, mutated: the block and the reader of single messages judge alike, whoever the neighbours are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas import load_schema
from streams.engine.avro_schema import RecordSchema
from streams.engine.codec import Codec, Decoded
from streams.engine.packed_block import PackedBlock, PackedReader
from streams.engine.packed_schema import PackedSchema, resolve_packed
from tests.property.avro_strategies import encoded
from weir.errors import PoisonError

READING, BATCH = load_schema("Reading"), load_schema("ReadingBatch")
READER = RecordSchema.parse(READING)
PACKED = PackedSchema.parse(BATCH, READER)
RESOLUTION = resolve_packed(BATCH, PACKED)
BLOCK, ALONE = PackedBlock(8, RESOLUTION, PACKED, READER), PackedReader(RESOLUTION, PACKED)
SINGLE_PREFIX, PREFIX = b"\0\0\0\0\7", b"\0\0\0\0\x08"
SHORT = st.text(max_size=6)
OPTIONAL = {
    "value": st.floats(),
    "str_value": SHORT,
    "status_code": st.integers(-(2**63), 2**63 - 1),
    "unit": SHORT,
    "seq": st.integers(0, 300),
    "battery_level": st.floats(width=32),
}
ITEM = st.fixed_dictionaries(
    {"sensor": SHORT, "ts": st.integers(-(2**63), 2**63 - 1)},
    optional={name: st.none() | values for name, values in OPTIONAL.items()},
)
BATCHES = st.fixed_dictionaries({"device_id": SHORT, "readings": st.lists(ITEM, max_size=6)})
Row = tuple[Any, ...]


class FakeSchemas:
    """7 is Reading, 8 is ReadingBatch."""

    def schema(self, schema_id: int) -> Mapping[str, Any]:
        return {7: READING, 8: BATCH}[schema_id]


def plain(schema: dict[str, Any], record: dict[str, Any]) -> bytes:
    """As fastavro writes it, without turning numbers into times."""
    return encoded(schema, record)


def framed(batch: dict[str, Any]) -> bytes:
    return PREFIX + plain(BATCH, batch)


def in_two_parts(batch: dict[str, Any]) -> bytes:
    """The same batch with its array in two parts, the second with its size: Avro allows it, and few writers do it."""
    empty = plain(BATCH, batch | {"readings": []})[:-1]
    first, rest = batch["readings"][:1], batch["readings"][1:]
    items = [plain(BATCH, {"device_id": "", "readings": [each]})[2:-1] for each in batch["readings"]]
    parts = b"\x02" + items[0] if first else b""
    if rest:
        body = b"".join(items[1:])
        parts += _long(-len(rest)) + _long(len(body)) + body
    return PREFIX + empty + parts + b"\0"


def _long(number: int) -> bytes:
    return plain({"type": "record", "name": "L", "fields": [{"name": "l", "type": "long"}]}, {"l": number})


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A batch whose bytes behind the prefix were changed, cut, doubled or taken away at some place."""
    value = framed(draw(BATCHES))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(5, max(5, len(value) - 1)))
        length = draw(st.integers(0, 4))
        value = value[:at] + draw(st.binary(max_size=4)) + value[at + length :]
    return value


def alone(value: bytes) -> list[Row] | str:
    try:
        return ALONE.read(value[5:])
    except PoisonError as error:
        return error.reason


def as_frame(rows: list[Row]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=READER.dtypes, orient="row")


def verdicts(decoded: Decoded, count: int) -> list[pl.DataFrame | str]:
    """Of each value its rows, or why it was rejected; places must count up from 0."""
    found: list[pl.DataFrame | str] = []
    reasons = {each.index: each.reason for each in decoded.rejected}
    for number in range(count):
        rows = pl.Series(decoded.index == number, dtype=pl.Boolean)
        if decoded.places is not None:
            assert decoded.places[rows.to_numpy()].tolist() == list(range(int(rows.sum())))
        found.append(reasons.get(number) or decoded.frame.filter(rows))
    return found


def same(one: pl.DataFrame | str, other: pl.DataFrame | str) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return isinstance(one, str) and one == other
    return one.equals(other)


@settings(max_examples=300, deadline=None)
@given(mutated())
@example(framed({"device_id": "d", "readings": []}) + b"\0")
@example(PREFIX + b"\x02d" + b"\xff" * 9 + b"\x01" + b"\0")
def test_a_block_takes_no_message_that_the_single_reader_refuses_and_gives_the_same_rows(value: bytes) -> None:
    read, rows = BLOCK.read([value]), alone(value)
    if read is not None:
        assert isinstance(rows, list), rows
        assert read.frame.equals(as_frame(rows))
        assert read.counts.tolist() == [len(rows)]


@settings(max_examples=100, deadline=None)
@given(BATCHES)
def test_what_fastavro_writes_is_a_block_and_an_array_in_parts_gives_the_same_rows(
    batch: dict[str, Any],
) -> None:
    read = BLOCK.read([framed(batch)])
    assert read is not None
    parts = alone(in_two_parts(batch))
    assert isinstance(parts, list)
    assert read.frame.equals(as_frame(parts))


@settings(max_examples=150, deadline=None)
@given(st.lists(BATCHES.map(framed), max_size=6), st.lists(mutated(), max_size=3), st.data())
def test_the_verdict_on_a_message_does_not_depend_on_its_neighbours(
    whole: list[bytes], spoilt: list[bytes], data: st.DataObject
) -> None:
    single = SINGLE_PREFIX + plain(READING, {"device_id": "s", "sensor": "x", "ts": 1})
    values = data.draw(st.permutations([*whole, *spoilt, single]))
    codec = Codec(READING, FakeSchemas(), packed=BATCH)
    among = verdicts(codec.decode(values), len(values))
    by_itself = [verdicts(codec.decode([value]), 1)[0] for value in values]
    assert all(map(same, among, by_itself))


def test_a_message_that_swallows_its_neighbour_takes_nothing_of_it() -> None:
    good = [framed({"device_id": "good", "readings": [{"sensor": "a", "ts": number}]}) for number in range(40)]
    thief = framed({"device_id": "t", "readings": [{"sensor": "a", "ts": 1}] * 2})[:-30] + b"\0"
    decoded = Codec(READING, FakeSchemas(), packed=BATCH).decode([*good[:20], thief, *good[20:]])
    assert decoded.frame["ts"].to_list() == list(range(40))
    assert [each.index for each in decoded.rejected] == [20]


def test_one_message_with_more_readings_than_it_says_and_one_with_fewer_are_both_refused() -> None:
    """Together they have as many as they say: only the records between them tell."""
    one, two = ([{"sensor": "a", "ts": 1}] * times for times in (1, 2))
    count = {len(each): _long(len(each)) for each in (one, two)}
    head = encoded(BATCH, {"device_id": "d", "readings": []})[:-1]
    item = encoded(BATCH, {"device_id": "", "readings": one})[2:-1]
    liars = [PREFIX + head + count[1] + item * 2 + b"\0", PREFIX + head + count[2] + item + b"\0"]
    assert BLOCK.read(liars) is None
    decoded = Codec(READING, FakeSchemas(), packed=BATCH).decode(liars)
    assert decoded.frame.is_empty()
    assert [each.index for each in decoded.rejected] == [0, 1]
