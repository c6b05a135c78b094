"""When the readings of a load were measured, and how many of them are due."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from weir.load.draws import Int64s

BATCH = 5_000
"""Readings made at once, at the most: one fsync each, 20 a second at 100,000 readings/s."""


class EventTimes(Protocol):
    """Event times of readings by their number; no series has the same one twice."""

    def due(self, elapsed: float, made: int) -> int:
        """How many readings may be made now, ``elapsed`` seconds after the start, when ``made`` were made before."""

    def of(self, numbers: Int64s, elapsed: float) -> Int64s:
        """Event times (ms) of consecutive numbers; call it once for each, in order."""


class PacedTimes:
    """``rate`` readings a second: a reading's number alone gives its event time."""

    def __init__(self, begin_ms: int, rate: float, speed: float) -> None:
        """Begin at event time ``begin_ms``."""
        self._begin_ms = begin_ms
        self._rate = rate
        self._step_ms = speed * 1_000.0 / rate

    def due(self, elapsed: float, made: int) -> int:
        """As many as the rate asks for."""
        return max(0, min(BATCH, int(elapsed * self._rate) - made))

    def of(self, numbers: Int64s, elapsed: float) -> Int64s:
        """``elapsed`` does not count."""
        times: Int64s = self._begin_ms + np.floor(numbers * self._step_ms).astype(np.int64)
        return times


class FreeTimes:
    """As fast as acknowledged: event time follows the clock, and each series waits for its next millisecond."""

    def __init__(self, begin_ms: int, series: int, speed: float) -> None:
        """Begin at event time ``begin_ms`` with ``series`` sensors that take turns."""
        self._begin_ms = begin_ms
        self._series = series
        self._speed = speed
        self._last_ms = begin_ms - 1

    def due(self, elapsed: float, made: int) -> int:
        """A whole batch, or what fits between the last event time and now."""
        return max(0, min(BATCH, (self._now(elapsed) - self._last_ms - 1) * self._series))

    def of(self, numbers: Int64s, elapsed: float) -> Int64s:
        """Every turn of the series has a millisecond of its own, and the last one is not after now."""
        turns = numbers // self._series
        turns -= turns[0]
        begin = max(self._last_ms + 1, self._now(elapsed) - int(turns[-1]))
        self._last_ms = begin + int(turns[-1])
        times: Int64s = begin + turns
        return times

    def _now(self, elapsed: float) -> int:
        return self._begin_ms + int(elapsed * 1_000 * self._speed)
