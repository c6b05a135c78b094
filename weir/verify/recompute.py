"""What must be stored, worked out once more from what the broker acknowledged.

Plain Python on purpose: it shares no code, no library and no algorithm with the streams that it is to check. Sums are
exact (``math.fsum``), spreads are taken about the exact mean. A million readings: 2.4 s for what holds, 1.2 to 1.6 s
for the windows of one size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
REVISION_STEP = 4_194_304
"""As documented in Aggregate.avsc: append time (ms) times this, plus the count, which stays below it."""


class Identity(NamedTuple):
    """What makes two messages the same reading; ``ts`` in milliseconds since 1970."""

    device_id: str
    sensor: str
    ts: int


class Acknowledged(NamedTuple):
    """One reading that the broker acknowledged, with where and when it put it.

    ``value`` is None for a reading that is no number. ``append_ts`` (ms) is None when the broker did not tell.
    """

    device_id: str
    sensor: str
    ts: int
    value: float | None
    text: str | None
    partition: int
    offset: int
    append_ts: int | None


class WindowKey(NamedTuple):
    """One series in one tumbling window that begins at ``start`` (ms)."""

    device_id: str
    sensor: str
    start: int


@dataclass(frozen=True, slots=True)
class Window:
    """The measures of one window; ``stddev`` is of the population, ``revision`` None when an append time is unknown."""

    count: int
    sum: float
    min: float
    max: float
    avg: float
    first: float
    last: float
    last_ts: int
    stddev: float
    revision: int | None


Readings = Mapping[Identity, Acknowledged]
"""Each identity with the message that holds."""


def expected_readings(acknowledged: Iterable[Acknowledged]) -> dict[Identity, Acknowledged]:
    """Every identity once, with the message of the highest offset; of one packed message, with the last in the input.

    A device's messages all lie in one partition, so their offsets can be compared.
    """
    held: dict[Identity, Acknowledged] = {}
    for reading in acknowledged:
        identity = Identity(reading[0], reading[1], reading[2])
        before = held.get(identity)
        if before is None or before.offset <= reading.offset:
            held[identity] = reading
    return held


def expected_windows(readings: Readings, size_ms: int) -> dict[WindowKey, Window]:
    """The aggregate of every window of ``size_ms`` that holds a number; readings that are no numbers do not count."""
    return {key: _window(points) for key, points in _by_window(readings, size_ms)}


def _by_window(readings: Readings, size_ms: int) -> Iterator[tuple[WindowKey, list[Acknowledged]]]:
    """Members of each window: its numbers, and what else was measured in a minute that has a number.

    A text in such a minute does not count, but it is newer data: it may have taken a number's place. In a minute
    without any number it may have taken the last one's place, before the minute was closed or after; only in the second
    case it makes the hour newer, so that hour's revision cannot be told.
    """
    members: dict[tuple[str, str, int], list[Acknowledged]] = {}
    texts: list[Acknowledged] = []
    minutes: set[tuple[str, str, int]] = set()
    for reading in readings.values():
        ts = reading[2]
        if reading.value is None:
            texts.append(reading)
            continue
        minutes.add((reading[0], reading[1], ts - ts % MINUTE_MS))
        members.setdefault((reading[0], reading[1], ts - ts % size_ms), []).append(reading)
    for reading in texts:
        ts = reading[2]
        window = (reading[0], reading[1], ts - ts % size_ms)
        if (reading[0], reading[1], ts - ts % MINUTE_MS) in minutes:
            members[window].append(reading)
        elif window in members:
            members[window].append(reading._replace(append_ts=None))
    return ((WindowKey(*key), points) for key, points in members.items())


def _window(points: list[Acknowledged]) -> Window:
    in_time = sorted((point.ts, point.value) for point in points if point.value is not None)
    values = [value for _, value in in_time]
    count = len(values)
    total = math.fsum(values)
    mean = total / count
    spread = math.sqrt(math.fsum([(value - mean) ** 2 for value in values]) / count)
    last_ts, last = in_time[-1]
    return Window(count, total, min(values), max(values), mean, values[0], last, last_ts, spread, _revision(points))


def _revision(points: list[Acknowledged]) -> int | None:
    known = [point.append_ts * REVISION_STEP + point.offset for point in points if point.append_ts is not None]
    return max(known) if len(known) == len(points) else None
