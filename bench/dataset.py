"""The readings of a fleet, seeded: the same figures give the same readings, apart from the clock they end at.

Columns are made by numpy for the whole run; the Avro bytes of a chunk by Weir's own encoder, which keeps the cells that
come again. tests/unit/test_bench_dataset.py reads them back with fastavro.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.packing import BatchEncoder, pack
from schemas import load_schema
from streams.engine.encoder import Encoder

Int64s = NDArray[np.int64]

SENSORS: Final = (
    ("temperature", "environment.temperature", "celsius", 21.0, 4.0),
    ("humidity", "environment.humidity", "percent", 45.0, 8.0),
    ("pressure", "environment.pressure", "hectopascal", 1013.0, 6.0),
    ("voltage", "power.voltage", "volt", 3.7, 0.2),
)
"""Name, metric, unit, mean and spread of the sensors that every device has."""

FULL_SHARE: Final = 0.6
"""Share of devices that fill seven optional fields; the others send value, seq, fw_ver and source."""

MAX_DELAY_MS: Final = 3_000
"""How late a delayed reading comes at most."""

RESEND_AFTER_MS: Final = (100, 1_500)
"""A resend follows its original by this; with the delay it stays below the 5 s for which a window waits."""

PACKED_DELAY_MS: Final = 2_000
PACKED_RESEND_AFTER_MS: Final = (1_200, 1_500)
"""The same of batches, of which each waits a second: so both stay below 5 s, and a resend comes in another batch."""


@dataclass(frozen=True, slots=True)
class DatasetPlan:
    """What to make: ``readings`` in all, resends included, that end at ``end_ms`` of event time, a message each.

    ``interval_ms`` lies between two readings of one sensor. ``delayed`` is the share of originals that come up to
    :data:`MAX_DELAY_MS` late, ``resent`` the share of all readings that repeat an earlier one. With ``packed``, a
    message holds up to so many readings of a device, which sends one each ``interval_ms``: its sensors measure as often
    as that takes, so a batch is never older than what windows wait for.
    """

    readings: int
    end_ms: int
    interval_ms: float = 1_000.0
    devices: int = 1_000
    delayed: float = 0.05
    resent: float = 0.01
    seed: int = 1
    packed: int = 0

    @property
    def spacing_ms(self) -> float:
        """Between two readings of one sensor; what comes late or again must find room in a batch."""
        return self.interval_ms * len(SENSORS) / self.packed * 1.1 if self.packed else self.interval_ms

    @property
    def resends(self) -> int:
        """Messages that repeat another."""
        return round(self.readings * self.resent)

    @property
    def distinct(self) -> int:
        """Identities: what must be stored in the end."""
        return self.readings - self.resends

    @property
    def series(self) -> int:
        """Sensors in all."""
        return self.devices * len(SENSORS)

    def spread_over(self, seconds: float) -> DatasetPlan:
        """The same number of readings, evenly over ``seconds``."""
        spacing = seconds * 1_000.0 * self.series / max(1, self.distinct)
        return replace(self, interval_ms=spacing * self.interval_ms / self.spacing_ms)


class Chunk(NamedTuple):
    """Consecutive messages: key (the device id) and value (Confluent-framed Avro) of each."""

    keys: list[bytes]
    values: list[bytes]


class Dataset:
    """The messages of one plan in the order of their sending."""

    def __init__(self, plan: DatasetPlan) -> None:
        """Draw everything but the bytes; about 0.5 s and 60 MB for two million readings."""
        self.plan = plan
        rng = np.random.default_rng(plan.seed)
        number = np.arange(plan.distinct, dtype=np.int64)
        series = number % plan.series
        turn = number // plan.series
        turns = -(-plan.distinct // plan.series)
        phase = rng.permutation(plan.series) * plan.spacing_ms / plan.series
        first = plan.end_ms - turns * plan.spacing_ms
        ts = np.floor(first + turn * plan.spacing_ms + phase[series]).astype(np.int64)
        arrival = ts.copy()
        late = rng.permutation(plan.distinct)[: round(plan.distinct * plan.delayed)]
        most_delay, again_after = MAX_DELAY_MS, RESEND_AFTER_MS
        if plan.packed:
            most_delay, again_after = PACKED_DELAY_MS, PACKED_RESEND_AFTER_MS
        arrival[late] += rng.integers(1, most_delay + 1, len(late))
        again = rng.permutation(plan.distinct)[: plan.resends]
        arrives = np.concatenate((arrival, arrival[again] + rng.integers(*again_after, len(again))))
        order = np.argsort(arrives, kind="stable")
        self._arrival: Int64s = arrives[order]
        row = np.concatenate((number, again))[order]
        self.series: Int64s = series[row]
        """Number of the series of each message: device × 4 + sensor."""
        self.ts: Int64s = ts[row]
        """Event time of each message, milliseconds."""
        self.resent: NDArray[np.bool_] = order >= plan.distinct
        """Whether a message repeats an earlier one."""
        self._turn: Int64s = turn[row]
        self._fleet = _Fleet(plan, rng)

    def sensors(self) -> pl.DataFrame:
        """The fleet as :func:`connectors.postgres.devices.register` takes it, a row a sensor."""
        return self._fleet.sensors

    def frame(self, begin: int, end: int) -> pl.DataFrame:
        """Messages ``begin`` up to ``end`` as columns of the Reading schema."""
        return self._fleet.readings(self.series[begin:end], self._turn[begin:end], self.ts[begin:end])

    def chunks(self, schema_id: int, size: int = 20_000) -> Iterator[Chunk]:
        """All messages in order; about 2 us each. ``schema_id`` is that of Reading, or of ReadingBatch when packed."""
        if self.plan.packed:
            yield from self._batches(schema_id)
            return
        encoder = Encoder(load_schema("Reading"), schema_id)
        for begin in range(0, self.plan.readings, size):
            frame = self.frame(begin, min(begin + size, self.plan.readings))
            keys = self._fleet.keys[self.series[begin : begin + size] // len(SENSORS)]
            yield Chunk(keys.tolist(), encoder.encode(frame))

    def _batches(self, schema_id: int) -> Iterator[Chunk]:
        """Batches of about the same time: what all devices send within one interval."""
        encoder = BatchEncoder(schema_id)
        times = np.arange(self._arrival[0], self._arrival[-1] + self.plan.interval_ms, self.plan.interval_ms)
        cuts = [*np.searchsorted(self._arrival, times).tolist(), self.plan.readings]
        for begin, end in pairwise(cuts):
            if begin == end:
                continue
            devices = self.series[begin:end] // len(SENSORS)
            packing = pack(devices, self.plan.packed)
            keys = self._fleet.keys[devices[packing.order[packing.cuts[:-1]]]]
            yield Chunk(keys.tolist(), encoder.encode(self.frame(begin, end)[packing.order], packing.cuts))

    def rows(self) -> int:
        """How many rows a worker inserts: of equal readings in one message the last, and all others as they come."""
        if not self.plan.packed:
            return self.plan.readings
        size, rows = self.plan.devices * self.plan.packed, 0
        for begin in range(0, self.plan.readings, size):
            series, ts = self.series[begin : begin + size], self.ts[begin : begin + size]
            packing = pack(series // len(SENSORS), self.plan.packed)
            message = np.repeat(np.arange(len(packing.cuts) - 1), np.diff(packing.cuts))
            identities = pl.DataFrame([message, series[packing.order], ts[packing.order]])
            rows += identities.n_unique()
        return rows

    def closing(self, schema_id: int, ts_ms: int) -> Chunk:
        """One more reading of every series, at ``ts_ms``: it closes the windows of who goes by event time."""
        series = np.arange(self.plan.series, dtype=np.int64)
        turn = np.full_like(series, self._turn.max() + 1)
        frame = self._fleet.readings(series, turn, np.full_like(series, ts_ms))
        encoder = Encoder(load_schema("Reading"), schema_id)
        return Chunk(self._fleet.keys[series // len(SENSORS)].tolist(), encoder.encode(frame))


class _Fleet:
    """What does not change from reading to reading."""

    def __init__(self, plan: DatasetPlan, rng: np.random.Generator) -> None:
        names = [f"bench-{number:06d}" for number in range(plan.devices)]
        self.keys = np.array([name.encode() for name in names], dtype=object)
        sensor, metric, unit, mean, spread = (np.array(column) for column in zip(*SENSORS, strict=True))
        every = np.tile(np.arange(len(SENSORS)), plan.devices)
        device = np.repeat(np.arange(plan.devices), len(SENSORS))
        full = rng.random(plan.devices) < FULL_SHARE
        self.sensors = pl.DataFrame(
            {
                "device_id": np.array(names)[device],
                "sensor": sensor[every],
                "device_type": np.where(full, "device.esp32", "device.generic")[device],
                "metric": metric[every],
                "unit": unit[every],
            }
        )
        self._texts = self.sensors.select(
            "device_id",
            "sensor",
            unit=pl.when(pl.Series(full[device])).then("unit"),
            quality=pl.when(pl.Series(full[device])).then(pl.lit("good")),
            fw_ver=pl.Series(rng.choice(["1.4.2", "1.5.0", "2.0.1"], plan.devices)[device]),
            source=pl.Series(np.where(full, "esp32", "gateway")[device]),
        )
        self._full = full[device]
        self._level = rng.normal(mean[every], spread[every])
        self._swing = spread[every] / 4
        self._battery = rng.uniform(40.0, 100.0, plan.devices)[device]
        self._first_seq = rng.integers(0, 100_000, plan.series)

    def readings(self, series: Int64s, turn: Int64s, ts: Int64s) -> pl.DataFrame:
        wave = np.sin((series % 97) + turn / 60) + ((series * 31 + turn * 17) % 101) / 200
        value = np.round(self._level[series] + self._swing[series] * wave, 2)
        numbers = pl.DataFrame(
            {
                "ts": ts,
                "value": value,
                "seq": self._first_seq[series] + turn,
                "battery_level": np.round(self._battery[series] - turn / 600, 1).astype(np.float32),
                "full": self._full[series],
            }
        )
        frame = pl.concat([self._texts[series], numbers], how="horizontal")
        return frame.with_columns(
            pl.when("full").then("battery_level"),
            str_value=pl.lit(None, pl.String),
            status_code=pl.lit(None, pl.Int64),
        ).drop("full")
