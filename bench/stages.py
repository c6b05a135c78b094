"""The stages of the hot path, block by block in one process without servers: ``python -m bench.stages``.

For whoever changes the hot path: before and after in nanoseconds a reading, within seconds. Messages of the benchmark's
dataset are made beforehand; each block then goes through all stages, as in a worker, and of several rounds each stage's
quickest counts. It is CPU time of the process: what else runs on the machine counts less, but not nothing, so compare
runs that follow each other. What a worker does beside that (reading, inserting, committing, Faust) is in
:mod:`bench.profile`.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

import click
import numpy as np
import polars as pl
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message

from bench.dataset import SENSORS, Dataset, DatasetPlan
from connectors.postgres.metadata import SENSOR_SCHEMA, Metadata
from schemas import load_schema
from sinks.clickhouse.client import ClientOfEachThread
from sinks.clickhouse.stored_windows import StoredWindows
from sinks.clickhouse.writer import ClickHouseWriter
from streams.engine.block import Block, decode_block
from streams.engine.codec import Codec
from streams.engine.encoder import Encoder
from streams.engine.fetch import Fetch, Lease, split_by_partition
from streams.engine.outcome import Outcome
from streams.engine.partition_state import Part, PartitionState
from streams.engine.refusals import NO_LIMIT
from streams.telemetry.convert import Converter
from streams.telemetry.enrich import points_of, raw_rows
from streams.telemetry.pipeline import LABELS
from streams.telemetry.registered import Registered
from streams.telemetry.rollup import Announcement, MinuteRollup
from streams.telemetry.series import ActiveSeries
from streams.telemetry.validate import judge
from weir.settings import ClickHouseSettings

STAGES: Final = (
    "split by partition",
    "values and times",
    "decode",
    "codes",
    "convert",
    "judge",
    "dims",
    "raw rows",
    "points",
    "windows: add",
    "Arrow",
    "windows: close",
    "records",
)
"""In the order in which a block goes through them; the last three once a flush or window."""

TOPIC: Final = "readings"
PARTITIONS: Final = 4
SCHEMA_ID: Final = 1
END_MS: Final = 1_700_002_800_000
LATENESS_MS: Final = 5_000
SKEW_MS: Final = 300_000
RETENTION_DAYS: Final = 37


class _Laps:
    """Seconds of CPU of each stage in one round."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.start()

    def start(self) -> None:
        self._since = time.process_time()

    def done(self, stage: str) -> None:
        """Count the time since the lap before for ``stage``."""
        now = time.process_time()
        self.seconds[stage] += now - self._since
        self._since = now


class _Schemas:
    """A registry that knows the Reading schema."""

    def schema(self, schema_id: int) -> Mapping[str, Any]:
        return load_schema("Reading")


class _Nowhere:
    """A ClickHouse that takes everything at once."""

    def get(self) -> _Nowhere:
        return self

    def raw_insert(self, *_table: str, **_body: object) -> None:
        return


class HotPath:
    """What a worker's stage of readings holds, with servers that answer at once."""

    def __init__(self, dataset: Dataset) -> None:
        """Know the sensors of ``dataset``."""
        self._series = ActiveSeries(Registered(_metadata(dataset), RETENTION_DAYS))
        self._converter = Converter(self._series)
        self._codec = Codec(load_schema("Reading"), _Schemas())
        settings = ClickHouseSettings()
        announcement = Announcement("aggregates", Encoder(load_schema("Aggregate"), SCHEMA_ID))
        self._rollup = MinuteRollup(self._series, StoredWindows(settings), announcement)
        self._writer = ClickHouseWriter(settings, labels=LABELS)
        self._writer._clients = cast(ClientOfEachThread, _Nowhere())

    def run(self, fetches: Sequence[list[Message]]) -> dict[str, float]:
        """Seconds of each stage for all messages; every window that they fill is closed at the end."""
        laps = _Laps()
        states = {number: _state(number) for number in range(PARTITIONS)}
        for messages in fetches:
            laps.start()
            runs = list(split_by_partition(messages))
            laps.done("split by partition")
            for _, partition, run in runs:
                self._take_in(Fetch(states[partition].lease, run), states[partition], laps)
        for state in states.values():
            self._flush(state, laps)
        laps.seconds["decode"] -= laps.seconds["values and times"]  # decode_block() asks for them again
        return laps.seconds

    def _take_in(self, fetch: Fetch, state: PartitionState, laps: _Laps) -> None:
        laps.start()
        fetch.values(), fetch.offsets(), fetch.append_times()
        laps.done("values and times")
        block = decode_block(fetch, self._codec)
        laps.done("decode")
        outcome = self._outcome(block, laps)
        state.add(outcome, Part(block.first, block.end, int(block.append_ts[-1])), NO_LIMIT)
        laps.done("windows: add")

    def _outcome(self, block: Block, laps: _Laps) -> Outcome:
        """As :meth:`streams.telemetry.pipeline.ReadingsStage.outcome` does where all is well."""
        offsets, append_ts = block.offsets, block.append_ts
        codes = self._series.encode(block.frame)
        laps.done("codes")
        converted = self._converter.convert(block.frame, codes)
        laps.done("convert")
        verdicts = judge(converted.frame, codes, append_ts, self._series, SKEW_MS, converted.verdicts)
        if verdicts.any():
            raise RuntimeError("a reading of the benchmark was refused")
        laps.done("judge")
        frame = self._converter.mark(converted.frame, codes)
        laps.done("convert")
        dims = self._series.dims_at(codes, frame["ts"].to_numpy())
        laps.done("dims")
        rows = raw_rows(frame, dims, offsets, append_ts, block.lease.partition)
        laps.done("raw rows")
        points = points_of(frame, codes, offsets, append_ts)
        laps.done("points")
        return Outcome(rows, offsets, points, [])

    def _flush(self, state: PartitionState, laps: _Laps) -> None:
        laps.start()
        self._writer.insert("raw_readings", pl.concat(state.take().rows), "token")
        laps.done("Arrow")
        for window in state.close(END_MS + 3_600_000):
            rows = self._rollup.close(window.start, pl.concat(window.chunks)).rows
            laps.done("windows: close")
            self._rollup.records(rows, state.lease.partition)
            laps.done("records")


def measure(readings: int, fetch: int, rounds: int) -> dict[str, float]:
    """Nanoseconds a reading of each stage, the quickest of ``rounds``; blocks for some seconds.

    ``fetch`` messages go through together, spread over :data:`PARTITIONS` partitions.
    """
    dataset = Dataset(DatasetPlan(readings, END_MS))
    fetches = list(made_fetches(dataset, fetch))
    path = HotPath(dataset)
    path.run(fetches[:1])
    gc.collect()
    gc.freeze()  # as a worker does, see weir.garbage
    every = [path.run(fetches) for _ in range(rounds)]
    return {stage: min(each[stage] for each in every) / readings * 1e9 for stage in STAGES}


def made_fetches(dataset: Dataset, size: int) -> Iterator[list[Message]]:
    """The dataset as messages of :data:`PARTITIONS` partitions, in runs of one partition as librdkafka gives them."""
    partitions = dataset.series // len(SENSORS) % PARTITIONS  # by device, as keys do
    nexts = [0] * PARTITIONS
    for number, chunk in enumerate(dataset.chunks(SCHEMA_ID, size)):
        begin = number * size
        where, ts = partitions[begin : begin + size], dataset.ts[begin : begin + size]
        messages = []
        for row in np.argsort(where, kind="stable").tolist():
            partition = int(where[row])
            stamp = (TIMESTAMP_LOG_APPEND_TIME, int(ts[row]) + 50)
            value = chunk.values[row]
            messages.append(Message(TOPIC, partition, nexts[partition], chunk.keys[row], value, timestamp=stamp))
            nexts[partition] += 1
        yield messages


def _metadata(dataset: Dataset) -> Metadata:
    sensors = dataset.sensors().with_columns(
        org_id=pl.lit("bench"),
        project_id=pl.lit("fleet"),
        min_value=None,
        max_value=None,
        retention_days=None,
        sensor_unit=pl.col("unit"),
        own_min=False,
        own_max=False,
        value_type=pl.lit("float"),
        mark_bounds=False,
    )
    return Metadata(1, sensors.select(*SENSOR_SCHEMA).cast(pl.Schema(SENSOR_SCHEMA)).sort("device_id", "sensor"))


def _state(partition: int) -> PartitionState:
    lease = Lease(TOPIC, partition, None)
    return PartitionState(lease, 0, LATENESS_MS, MinuteRollup.size_ms)


@click.command()
@click.option("--readings", type=click.IntRange(min=1_000), default=480_000, show_default=True, help="How many.")
@click.option("--fetch", type=click.IntRange(min=1), default=80_000, show_default=True, help="Messages together.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="The quickest counts.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def command(readings: int, fetch: int, rounds: int, as_json: bool) -> None:
    """Nanoseconds a reading of each stage of the hot path, without servers.

    \b
    Example:
      POLARS_MAX_THREADS=1 python -m bench.stages --rounds 10

    \b
    Exit codes:
      0  measured
      2  wrong usage
    """
    found = measure(readings, fetch, rounds)
    if as_json:
        click.echo(json.dumps({"readings": readings, "rounds": rounds, "ns_per_reading": found}))
        return
    for stage, nanoseconds in [*found.items(), ("all", sum(found.values()))]:
        click.echo(f"{stage:<20}{nanoseconds:8.0f} ns")


if __name__ == "__main__":
    command()
