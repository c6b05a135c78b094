"""When probes are due: once in every interval, at a random moment of it, whatever became of those before."""

from __future__ import annotations

import math
from random import Random


class DueTimes:
    """Due times from ``begin`` on, in seconds of any clock, one in each interval.

    A schedule that waits for answers would send less while the pipeline is slow, and look better than it is
    (coordinated omission). The moment within the interval is random, or probes would fall into step with flushes, which
    go by intervals too, and meet them always early or always late.
    """

    def __init__(self, begin: float, interval_seconds: float, dice: Random | None = None) -> None:
        """``dice`` draws the moments; without them each due time is the begin of its interval."""
        self._begin, self._interval = begin, interval_seconds
        self._dice = dice
        self._number = 0
        self._next = self._moment()

    @property
    def next(self) -> float:
        """The first due time that was not taken."""
        return self._next

    def take(self, now: float, oldest: float) -> tuple[list[float], int]:
        """Every due time up to ``now``, and how many of them are left out because they lie before ``oldest``.

        A process that was stopped for an hour owes an hour of probes: they are counted, not sent.
        """
        left_out = max(0, math.floor((oldest - self._begin) / self._interval) - self._number)
        if left_out:
            self._number += left_out
            self._next = self._moment()
        due = []
        while self._next <= now:
            due.append(self._next)
            self._number += 1
            self._next = self._moment()
        return due, left_out

    def _moment(self) -> float:
        within = self._dice.random() if self._dice is not None else 0.0
        return self._begin + (self._number + within) * self._interval
