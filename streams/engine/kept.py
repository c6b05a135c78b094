"""What was kept of a part of the log, as two numbers that a checkpoint and a token have room for."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]

_MODULUS: Final = 2**61


class Kept(NamedTuple):
    """Which offsets of a range have rows: how many rows, and a digest of their offsets and places that adds up."""

    rows: int = 0
    digest: int = 0

    def __str__(self) -> str:
        """Both numbers, as a part of a token."""
        return f"{self.rows}-{self.digest:x}"

    def and_(self, more: Kept) -> Kept:
        """Of two ranges together."""
        if UNSURE in (self, more):
            return UNSURE
        return Kept(self.rows + more.rows, (self.digest + more.digest) % _MODULUS)


NOTHING_KEPT: Final = Kept()

UNSURE: Final = Kept(-1)
"""Equal to no count: what was judged in two ways stays in doubt, also after the next crash."""


def kept_of(offsets: Int64s, places: Int64s | None = None) -> Kept:
    """What the rows of these offsets count for, ``places`` being those within a message that holds many.

    The digest is a sum of each offset mixed as in SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom
    Number Generators", 2014): sums of plain offsets are often equal for two choices among a few.
    """
    mixed = offsets.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    if places is not None:  # place 0 adds nothing: a message of one row counts the same, packed or not
        mixed += places.astype(np.uint64) * np.uint64(0xD1342543DE82EF95)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return Kept(len(offsets), int((mixed ^ (mixed >> np.uint64(27))).sum(dtype=np.uint64)) % _MODULUS)


class _Part(NamedTuple):
    """A part of the log, and what was kept up to its end since counting began; ``unsure`` counts parts in doubt."""

    begin: int
    end: int
    rows: int
    digest: int
    unsure: int


class KeptSince:
    """What was kept of each part of the log, from the replay point on. Sums run along, so asking is cheap."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._parts: deque[_Part] = deque()
        self._before = _Part(0, 0, 0, 0, 0)

    def add(self, begin: int, end: int, kept: Kept) -> None:
        """Append a part: from offset ``begin`` up to, not including, ``end``."""
        if end > begin:
            last = self._parts[-1] if self._parts else self._before
            rows, digest = last.rows + kept.rows, (last.digest + kept.digest) % _MODULUS
            self._parts.append(_Part(begin, end, rows, digest, last.unsure))

    def doubt(self) -> None:
        """Nothing that was added so far can be told any more."""
        base = self._before.unsure
        numbered = enumerate(self._parts, start=base + 1)
        self._parts = deque(part._replace(unsure=number) for number, part in numbered)

    def between(self, replay: int, stored: int) -> tuple[int, Kept]:
        """The begin of the part that ``replay`` lies in, and what was kept from there up to ``stored``.

        ``stored`` is where a part ends; parts before ``replay`` are forgotten.
        """
        while self._parts and self._parts[0].end <= replay:
            self._before = self._parts.popleft()
        at = len(self._parts)
        while at and self._parts[at - 1].end > stored:
            at -= 1
        last = self._parts[at - 1] if at else self._before
        begin = min(replay, self._parts[0].begin) if self._parts else replay
        if last.unsure > self._before.unsure:
            return begin, UNSURE
        rows, digest = last.rows - self._before.rows, (last.digest - self._before.digest) % _MODULUS
        return begin, Kept(rows, digest)
