"""A small simulated fleet: what devices in the field do to a pipeline, from one seed.

Twice a second each device measures four numbers, now and then a text. Some readings come late, twice, twice with
another value, or after their window was closed; some do not come at all; and once a second a bad record comes.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, replace
from random import Random
from typing import NamedTuple

from weir.demo.bad_records import BadRecords
from weir.demo.reading import Framing, Outgoing, Reading

TICK_MS = 500
MINUTE_MS = 60_000
TEXT_EVERY_TICKS = 10
BAD_EVERY_TICKS = 2

RESENT = 0.02
"""Share of readings that are sent again as they were."""
CHANGED = 0.01
"""Share of readings that are sent again with another value."""
OUT_OF_ORDER = 0.05
"""Share of readings that come up to four seconds late, within the allowed lateness."""
LATE = 0.004
"""Share of readings that come after their minute was closed."""
SILENCES = 0.004
"""Chance per tick that a device falls silent for three to eight seconds."""

STATES = ("ok", "standby", "calibrating", "übertemperatur")


class Sensor(NamedTuple):
    """A numeric sensor: how it swings (amplitude about a middle, in its unit) and what is plausible."""

    name: str
    metric: str
    unit: str
    middle: float
    swing: float
    noise: float
    low: float
    high: float


SENSORS = (
    Sensor("temperature", "demo.temperature", "celsius", 21.5, 4.0, 0.15, -60.0, 120.0),
    Sensor("humidity", "demo.humidity", "percent", 48.0, 12.0, 0.6, 0.0, 100.0),
    Sensor("pressure", "demo.pressure", "hPa", 1013.0, 6.0, 0.2, 800.0, 1200.0),
    Sensor("vibration", "demo.vibration", "mm/s", 1.8, 1.2, 0.4, -50.0, 50.0),
)


class Scheduled(NamedTuple):
    """A message and when it is sent (ms since 1970); ``number`` keeps those of one instant in order."""

    due_ms: int
    number: int
    message: Outgoing


@dataclass(slots=True)
class Device:
    """One simulated device and its own dice."""

    device_id: str
    random: Random
    phase_ms: int
    fw_ver: str
    silent_until_ms: int = 0
    seq: int = 0


def device_ids(devices: int) -> list[str]:
    """The ids of a fleet of that size: the same in every run."""
    return [f"demo-sim-{number:03d}" for number in range(1, devices + 1)]


class Fleet:
    """The messages of all devices in the order of their sending; the same seed and start give the same bytes."""

    def __init__(self, devices: int, seed: int, start_ms: int, framing: Framing, bad: BadRecords) -> None:
        """Begin at ``start_ms``; no reading is of an earlier time, but for bad ones."""
        self._framing = framing
        self._bad = bad
        self._random = Random(f"{seed}/bad")  # noqa: S311 - a simulation
        self._devices = [_device(device_id, seed) for device_id in device_ids(devices)]
        self._waiting: list[Scheduled] = []
        self._numbered = 0
        self._start_ms = start_ms
        self._ticks = 0

    def due(self, now_ms: int) -> list[Outgoing]:
        """What has to be sent by ``now_ms`` and was not given yet."""
        while self._start_ms + self._ticks * TICK_MS <= now_ms:
            self._tick(self._start_ms + self._ticks * TICK_MS)
            self._ticks += 1
        sent = []
        while self._waiting and self._waiting[0].due_ms <= now_ms:
            sent.append(heapq.heappop(self._waiting).message)
        return sent

    def _tick(self, at_ms: int) -> None:
        for device in self._devices:
            if at_ms < device.silent_until_ms:
                continue
            for sensor in SENSORS:
                self._measure(device, sensor, at_ms + device.phase_ms)
            if self._ticks % TEXT_EVERY_TICKS == 0:
                self._say(device, at_ms + device.phase_ms)
            if device.random.random() < SILENCES:
                device.silent_until_ms = at_ms + device.random.randint(3_000, 8_000)
        if self._ticks % BAD_EVERY_TICKS == 0 and self._devices:
            self._spoil(self._random.choice(self._devices), at_ms)

    def _measure(self, device: Device, sensor: Sensor, ts: int) -> None:
        dice = device.random
        reading = _reading(device, sensor, ts)
        due, kind = _arrival(dice, ts)
        self._schedule(due, self._framing.message(reading, kind))
        again = dice.random()
        if again < RESENT:
            self._schedule(due + dice.randint(200, 3_000), self._framing.message(reading, "resend"))
        elif again < RESENT + CHANGED:
            other = replace(reading, value=_bounded(sensor, (reading.value or 0.0) + dice.gauss(0, sensor.swing)))
            self._schedule(due + dice.randint(200, 15_000), self._framing.message(other, "other value"))

    def _say(self, device: Device, ts: int) -> None:
        number = device.random.randrange(len(STATES))
        said = Reading(device.device_id, "state", ts, str_value=STATES[number], status_code=number, source="simulator")
        self._schedule(ts, self._framing.message(said, "text"))
        if device.random.random() < RESENT:
            self._schedule(ts + 700, self._framing.message(said, "resend"))

    def _spoil(self, device: Device, at_ms: int) -> None:
        sensor = SENSORS[0]
        good = Reading(device.device_id, sensor.name, at_ms, sensor.middle, seq=0, source="simulator")
        for message in self._bad.next(good):
            self._schedule(at_ms, message)

    def _schedule(self, due_ms: int, message: Outgoing) -> None:
        heapq.heappush(self._waiting, Scheduled(due_ms, self._numbered, message))
        self._numbered += 1


def _device(device_id: str, seed: int) -> Device:
    dice = Random(f"{seed}/{device_id}")  # noqa: S311 - a simulation
    return Device(device_id, dice, dice.randrange(TICK_MS), f"1.{dice.randrange(4)}.0")


def _reading(device: Device, sensor: Sensor, ts: int) -> Reading:
    device.seq += 1
    turn = math.sin(ts / 40_000 + device.phase_ms)
    value = sensor.middle + sensor.swing * turn + device.random.gauss(0, sensor.noise)
    return Reading(
        device.device_id,
        sensor.name,
        ts,
        value=_bounded(sensor, value),
        seq=device.seq,
        quality="good" if device.random.random() < 0.97 else "suspect",
        battery_level=90.0,
        fw_ver=device.fw_ver,
        source="simulator",
    )


def _arrival(dice: Random, ts: int) -> tuple[int, str]:
    """When a reading is sent, and what that makes of it."""
    lot = dice.random()
    if lot < LATE:
        return ts - ts % MINUTE_MS + MINUTE_MS + dice.randint(7_000, 20_000), "late"
    if lot < LATE + OUT_OF_ORDER:
        return ts + dice.randint(600, 4_000), "out of order"
    return ts, "reading"


def _bounded(sensor: Sensor, value: float) -> float:
    return round(min(max(value, sensor.low), sensor.high), 3)
