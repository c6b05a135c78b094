"""Schema resolution in columns equals fastavro's, record by record, for any pair of schemas that resolves."""

from __future__ import annotations

from typing import Any

from fastavro.read import SchemaResolutionError
from hypothesis import given, settings

from streams.engine.codec import Codec
from tests.property.avro_strategies import PREFIX, FakeSchemas, Pair, dtype_of, pairs, resolved


def expected(pair: Pair, payloads: list[bytes]) -> tuple[list[tuple[Any, ...]], list[int]]:
    """Rows and the positions of records whose null or symbol the reader has no place for."""
    rows, rejected = [], []
    for place, payload in enumerate(payloads):
        try:
            rows.append(resolved(pair, payload))
        except SchemaResolutionError:
            rejected.append(place)
    return rows, rejected


@settings(max_examples=250, deadline=None)
@given(pairs(max_records=8))
def test_every_record_resolves_as_fastavro_resolves_it(pair: Pair) -> None:
    payloads = pair.payloads()
    rows, rejected = expected(pair, payloads)
    codec = Codec(pair.reader, FakeSchemas(pair.writer))
    for times in (1, 40):  # by itself, and in a block of at least 40
        decoded = codec.decode([PREFIX + payload for payload in payloads] * times)
        assert decoded.frame.schema == {each["name"]: dtype_of(each["type"]) for each in pair.reader["fields"]}
        assert decoded.frame.rows() == rows * times
        assert [each.index for each in decoded.rejected] == [
            turn * len(payloads) + place for turn in range(times) for place in rejected
        ]
        assert {each.reason for each in decoded.rejected} <= {"incompatible_schema"}
