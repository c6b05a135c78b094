"""What an agent made of one block: rows to store, points for the windows, records it refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from streams.engine.dead_letters import DeadLetter
from streams.engine.kept import Kept, kept_of
from streams.engine.producer import Record
from streams.engine.watermark import Int64s


@dataclass(frozen=True, slots=True)
class Points:
    """Points for the windows, in offset order.

    ``frame`` has ``series`` (int), ``ts`` (event time, ms) and what the reducer wants; ``offsets`` and ``append_ts``
    (broker append time, ms) are the same rows'.
    """

    frame: pl.DataFrame
    offsets: Int64s
    append_ts: Int64s

    def split(self, offset: int) -> tuple[Points, Points]:
        """The points below ``offset``, and the others."""
        at = int(np.searchsorted(self.offsets, offset))
        return (
            Points(self.frame[:at], self.offsets[:at], self.append_ts[:at]),
            Points(self.frame[at:], self.offsets[at:], self.append_ts[at:]),
        )

    def keep(self, rows: npt.NDArray[np.bool_]) -> Points:
        """The points where ``rows`` is true."""
        return Points(self.frame.filter(pl.Series(rows)), self.offsets[rows], self.append_ts[rows])


class Doubtful(NamedTuple):
    """Offsets, ascending, and event times (ms) of some records."""

    offsets: Int64s
    ts: Int64s

    @classmethod
    def nothing(cls) -> Doubtful:
        """No record."""
        return cls(_NONE, _NONE)

    def keep(self, rows: npt.NDArray[np.bool_]) -> Doubtful:
        """Those where ``rows`` is true."""
        return Doubtful(self.offsets[rows], self.ts[rows])

    def split(self, offset: int) -> tuple[Doubtful, Doubtful]:
        """Those below ``offset``, and the others."""
        at = int(np.searchsorted(self.offsets, offset))
        return Doubtful(self.offsets[:at], self.ts[:at]), Doubtful(self.offsets[at:], self.ts[at:])


class Announced(NamedTuple):
    """A record to write once the rows up to ``offset`` are stored."""

    offset: int
    record: Record


_NONE = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an agent made of one block: rows for the sink, points for the windows, records it refused.

    ``rows`` are the sink table's columns, ``offsets`` the same rows', ascending; rows of one message have the same.
    ``points`` is ``None`` where nothing is windowed. ``doubtful`` names records that were refused and may have been
    stored by an earlier judgement. ``announced`` is written with the rows, but by a replay only what lies above what is
    stored. ``places`` are the rows' places within their messages, None when no message has more than one row.
    """

    rows: pl.DataFrame
    offsets: Int64s
    points: Points | None
    dead_letters: list[DeadLetter]
    doubtful: Doubtful = field(default_factory=Doubtful.nothing)
    announced: list[Announced] = field(default_factory=list)
    places: Int64s | None = None

    @property
    def kept(self) -> Kept:
        """Which rows these are."""
        return kept_of(self.offsets, self.places)

    def split(self, offset: int) -> tuple[Outcome, Outcome]:
        """What lies below ``offset``, and the rest."""
        at = int(np.searchsorted(self.offsets, offset))
        below, above = self.points.split(offset) if self.points is not None else (None, None)
        doubtful_below, doubtful_above = self.doubtful.split(offset)
        letters_below = [letter for letter in self.dead_letters if letter.offset < offset]
        letters_above = [letter for letter in self.dead_letters if letter.offset >= offset]
        places_below, places_above = (None, None) if self.places is None else (self.places[:at], self.places[at:])
        told_below = [each for each in self.announced if each.offset < offset]
        told_above = [each for each in self.announced if each.offset >= offset]
        return (
            Outcome(self.rows[:at], self.offsets[:at], below, letters_below, doubtful_below, told_below, places_below),
            Outcome(self.rows[at:], self.offsets[at:], above, letters_above, doubtful_above, told_above, places_above),
        )
