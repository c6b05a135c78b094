"""The encoder writes fastavro's bytes, and the codec reads back what was written."""

from __future__ import annotations

from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import load_schema
from streams.engine.codec import Codec
from streams.engine.encoder import Encoder
from tests.property.avro_strategies import PREFIX, FakeSchemas, Pair, dtype_of, encoded, pairs

BATTERY = st.none() | st.floats(width=32, allow_nan=False)
READINGS = st.fixed_dictionaries(
    {
        "device_id": st.text(max_size=12),
        "sensor": st.text(max_size=12),
        "ts": st.integers(-(2**63), 2**63 - 1),
        "value": st.none() | st.floats(allow_nan=False),
        "battery_level": BATTERY,
        "seq": st.none() | st.integers(-(2**63), 2**63 - 1),
        "source": st.none() | st.text(max_size=300),
    }
)


@settings(max_examples=200, deadline=None)
@given(pairs())
def test_the_bytes_are_those_fastavro_writes(pair: Pair) -> None:
    schema = pair.writer
    columns = {each["name"]: dtype_of(each["type"]) for each in schema["fields"]}
    frame = pl.DataFrame(pair.records, schema=columns)
    expected = [PREFIX + encoded(schema, record) for record in pair.records]
    encoder = Encoder(schema, 7)
    assert encoder.encode(frame) == expected
    assert encoder.encode(frame) == expected


@settings(max_examples=80, deadline=None)
@given(st.lists(READINGS, min_size=1, max_size=60))
def test_readings_come_back_as_they_were(readings: list[dict[str, Any]]) -> None:
    schema = load_schema("Reading")
    codec = Codec(schema, FakeSchemas(schema))
    frame = pl.DataFrame(readings, schema=codec.decode([]).frame.schema)
    decoded = codec.decode(Encoder(schema, 7).encode(frame))
    assert decoded.rejected == []
    assert decoded.frame.equals(frame)
