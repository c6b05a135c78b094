"""What readings cost from bytes to closed windows, packed and single: ``python -m bench.micro.packed --help``.

One process, no Kafka and no ClickHouse: messages are made beforehand, and what the agent of the readings does with them
is timed step by step, with its own code: decode, judge and enrich up to rows for ClickHouse, windows and reducing them.
The time is that of the CPU, which other processes of the machine disturb less; one thread does all of it.
"""

from __future__ import annotations

import gc
import os

os.environ.setdefault("POLARS_MAX_THREADS", "1")  # as in a worker; Polars reads it when it is imported

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, cast

import click
import polars as pl
from confluent_kafka import Message

from bench.dataset import SENSORS, Dataset, DatasetPlan
from connectors.postgres.metadata import SENSOR_SCHEMA, Metadata
from schemas import load_schema
from streams.engine.batch_topic import BLOCK_BYTES, BLOCK_MESSAGES
from streams.engine.block import Block, decode_block
from streams.engine.codec import Codec
from streams.engine.encoder import Encoder
from streams.engine.fetch import Fetch, Lease
from streams.engine.partition_state import Part, PartitionState
from streams.engine.reduce import reduce_points
from streams.engine.refusals import NO_LIMIT
from streams.telemetry.convert import Converter
from streams.telemetry.pipeline import READINGS, ReadingsStage
from streams.telemetry.refused import RefusedReadings
from streams.telemetry.registered import Registered
from streams.telemetry.series import ActiveSeries
from weir.cli.figures import spread_json, tell_json
from weir.settings import Settings

READING_ID, BATCH_ID = 7, 8
STEPS = ("decode", "judge_and_enrich", "windows")
MINUTE_MS = 60_000


class FakeSchemas:
    """A registry of the two schemas."""

    def schema(self, schema_id: int) -> Mapping[str, Any]:
        """The schema of that id."""
        return load_schema("Reading" if schema_id == READING_ID else "ReadingBatch")


class FakeNothing:
    """What stands around the stage and is not measured: no alerts, nothing stored."""

    stop = failed = None

    def judge(self, *_: object) -> list[object]:
        """No alert."""
        return []


class Measured(NamedTuple):
    """Nanoseconds a reading of each of :data:`STEPS`, and readings a CPU second of all three."""

    nanoseconds: dict[str, float]
    readings_per_cpu_second: float


class Path:
    """The way of the readings of one dataset."""

    def __init__(self, dataset: Dataset) -> None:
        """Make the messages, and a stage that knows every sensor."""
        self._readings = dataset.plan.readings
        self._fetches = _fetches(dataset)
        self._codec = Codec(load_schema("Reading"), FakeSchemas(), packed=load_schema("ReadingBatch"))
        self._series = ActiveSeries(Registered(Metadata(1, _registered(dataset)), 30))
        self._converter = Converter(self._series)
        refused = RefusedReadings(READINGS, self._series, Encoder(load_schema("Reading"), READING_ID))
        nothing = cast("Any", FakeNothing())
        self._stage = ReadingsStage(Settings(), refused, nothing, nothing, nothing)

    def run(self) -> Measured:
        """Once from the first byte to the last window. Raises ValueError when not every reading was kept."""
        seconds = dict.fromkeys(STEPS, 0.0)
        state = PartitionState(self._fetches[0].lease, 0, 5_000, MINUTE_MS)
        kept = 0
        for fetch in self._fetches:
            began = time.process_time()
            block = decode_block(fetch, self._codec)
            decoded = time.process_time()
            outcome = self._stage.outcome(block, *self._judged(block))
            judged = time.process_time()
            state.add(outcome, Part(block.first, block.end, int(block.append_ts[-1])), NO_LIMIT)
            _close(state, state.take().watermark)
            windowed = time.process_time()
            kept += len(outcome.rows)
            for step, spent in zip(STEPS, (decoded - began, judged - decoded, windowed - judged), strict=True):
                seconds[step] += spent
        began = time.process_time()
        _close(state, 2**62)
        seconds["windows"] += time.process_time() - began
        if kept != self._readings:
            raise ValueError(f"Only {kept:,} of {self._readings:,} readings were kept; see what refuses them.")
        costs = {step: spent / self._readings * 1e9 for step, spent in seconds.items()}
        return Measured(costs, self._readings / sum(seconds.values()))

    def _judged(self, block: Block) -> tuple[Any, Any]:
        codes = self._series.encode(block.frame)
        return codes, self._converter.convert(block.frame, codes)


def _close(state: PartitionState, watermark: int) -> None:
    for window in state.close(watermark):
        reduce_points(pl.concat(window.chunks))


def _fetches(dataset: Dataset) -> list[Fetch]:
    """Blocks as the feed makes them of a backlog."""
    lease = Lease("weir.readings", 0, None)
    chunks = dataset.chunks(BATCH_ID if dataset.plan.packed else READING_ID)
    values = [value for chunk in chunks for value in chunk.values]
    messages = [
        Message(topic=lease.topic, partition=0, offset=at, value=value, timestamp=(2, dataset.plan.end_ms))
        for at, value in enumerate(values)
    ]
    fetches: list[Fetch] = []
    for begin in range(0, len(messages), BLOCK_MESSAGES):
        part = messages[begin : begin + BLOCK_MESSAGES]
        size = sum(map(len, values[begin : begin + BLOCK_MESSAGES]))
        fetches += Fetch(lease, part, size=size).parts(BLOCK_BYTES)
    return fetches


def _registered(dataset: Dataset) -> pl.DataFrame:
    sensors = dataset.sensors()
    texts = ("org_id", "project_id")
    missing = {name: pl.lit(None, dtype) for name, dtype in SENSOR_SCHEMA.items() if name not in sensors.columns}
    filled = sensors.with_columns(**missing).with_columns(*(pl.lit("bench").alias(name) for name in texts))
    return filled.with_columns(sensor_unit=pl.col("unit"), value_type=pl.lit("float")).select(list(SENSOR_SCHEMA))


def measure(readings: int, packed: int, runs: int) -> list[dict[str, float]]:
    """The figures of each run: ns a reading by step and readings a CPU second, of both forms, and their ratio."""
    plan = DatasetPlan(readings, end_ms=time.time_ns() // 1_000_000)
    paths = {"single": Path(Dataset(plan)), "packed": Path(Dataset(replace(plan, packed=packed)))}
    measured = []
    for _ in range(runs):
        run: dict[str, float] = {}
        for form, path in paths.items():
            gc.collect()
            found = path.run()
            run |= {f"{form}_{step}_ns": spent for step, spent in found.nanoseconds.items()}
            run[f"{form}_readings_per_cpu_second"] = found.readings_per_cpu_second
        run["ratio"] = run["packed_readings_per_cpu_second"] / run["single_readings_per_cpu_second"]
        measured.append(run)
    return measured


@click.command(
    epilog="Example: python -m bench.micro.packed --readings 500000 --packed 50 --json. "
    "Exit codes: 0 measured, 2 an option that is none."
)
@click.option("--readings", default=1_000_000, show_default=True, type=click.IntRange(1_000))
@click.option("--packed", default=50, show_default=True, type=click.IntRange(1, 1_000), help="Readings of one message.")
@click.option("--runs", default=5, show_default=True, type=click.IntRange(1))
@click.option("--json", "as_json", is_flag=True, help="One JSON object: medians, min, max and each run.")
def main(readings: int, packed: int, runs: int, as_json: bool) -> None:
    """Measure readings from bytes to closed windows, packed and single, in turns."""
    click.echo(f"{readings:,} readings, {packed} a message, {runs} runs …", file=sys.stderr)
    told = spread_json(measure(readings, packed, runs))
    if as_json:
        tell_json({"readings": readings, "packed": packed, "series": 1_000 * len(SENSORS)} | told)
        return
    for form in ("single", "packed"):
        steps = ", ".join(f"{step.replace('_', ' ')} {told[f'{form}_{step}_ns']:.0f}" for step in STEPS)
        click.echo(
            f"{form}: {told[f'{form}_readings_per_cpu_second']:,.0f} readings a CPU second ({steps} ns a reading)"
        )
    click.echo(f"packed is {told['ratio']:.2f} times as fast")


if __name__ == "__main__":
    main()
