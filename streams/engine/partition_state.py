"""What a stage holds of one partition between two flushes: pending rows, open windows, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from msgspec.structs import replace

from streams.engine.checkpoint import MIXED, Checkpoint, Kept
from streams.engine.dead_letters import DeadLetter
from streams.engine.fetch import Lease
from streams.engine.refusals import RefusalLimit, Refusals
from streams.engine.watermark import Int64s, Watermark
from streams.engine.windows import ClosedWindow, TumblingWindows, window_starts


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

    def split(self, offset: int) -> tuple[Doubtful, Doubtful]:
        """Those below ``offset``, and the others."""
        at = int(np.searchsorted(self.offsets, offset))
        return Doubtful(self.offsets[:at], self.ts[:at]), Doubtful(self.offsets[at:], self.ts[at:])


_NONE = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an agent made of one block: rows for the sink, points for the windows, records it refused.

    ``rows`` are the sink table's columns, ``offsets`` the same rows', ascending. ``points`` is ``None`` where nothing
    is windowed. ``context`` numbers what the records were judged under, 0 where nothing can change; ``doubtful`` names
    records that were refused, and might not have been in another context.
    """

    rows: pl.DataFrame
    offsets: Int64s
    points: Points | None
    dead_letters: list[DeadLetter]
    context: int = 0
    doubtful: Doubtful = field(default_factory=lambda: Doubtful(_NONE, _NONE))

    def split(self, offset: int) -> tuple[Outcome, Outcome]:
        """What lies below ``offset``, and the rest."""
        at = int(np.searchsorted(self.offsets, offset))
        below, above = self.points.split(offset) if self.points is not None else (None, None)
        doubtful_below, doubtful_above = self.doubtful.split(offset)
        letters_below = [letter for letter in self.dead_letters if letter.offset < offset]
        letters_above = [letter for letter in self.dead_letters if letter.offset >= offset]
        return (
            Outcome(self.rows[:at], self.offsets[:at], below, letters_below, self.context, doubtful_below),
            Outcome(self.rows[at:], self.offsets[at:], above, letters_above, self.context, doubtful_above),
        )


class Part(NamedTuple):
    """A part of the log: from offset ``begin`` up to, not including, ``end``; its last record came at ``append_ms``."""

    begin: int
    end: int
    append_ms: int


@dataclass(frozen=True, slots=True)
class Pending:
    """What one flush takes of a partition: rows from offset ``first`` up to, not including, ``end``.

    ``late`` names the closed windows (``series``, ``start``) to compute again, ``watermark`` the event time up to which
    windows close with this flush.
    """

    first: int
    end: int
    rows: list[pl.DataFrame]
    kept: Kept
    dead_letters: list[DeadLetter]
    late: list[pl.DataFrame]
    watermark: int
    refusals: Refusals


class PartitionState:
    """Progress of one lease.

    Offsets ascend: ``stored`` (everything below is in the sink) <= ``taken`` (the running flush ends here) <= ``end``
    (everything below was taken in). While ``stored < cut`` the next flush must end at exactly ``cut``, because that
    block was planned before a crash and may be in the sink already.
    """

    def __init__(self, lease: Lease, first: int, lateness_ms: int, window_ms: int | None) -> None:
        """Begin at the lease's checkpoint, or at offset ``first`` when the partition has none."""
        begin = lease.checkpoint or Checkpoint(first, first, first)
        if begin.planned < first:  # retention has deleted all that was planned: nothing is left to cut or to rebuild
            begin = Checkpoint(first, first, first, begin.watermark)
        self.lease = lease
        self.stored = self.taken = self.end = begin.stored
        self.cut = begin.planned
        self.watermark = Watermark(lateness_ms, begin.watermark)
        self.windows = TumblingWindows(window_ms) if window_ms is not None else None
        self.published = begin.watermark
        self._rebuilding_from: int | None = begin.replay if begin.replay < begin.stored else None
        self._begin = begin
        self._contexts: list[tuple[int, int]] = []
        self._refusals = self._refusals_stored = begin.refusals
        self._committed = replace(begin, planned=begin.stored)
        self.pending_bytes = 0
        self._kept = Kept(0, 0)
        self._rows: list[pl.DataFrame] = []
        self._dead_letters: list[DeadLetter] = []
        self._late: list[pl.DataFrame] = []

    # -- taking in -----------------------------------------------------------------------------------------------

    @property
    def pending_offsets(self) -> int:
        """Offsets taken in and not yet part of a flush."""
        return self.end - self.taken

    def reaches_over_cut(self, end: int) -> bool:
        """Whether a block that ends at ``end`` goes beyond the block that was planned before a crash."""
        return self.stored < self.cut < end

    def add(self, outcome: Outcome, part: Part, limit: RefusalLimit) -> None:
        """Take in one part of the log; what lies below ``stored`` only rebuilds windows.

        Raises :class:`~streams.engine.refusals.RefusalLimitError` when it refuses too much; then nothing was taken in.
        """
        begin, end = part.begin, part.end
        fresh = outcome if begin >= self.stored else outcome.split(self.stored)[1]
        refusals = self._refused(fresh, part, limit)
        trusted = self._judge_context(outcome.context, begin)
        if outcome.points is not None and self.windows is not None:
            if not trusted:
                self._distrust(self.windows, outcome.doubtful)
            replayed, new = outcome.points.split(self.stored)
            self._rebuild(self.windows, replayed, trusted)
            self._observe(self.windows, new, trusted)
        if end >= self.stored:
            self._rebuilding_from = None
        if end <= self.stored:
            return
        self._refusals = refusals
        self._rows.append(fresh.rows)
        self._kept = Kept(self._kept.rows + len(fresh.offsets), self._kept.offset_sum + int(fresh.offsets.sum()))
        self.pending_bytes += int(fresh.rows.estimated_size())
        self._dead_letters += fresh.dead_letters
        self.end = max(self.end, end)

    def _refused(self, fresh: Outcome, part: Part, limit: RefusalLimit) -> Refusals:
        if part.end <= self.stored or not (len(fresh.offsets) or fresh.dead_letters):
            return self._refusals
        refused = np.array([letter.offset for letter in fresh.dead_letters], dtype=np.int64)
        after, longest = self._refusals.after(part.append_ms, fresh.offsets, np.sort(refused))
        after.check(limit, longest, str(self.lease))
        return after

    def _judge_context(self, context: int, begin: int) -> bool:
        """Remember what is judged under ``context`` from offset ``begin`` on; say whether that agrees with the sink.

        What may be there already, up to the end of the planned block, was judged under the checkpoint's context.
        """
        trusted = context == self._begin.context or begin >= self._begin.planned
        holds = context if trusted else MIXED
        if not self._contexts or self._contexts[-1][1] != holds:
            self._contexts.append((begin, holds))
        return trusted

    def silent(self, event_time: int | None) -> None:
        """Nothing is left to read: end a planned block whose tail the log no longer has, move the watermark."""
        if self.stored < self.cut:
            self.end = max(self.end, self.cut)
        if event_time is not None:
            self.watermark.advance(event_time)

    def _distrust(self, windows: TumblingWindows, doubtful: Doubtful) -> None:
        """Close the windows of records from storage that are refused now and may be stored.

        Of those in the planned block, windows that were closed at the checkpoint, too: their correction may have been
        under way.
        """
        starts = window_starts(doubtful.ts, windows.size_ms)
        unsettled = (doubtful.offsets >= self.stored) | (starts + windows.size_ms > self.published)
        windows.distrust(starts[unsettled], doubtful.offsets[unsettled])

    def _observe(self, windows: TumblingWindows, points: Points, trusted: bool) -> None:
        ts = points.frame["ts"].to_numpy()
        starts = window_starts(ts, windows.size_ms)
        late = self.watermark.observe(ts, points.append_ts, starts + windows.size_ms)
        if late.any():
            self._late.append(
                pl.DataFrame({"series": points.frame["series"].to_numpy()[late], "start": starts[late]}).unique()
            )
            points, starts = points.keep(~late), starts[~late]
        windows.add(points.frame, starts, points.offsets, trusted=trusted)

    def _rebuild(self, windows: TumblingWindows, points: Points, trusted: bool) -> None:
        """Put stored points back into the windows that were open at the checkpoint; all others were published."""
        ts = points.frame["ts"].to_numpy()
        starts = window_starts(ts, windows.size_ms)
        self.watermark.observe(ts, points.append_ts, starts + windows.size_ms)
        needed = starts + windows.size_ms > self.published
        kept = points.keep(needed)
        windows.add(kept.frame, starts[needed], kept.offsets, trusted=trusted)

    # -- flushing ------------------------------------------------------------------------------------------------

    @property
    def flushable(self) -> bool:
        """Whether a flush would change anything and may begin: not before a planned block is complete."""
        if self.stored < self.cut and self.end < self.cut:
            return False
        return self.end > self.taken or self.checkpoint() != self._committed or self._may_close

    @property
    def _may_close(self) -> bool:
        return self.windows is not None and self.watermark.value > self.published

    def checkpoint(self, planned: int | None = None) -> Checkpoint:
        """The checkpoint to commit now, with the end of the block that is about to be inserted."""
        needed = (self.windows.first_offset if self.windows is not None else None, self._rebuilding_from, self.stored)
        replay = min(offset for offset in needed if offset is not None)
        return Checkpoint(
            replay,
            self.stored,
            self.stored if planned is None else planned,
            self.published,
            self._context_from(replay),
            self._refusals_stored,
        )

    def _context_from(self, replay: int) -> int:
        """The context of everything from ``replay`` on."""
        while len(self._contexts) > 1 and self._contexts[1][0] <= replay:
            del self._contexts[0]
        if not self._contexts:
            return self._begin.context
        return self._contexts[0][1] if len(self._contexts) == 1 else MIXED

    def take(self) -> Pending:
        """Hand over what is pending to a flush."""
        pending = Pending(
            self.taken,
            self.end,
            self._rows,
            self._kept,
            self._dead_letters,
            self._late,
            self.watermark.value,
            self._refusals,
        )
        self._rows, self._kept, self._dead_letters, self._late = [], Kept(0, 0), [], []
        self.taken, self.pending_bytes = self.end, 0
        return pending

    def close(self, watermark: int) -> list[ClosedWindow]:
        """Remove the windows that end at or before ``watermark`` and give them, oldest first."""
        return self.windows.close(watermark) if self.windows is not None else []

    def committed(self, checkpoint: Checkpoint) -> None:
        """The broker has this checkpoint."""
        self._committed = replace(checkpoint, planned=checkpoint.stored)

    def flushed(self, pending: Pending) -> None:
        """The sink has the rows of ``pending``, and what it closed is published."""
        self.stored = pending.end
        self.published = max(self.published, pending.watermark)
        self._refusals_stored = pending.refusals
