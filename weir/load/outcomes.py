"""What became of messages, gathered until the ledger takes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from weir.load.entries import Acknowledged, Entry, Failed, Spooled, Unknown, steps

_Place = tuple[int, int, int | None]
"""Offset, number, append time."""

STEP: Final = 1.02
"""Latencies are counted in classes of two percent."""

_LOG_STEP: Final = math.log(STEP)


class Latencies:
    """Counts times from the hand-over to the acknowledgement."""

    def __init__(self) -> None:
        """Begin with none."""
        self._classes: list[int] = [0] * 1_200
        self.count = 0

    def add(self, seconds: float) -> None:
        """Count one."""
        self._classes[_class(seconds)] += 1
        self.count += 1

    def quantile(self, share: float) -> float | None:
        """Seconds within which ``share`` of them lie, to two percent; None when there is none."""
        left = share * self.count
        for number, counted in enumerate(self._classes):
            left -= counted
            if counted and left <= 0:
                return float(1e-6 * STEP**number)
        return None


def _class(seconds: float) -> int:
    return min(1_199, max(0, math.ceil(math.log(max(seconds, 1e-6) * 1e6) / _LOG_STEP)))


class Outcomes:
    """One thread enters, the same takes."""

    def __init__(self) -> None:
        """Begin with none."""
        self.acknowledged = self.failed = self.unknown = 0
        self.turned_away = 0
        """Bad records among the failed ones: refused at the door, as they must be."""
        self.latencies = Latencies()
        self._stored: dict[int, list[_Place]] = {}
        self._packed: list[Entry] = []
        self._spooled: list[int] = []
        self._others: dict[tuple[type[Failed] | type[Unknown], str], list[int]] = {}

    @property
    def settled(self) -> int:
        """Messages of which is known what became of them, or that nothing more will be."""
        return self.acknowledged + self.failed + self.unknown

    def stored(self, number: int, partition: int, offset: int, append_ts: int | None) -> None:
        """The broker acknowledged a message."""
        self.acknowledged += 1
        self._stored.setdefault(partition, []).append((offset, number, append_ts))

    def stored_packed(self, numbers: Sequence[int], partition: int, offset: int, append_ts: int | None) -> None:
        """The broker acknowledged a message of several readings."""
        self.acknowledged += len(numbers)
        self._packed.append(Acknowledged(partition, offset, append_ts, steps(list(numbers)), packed=True))

    def spooled(self, number: int) -> None:
        """The gateway acknowledged a message, which it will bring to Kafka later."""
        self.acknowledged += 1
        self._spooled.append(number)

    def refused(self, number: int, why: str, *, rightly: bool = False) -> None:
        """It is not stored and never will be; ``rightly``: it was made to be refused."""
        self.failed += 1
        self.turned_away += rightly
        self._others.setdefault((Failed, why), []).append(number)

    def silent(self, number: int, why: str) -> None:
        """Nobody knows."""
        self.unknown += 1
        self._others.setdefault((Unknown, why), []).append(number)

    def take(self) -> list[Entry]:
        """Everything entered since the last time, as lines of the ledger."""
        entries, self._packed = self._packed, []
        for partition, places in self._stored.items():
            entries += _runs(partition, places)
        if self._spooled:
            entries.append(Spooled(steps(self._spooled)))
            self._spooled = []
        entries += [kind(steps(numbers), why) for (kind, why), numbers in self._others.items()]
        self._stored.clear()
        self._others.clear()
        return entries


def _runs(partition: int, places: list[_Place]) -> list[Entry]:
    """Neighbours of one append time become one line."""
    runs: list[Entry] = []
    places.sort()
    begin = 0
    for index in range(1, len(places) + 1):
        if index < len(places):
            (before, _, was), (after, _, now) = places[index - 1], places[index]
            if after == before + 1 and now == was:
                continue
        first = places[begin]
        runs.append(
            Acknowledged(partition, first[0], first[2], steps([number for _, number, _ in places[begin:index]]))
        )
        begin = index
    return runs
