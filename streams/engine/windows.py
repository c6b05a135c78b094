"""Tumbling windows on event time, one set of open windows per partition.

An open window holds its points as columns and reduces them once, when the watermark passes its end. What it gives
depends only on the set of points, not on their order of arrival or on how they were cut into blocks: the reducer sorts
them and drops resends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import polars as pl

from streams.engine.watermark import Int64s


def window_starts(ts: Int64s, size_ms: int) -> Int64s:
    """Return the start of the window that each event time (ms) falls into; also right before 1970."""
    result: Int64s = ts - np.mod(ts, size_ms)
    return result


class ClosedWindow(NamedTuple):
    """A window that begins at ``start`` (ms) and will get no more points.

    One that is not ``trusted`` has points that were judged otherwise before a crash, so what is stored of it differs.
    """

    start: int
    chunks: list[pl.DataFrame]
    trusted: bool


@dataclass(slots=True)
class _Open:
    first_offset: int
    trusted: bool = True
    chunks: list[pl.DataFrame] = field(default_factory=list)


class TumblingWindows:
    """The open windows of one partition."""

    def __init__(self, size_ms: int) -> None:
        """Make windows of ``size_ms`` milliseconds, aligned to 1970."""
        self.size_ms = size_ms
        self._open: dict[int, _Open] = {}

    def __len__(self) -> int:
        """Return how many windows are open."""
        return len(self._open)

    @property
    def points(self) -> int:
        """Points held in memory."""
        return sum(len(chunk) for window in self._open.values() for chunk in window.chunks)

    @property
    def first_offset(self) -> int | None:
        """The smallest offset that an open window needs: where a replay must begin."""
        return min((window.first_offset for window in self._open.values()), default=None)

    def add(self, points: pl.DataFrame, starts: Int64s, offsets: Int64s) -> None:
        """Put points (columns ``series``, ``ts`` and the reducer's) into the windows that begin at ``starts``.

        ``offsets`` are the points' Kafka offsets in ascending order.
        """
        if not len(starts):
            return
        first = int(starts.min())
        span = int(starts.max() - first) // self.size_ms
        if span == 0:
            self._append(first, points, int(offsets[0]))
            return
        slot = (starts - first) // self.size_ms
        for number in np.unique(slot) if span > 4096 else np.flatnonzero(np.bincount(slot)):
            rows = np.flatnonzero(slot == number)
            self._append(first + int(number) * self.size_ms, points[rows], int(offsets[rows[0]]))

    def distrust(self, starts: Int64s, offsets: Int64s) -> None:
        """The windows that begin at ``starts`` may not hold what is stored of them, from these offsets on."""
        for start, offset in zip(starts.tolist(), offsets.tolist(), strict=True):
            window = self._open.setdefault(start, _Open(offset))
            window.first_offset = min(window.first_offset, offset)
            window.trusted = False

    def _append(self, start: int, chunk: pl.DataFrame, offset: int) -> None:
        window = self._open.get(start)
        if window is None:
            window = self._open[start] = _Open(offset)
        window.first_offset = min(window.first_offset, offset)
        window.chunks.append(chunk)

    def closable(self, watermark: int, most_points: int) -> tuple[int, int]:
        """The event time, at most ``watermark``, to close windows up to now, and how many points these hold.

        The oldest come first. They hold no more than ``most_points``, but one window may, unless ``most_points`` is 0
        or less: then all windows stay as they are.
        """
        held = 0
        for start in sorted(start for start in self._open if start + self.size_ms <= watermark):
            points = sum(len(chunk) for chunk in self._open[start].chunks)
            if most_points <= 0 or held and held + points > most_points:
                return start, held
            held += points
        return watermark, held

    def close(self, watermark: int) -> list[ClosedWindow]:
        """Remove the windows that end at or before ``watermark`` and give them, oldest first."""
        ready = sorted(start for start in self._open if start + self.size_ms <= watermark)
        windows = [(start, self._open.pop(start)) for start in ready]
        return [ClosedWindow(start, window.chunks, window.trusted) for start, window in windows]
