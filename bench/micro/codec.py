"""What the codec costs, in nanoseconds a record: ``POLARS_MAX_THREADS=1 python -m bench.micro.codec [records]``.

Prints one line a stage: the fastest of several runs. Records are Readings of 66 bytes with seven of twelve fields set.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import polars as pl
from fastavro import parse_schema, schemaless_writer

from schemas import load_schema
from streams.engine.avro_block import AvroBlock, long_bytes
from streams.engine.avro_schema import RecordSchema, parse_plain
from streams.engine.codec import Codec
from streams.engine.encoder import Encoder
from streams.engine.record_by_record import RecordReader
from streams.engine.resolution import FlatResolution, resolve

T = TypeVar("T")
SCHEMA_ID = 7
PREFIX = b"\0" + SCHEMA_ID.to_bytes(4, "big")


class FakeSchemas:
    """A registry of one schema."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Answer every id with ``schema``."""
        self._schema = schema

    def schema(self, schema_id: int) -> Mapping[str, Any]:
        """The one schema."""
        return self._schema


def readings(count: int) -> list[dict[str, Any]]:
    """Readings as devices send them: two optional numbers, two optional texts."""
    rng = np.random.default_rng(1)
    sensors = rng.choice(["temperature", "humidity", "pressure", "co2"], count)
    return [
        {
            "device_id": f"dev-{place % 1000:06d}",
            "sensor": str(sensors[place]),
            "ts": 1_700_000_000_000 + place * 250,
            "value": float(value),
            "unit": "celsius",
            "seq": place,
            "quality": "good",
            "battery_level": 88.5,
        }
        for place, value in enumerate(rng.normal(20, 5, count))
    ]


def framed(schema: Mapping[str, Any], records: list[dict[str, Any]]) -> list[bytes]:
    """Confluent-framed messages."""
    parsed = parse_schema(parse_plain(schema))
    messages = []
    for record in records:
        out = io.BytesIO()
        out.write(PREFIX)
        schemaless_writer(out, parsed, record)
        messages.append(out.getvalue())
    return messages


def aggregates(schema: Mapping[str, Any], count: int) -> pl.DataFrame:
    """One closed minute of ``count`` series."""
    rng = np.random.default_rng(2)
    columns: dict[str, Any] = {}
    for field in RecordSchema.parse(schema).fields:
        if field.scalar.kind == "string":
            columns[field.name] = [f"{field.name}-{place % 250:06d}" for place in range(count)]
        elif field.scalar.kind == "double":
            columns[field.name] = rng.normal(20, 5, count)
        else:
            columns[field.name] = 1_700_000_000_000 + rng.integers(0, 60_000, count)
    return pl.DataFrame(columns)


def stage(name: str, records: int, run: Callable[[], T], times: int = 30) -> T:
    """Run ``run`` several times and print its best time a record."""
    best = float("inf")
    for _ in range(times):
        begin = time.perf_counter()
        result = run()
        best = min(best, time.perf_counter() - begin)
    sys.stdout.write(f"{name:<52} {best / records * 1e9:10.1f} ns\n")
    return result


def measure_decoding(count: int) -> None:
    """Joining three ways, the block, the whole codec, and its ways out."""
    schema = load_schema("Reading")
    reader = RecordSchema.parse(schema)
    resolution = resolve(schema, reader)
    if not isinstance(resolution, FlatResolution):
        raise TypeError("Reading is no flat record any more; measure something else.")
    messages = framed(schema, readings(count))
    noise = os.urandom(9)
    stage("join: cut off each prefix", count, lambda: noise.join([each[5:] for each in messages]))
    stage("join: one replace", count, lambda: noise.join(messages).replace(noise + PREFIX, noise))
    stage("join: whole messages (as the codec does)", count, lambda: noise.join(messages))
    block = AvroBlock(SCHEMA_ID, resolution, reader)
    stage("join, read_avro, compare, columns", count, lambda: block.read(messages))
    codec = Codec(schema, FakeSchemas(schema))
    stage("codec: one schema id", count, lambda: codec.decode(messages))
    alone = RecordReader(resolution, reader)
    stage("record by record", count, lambda: [alone.read(each[5:]) for each in messages], 5)
    as_json = [json.dumps(each).encode() for each in readings(count)]
    stage("codec: JSON", count, lambda: codec.decode(as_json), 10)
    half = [first if place % 2 else second for place, (first, second) in enumerate(zip(messages, as_json, strict=True))]
    stage("codec: every other message JSON", count, lambda: codec.decode(half), 10)
    for bad in (1, count // 100, count):
        poisoned = list(messages)
        for place in range(0, count, count // bad):
            poisoned[place] = PREFIX + long_bytes(2**62) + poisoned[place][6:]
        stage(f"codec: {bad} with a huge length", count, lambda batch=poisoned: codec.decode(batch), 5)  # type: ignore[misc]


def measure_encoding(count: int) -> None:
    """The encoder against fastavro on the same frame."""
    schema = load_schema("Aggregate")
    frame = aggregates(schema, count)
    encoder = Encoder(schema, SCHEMA_ID)
    ours = stage("encoder: Aggregate", count, lambda: encoder.encode(frame))
    theirs = stage("fastavro: Aggregate", count, lambda: framed(schema, list(frame.iter_rows(named=True))), 5)
    if ours != theirs:
        raise ValueError("The encoder and fastavro disagree; run tests/property/test_encoder.py.")


if __name__ == "__main__":
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    sys.stdout.write(f"{records} records, POLARS_MAX_THREADS={os.environ.get('POLARS_MAX_THREADS', 'all')}\n")
    measure_decoding(records)
    measure_encoding(min(records, 1_000))
