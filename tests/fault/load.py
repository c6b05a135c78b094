"""A seeded load: resends, conflicts, disorder across window boundaries, late readings, poison amid good records.

Partitions 0 to 2 send history, a few hours of event time at each call, so that minutes and hours close by the data
alone; partition 3 sends what is measured now. Which device writes to which partition is fixed, so that the watermark of
each partition, and with it every window that must be closed, can be told from what was acknowledged.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping
from typing import Any, Self

import polars as pl

from connectors.postgres.devices import register
from tests.sender import Place, Sender, framed
from weir.verify.recompute import (
    HOUR_MS,
    MINUTE_MS,
    Acknowledged,
    Window,
    WindowKey,
    expected_readings,
    expected_windows,
)

PARTITIONS = 4
LIVE = PARTITIONS - 1
"""The partition of the devices that send what is measured now."""

DEVICES = [f"device-{number}" for number in range(12)]
SENSORS = ("a", "b")
STEP_MS = 40_000
HISTORY_MS = 10 * 24 * HOUR_MS

POISON_SHARE, LATE_SHARE, VERY_LATE_SHARE, RESENT_SHARE, CONFLICT_SHARE, TEXT_SHARE = 0.01, 0.03, 0.01, 0.05, 0.02, 0.02


def partition_of(device_id: str) -> int:
    """Where a device of this load writes."""
    return int(device_id.removeprefix("device-")) % PARTITIONS


def register_fleet(dsn: str) -> None:
    """Register every device of the load, with bounds for its sensors."""
    names = [(device, sensor, -1_000.0, 1_000.0) for device in DEVICES for sensor in SENSORS]
    columns = ["device_id", "sensor", "min_value", "max_value"]
    register(dsn, "acme", None, pl.DataFrame(names, schema=columns, orient="row"))


class Load:
    """What a fleet of twelve devices sends, the same for the same seed but for the live partition's times."""

    def __init__(self, sender: Sender, seed: int) -> None:
        """Begin ten days ago, at a whole hour."""
        self._sender = sender
        self._random = random.Random(seed)
        self._at = (time.time_ns() // 1_000_000 - HISTORY_MS) // HOUR_MS * HOUR_MS
        self._sent: dict[str, list[dict[str, Any]]] = {device: [] for device in DEVICES}

    def reseed(self, seed: int) -> None:
        """Go on with other dice, so that an iteration can be repeated by its number."""
        self._random.seed(seed)

    def send(self, rounds: int) -> int:
        """Each round every sensor of every device about once; returns how many messages that were."""
        before = len(self._sender.sent)
        now = time.time_ns() // 1_000_000
        for number in range(rounds):
            self._at += STEP_MS
            for device in DEVICES:
                clock = now + number if partition_of(device) == LIVE else self._at
                for sensor in SENSORS:
                    self._one(device, sensor, clock)
        self._sender.flush()
        return len(self._sender.sent) - before

    def _one(self, device: str, sensor: str, clock: int) -> None:
        chance = self._random.random
        if chance() < POISON_SHARE:
            self._poison(device, sensor, clock)
        if chance() < RESENT_SHARE and self._sent[device]:
            self._write(self._random.choice(self._sent[device][-200:]))
        if chance() < CONFLICT_SHARE and self._sent[device]:
            before = self._random.choice(self._sent[device][-200:])
            if before["value"] is not None:
                self._write({**before, "value": before["value"] + 1.0})
        record = {"device_id": device, "sensor": sensor, "ts": clock - self._delay(), "value": self._value()}
        if chance() < TEXT_SHARE:
            record |= {"value": None, "str_value": f"text {self._random.randrange(100)}"}
        self._sent[device].append(record)
        self._write(record)

    def _write(self, record: dict[str, Any]) -> None:
        device = record["device_id"]
        if self._random.random() < 0.1:
            self._sender.json_reading(record, partition=partition_of(device))
        else:
            fields = {name: each for name, each in record.items() if name == "str_value"}
            self._sender.reading(
                device, record["sensor"], record["ts"], record["value"], partition=partition_of(device), **fields
            )

    def _delay(self) -> int:
        """Milliseconds that a reading comes out of order: mostly within the allowed lateness."""
        share = self._random.random()
        if share < VERY_LATE_SHARE:
            return self._random.randrange(HOUR_MS, 5 * HOUR_MS)
        if share < VERY_LATE_SHARE + LATE_SHARE:
            return self._random.randrange(10_000, 3 * MINUTE_MS)
        return self._random.randrange(5_000)

    def _value(self) -> float:
        return round(self._random.gauss(20.0, 5.0), 3)

    def _poison(self, device: str, sensor: str, clock: int) -> None:
        good = {"device_id": device, "sensor": sensor, "ts": clock, "value": self._value()}
        whole = framed(self._sender.schema_id, good)
        kinds: list[bytes | None] = [
            whole[:-9],
            framed(self._sender.schema_id, good | {"device_id": "stranger"}),
            framed(self._sender.schema_id, good | {"sensor": "unheard-of"}),
            framed(self._sender.schema_id, good | {"value": 1e6}),
            framed(self._sender.schema_id, good | {"ts": 1_000}),
            framed(self._sender.schema_id, good | {"value": float("nan")}),
            b'{"device_id": "' + device.encode(),
            None,
        ]
        self._sender.message(self._random.choice(kinds), device, partition=partition_of(device))


def poisoned(sender: Sender) -> set[Place]:
    """Where the records lie that must be dead letters: all that were sent and are no readings."""
    good = {(reading.partition, reading.offset) for reading in sender.acknowledged}
    return {(sent.partition, sent.offset) for sent in sender.sent} - good


class Due:
    """What must be stored: every reading, and exactly the windows that must be closed, from what was acknowledged."""

    def __init__(self, acknowledged: Iterable[Acknowledged]) -> None:
        """Take every accepted reading."""
        self._taken = list(acknowledged)
        self.readings = expected_readings(self._taken)
        self.minutes = expected_windows(self.readings, MINUTE_MS)
        self.hours = expected_windows(self.readings, HOUR_MS)

    def closed_by_data(self, lateness_ms: int) -> Self:
        """Keep the windows that end before the watermarks, which follow from the readings alone."""
        until = {partition: _watermark(self._taken, partition) - lateness_ms for partition in range(PARTITIONS)}
        self.minutes = _ended(self.minutes, MINUTE_MS, until)
        # the minutes' own event times: the hour stage waits for nothing late
        self.hours = _ended(self.hours, HOUR_MS, _latest_start(self.minutes))
        return self

    def closed_until(self, minutes_ms: int, hours_ms: int) -> Self:
        """Keep the windows that end by these times: where the clock closes windows, too, the data cannot tell."""
        self.minutes = {key: window for key, window in self.minutes.items() if key.start + MINUTE_MS <= minutes_ms}
        self.hours = {key: window for key, window in self.hours.items() if key.start + HOUR_MS <= hours_ms}
        return self


def _ended(windows: Mapping[WindowKey, Window], size_ms: int, until: Mapping[int, int]) -> dict[WindowKey, Window]:
    """Those that end by the time (ms) that ``until`` has for their partition."""
    return {
        key: window
        for key, window in windows.items()
        if key.start + size_ms <= until.get(partition_of(key.device_id), 0)
    }


def _watermark(taken: list[Acknowledged], partition: int) -> int:
    """min(largest event time, largest append time), ms."""
    own = [reading for reading in taken if reading.partition == partition]
    return min(
        max((reading.ts for reading in own), default=0), max((reading.append_ts or 0 for reading in own), default=0)
    )


def _latest_start(windows: Iterable[WindowKey]) -> dict[int, int]:
    latest: dict[int, int] = {}
    for key in windows:
        partition = partition_of(key.device_id)
        latest[partition] = max(latest.get(partition, 0), key.start)
    return latest
