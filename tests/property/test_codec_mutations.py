"""Hostile bytes: neighbours survive unchanged, and the verdict on a record never depends on them."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engine.avro_block import AvroBlock
from streams.engine.avro_schema import RecordSchema
from streams.engine.codec import BLOCK_MIN_RECORDS, Codec, Decoded
from streams.engine.record_by_record import RecordReader
from streams.engine.resolution import FlatResolution, resolve
from tests.property.avro_strategies import PREFIX, FakeSchemas, Pair, mutations, pairs
from weir.errors import PoisonError


def bits(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row in which NaN equals NaN and -0.0 is not 0.0."""
    return tuple(repr(value) for value in row)


def verdicts(decoded: Decoded, count: int) -> list[Any]:
    """One a value: its row, or the reason and sentence of its rejection."""
    found: list[Any] = [None] * count
    for place, row in zip(decoded.index.tolist(), decoded.frame.rows(), strict=True):
        found[place] = bits(row)
    for each in decoded.rejected:
        assert found[each.index] is None
        found[each.index] = (each.reason, each.detail)
    return found


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_block_of_one_and_the_record_reader_agree_on_any_bytes(data: st.DataObject) -> None:
    pair: Pair = data.draw(pairs(max_records=5))
    reader = RecordSchema.parse(pair.reader)
    resolution = resolve(pair.writer, reader)
    assert isinstance(resolution, FlatResolution)
    block, alone = AvroBlock(7, resolution, reader), RecordReader(resolution, reader)
    for payload in pair.payloads():
        for spoilt in (payload, data.draw(mutations(payload)), data.draw(mutations(payload))):
            frame = block.read([PREFIX + spoilt])
            try:
                row = alone.read(spoilt)
            except PoisonError:
                assert frame is None
            else:
                columns = Codec(pair.reader, FakeSchemas(pair.writer)).decode([PREFIX + spoilt]).frame
                assert frame is not None and len(row) == frame.width
                assert bits(frame.row(0)) == bits(columns.row(0))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_verdicts_do_not_depend_on_neighbours_and_whole_neighbours_survive(data: st.DataObject) -> None:
    pair: Pair = data.draw(pairs(min_records=2, max_records=6))
    whole = [PREFIX + payload for payload in pair.payloads()]
    spoilt = [PREFIX + data.draw(mutations(each[5:])) for each in whole]
    values = data.draw(st.permutations(whole * (BLOCK_MIN_RECORDS // 2) + spoilt))
    codec = Codec(pair.reader, FakeSchemas(pair.writer))
    among = verdicts(codec.decode(values), len(values))
    alone = {value: verdicts(codec.decode([value]), 1)[0] for value in set(values)}
    assert among == [alone[value] for value in values]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | st.binary(max_size=12) | st.binary(max_size=12).map(PREFIX.__add__), max_size=40))
def test_any_list_of_values_is_fully_accounted_for(values: list[bytes | None]) -> None:
    schema = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "string"}, {"name": "b", "type": "long"}]}
    decoded = Codec(schema, FakeSchemas(schema)).decode(values)
    assert sorted([*decoded.index.tolist(), *(each.index for each in decoded.rejected)]) == list(range(len(values)))
    assert decoded.index.tolist() == sorted(decoded.index.tolist())
    assert decoded.frame.height == len(decoded.index)
