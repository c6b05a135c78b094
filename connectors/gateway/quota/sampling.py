"""Which readings of a series are worth storing, judged by the last one that was kept.

What cannot be judged is kept: the first of a series, one that is not newer than the last one kept (a resend, a
correction, a backlog), one that has neither number nor text, NaN, and whatever comes after a series was forgotten. So
a fault here stores too much and never too little.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from connectors.gateway.door.recently_used import RecentlyUsed
from connectors.gateway.limits import Sampling

MOST_SERIES: Final = 1_000_000
"""Those used least lately are forgotten beyond it; 250 bytes each."""

FUTURE_MS: Final = 300_000
"""A clock that was once far ahead must not make every later reading of the series an old one."""

Marks = tuple[object, ...]

Kept = tuple[int, float | None, str | None, Marks]
"""``ts`` in ms, number, text and marks of the reading that was kept last."""


class Sampler:
    """Remembers what was kept last of each series that has a policy; belongs to one event loop and never blocks."""

    def __init__(self, clock: Callable[[], float] = time.time, most_series: int = MOST_SERIES) -> None:
        """Begin with no series; ``clock`` gives seconds since 1970."""
        self._clock = clock
        self._kept: RecentlyUsed[tuple[str, str], Kept] = RecentlyUsed(most_series)

    def keeps(
        self,
        sampling: Sampling,
        device_id: str,
        sensor: str,
        ts: int,
        value: float | None,
        text: str | None,
        marks: Marks = (),
    ) -> bool:
        """Whether this reading (``ts`` in ms) is to be stored; if so, it is what the next ones are judged by.

        ``marks`` are what else is said of the value: one with other marks (another status, unit, quality) is kept.
        """
        if sampling.policy == "all" or (value is None and text is None):
            return True
        series = device_id, sensor
        last = self._kept.get(series)
        if last is not None:
            if ts < last[0]:
                return True
            if ts > last[0] and marks == last[3] and not _is_worth(sampling, last, ts, value, text):
                return False
        if ts <= self._clock() * 1_000.0 + FUTURE_MS:
            self._kept.put(series, (ts, value, text, marks))
        return True

    def forget(self, device_id: str, sensor: str) -> None:
        """What was kept last was not stored after all: keep the next one."""
        self._kept.drop((device_id, sensor))

    def __len__(self) -> int:
        """How many series are remembered."""
        return len(self._kept)


def _is_worth(sampling: Sampling, last: Kept, ts: int, value: float | None, text: str | None) -> bool:
    """Whether a reading that is newer than ``last`` is kept. Written with ``not <`` so that NaN is."""
    elapsed = (ts - last[0]) / 1_000.0
    if 0.0 < sampling.at_most_seconds <= elapsed:
        return True
    if sampling.policy == "every":
        return not elapsed < sampling.seconds
    if text != last[2] or (value is None) != (last[1] is None):
        return True
    if value is None or last[1] is None:
        return False
    if sampling.policy == "dead_band":
        return not abs(value - last[1]) < sampling.width
    return value != last[1]
