"""What a stage holds of one partition between two flushes: pending rows, open windows, and how far it has come."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from msgspec.structs import replace

from streams.engine.checkpoint import Checkpoint
from streams.engine.dead_letters import DeadLetter
from streams.engine.fetch import Lease
from streams.engine.kept import NOTHING_KEPT, UNSURE, Kept, KeptSince
from streams.engine.outcome import Doubtful, Outcome
from streams.engine.producer import Record
from streams.engine.recount import Recount
from streams.engine.refusals import RefusalLimit, Refusals
from streams.engine.watermark import Watermark
from streams.engine.windows import ClosedWindow, TumblingWindows, window_starts

logger = logging.getLogger(__name__)

MOST_DOUBTFUL: Final = 1_000
"""Windows of a planned block that are read again after a crash, a query each; parity finds what is beyond."""


LETTER_BYTES: Final = 500
"""What a dead letter takes in memory, roughly: its sentence, and of a packed message its own bytes."""


class Part(NamedTuple):
    """A part of the log: from offset ``begin`` up to, not including, ``end``; its last record came at ``append_ms``."""

    begin: int
    end: int
    append_ms: int


@dataclass(frozen=True, slots=True)
class Pending:
    """What one flush takes of a partition: rows from offset ``first`` up to, not including, ``end``.

    ``kept`` names its rows, ``kept_again`` is what a replay must count to be sure that it judges the same. ``late``
    names the closed windows (``series``, ``start``) to compute again, ``watermark`` the event time up to which windows
    close, ``announced`` what else is to be written.
    """

    first: int
    end: int
    rows: list[pl.DataFrame]
    kept: Kept
    kept_again: Kept
    dead_letters: list[DeadLetter]
    late: list[pl.DataFrame]
    watermark: int
    refusals: Refusals
    announced: list[Record] = field(default_factory=list)


class _Piece:
    """One part of the log, waiting for a flush; ``watermark`` and ``refusals`` as they stood at its end."""

    __slots__ = ("end", "fresh", "height", "kept", "late", "refusals", "size", "watermark")

    def __init__(
        self, end: int, fresh: Outcome, kept: Kept, late: pl.DataFrame | None, watermark: int, refusals: Refusals
    ) -> None:
        self.end, self.fresh, self.kept, self.late = end, fresh, kept, late
        self.watermark, self.refusals = watermark, refusals
        self.height = len(fresh.rows) + len(fresh.dead_letters)
        self.size = int(fresh.rows.estimated_size()) + LETTER_BYTES * len(fresh.dead_letters)


class PartitionState:
    """Progress of one lease.

    Offsets ascend: ``stored`` (everything below is in the sink) <= ``taken`` (the running flush ends here) <= ``end``
    (everything below was taken in). While ``stored < cut`` the next flush must end at exactly ``cut``, because that
    block was planned before a crash and may be in the sink already.
    """

    def __init__(
        self, lease: Lease, first: int, lateness_ms: int, window_ms: int | None, idle_ms: int | None = None
    ) -> None:
        """Begin at the lease's checkpoint, or at offset ``first`` when the partition has none."""
        begin = lease.checkpoint or Checkpoint(first, first, first)
        if begin.planned < first:  # retention has deleted all that was planned: nothing is left to cut or to rebuild
            begin = Checkpoint(first, first, first, begin.watermark)
        elif first < begin.replay:  # the log is another one, or has lost its end: what it has now was never stored
            logger.warning("%s begins again at offset %d, before its checkpoint %s", lease, first, begin)
            begin = Checkpoint(first, first, first)
        self.lease = lease
        self.stored = self.taken = self.end = begin.stored
        self.cut = begin.planned
        self.watermark = Watermark(lateness_ms, begin.watermark, idle_ms)
        self.windows = TumblingWindows(window_ms) if window_ms is not None else None
        self.published = begin.watermark
        self._rebuilding_from: int | None = begin.replay if begin.replay < begin.stored else None
        self._kept_since = KeptSince()
        self._judged_anew = Recount(begin.kept if begin.replay < begin.stored else None)
        self._planned_anew = Recount(begin.kept_planned if begin.stored < begin.planned else None)
        self._planned_unsure = False
        self._refusals = self._refusals_stored = begin.refusals
        self._committed = _as_committed(begin)
        self.behind = False
        self._pieces: deque[_Piece] = deque()
        self._announced: list[Record] = []

    # -- taking in -----------------------------------------------------------------------------------------------

    @property
    def pending_offsets(self) -> int:
        """Offsets taken in and not yet part of a flush."""
        return self.end - self.taken

    @property
    def pending_rows(self) -> int:
        """What waits for a flush: the offsets, or their rows and dead letters where messages have many."""
        return max(self.pending_offsets, sum(piece.height for piece in self._pieces))

    @property
    def pending_bytes(self) -> int:
        """The size of their rows."""
        return sum(piece.size for piece in self._pieces)

    def reaches_over_cut(self, end: int) -> bool:
        """Whether a block that ends at ``end`` goes beyond the block that was planned before a crash."""
        return self.stored < self.cut < end

    def add(self, outcome: Outcome, part: Part, limit: RefusalLimit) -> None:
        """Take in one part of the log; what lies below ``stored`` only rebuilds windows.

        Raises :class:`~streams.engine.refusals.RefusalLimitError` when it refuses too much; then nothing was taken in.
        """
        below, fresh = outcome.split(self.stored) if part.begin < self.stored else (None, outcome)
        refusals = self._refused(fresh, part, limit)
        if below is not None:
            self._rebuild(below, part)
        if part.end >= self.stored:
            self._rebuilt()
        if part.end <= self.stored:
            return
        late = self._observe(fresh)
        self.watermark.passed(part.append_ms)
        kept = fresh.kept
        self._kept_since.add(max(part.begin, self.stored), part.end, kept)
        self._refusals = refusals
        self._pieces.append(_Piece(part.end, fresh, kept, late, self.watermark.value, refusals))
        self.end = max(self.end, part.end)
        if self.end >= self.cut:
            self._replanned()

    def _refused(self, fresh: Outcome, part: Part, limit: RefusalLimit) -> Refusals:
        if part.end <= self.stored or not (len(fresh.offsets) or fresh.dead_letters):
            return self._refusals
        kept, refused = fresh.offsets, np.sort([letter.offset for letter in fresh.dead_letters]).astype(np.int64)
        if fresh.dead_letters:  # the limit is for messages: one is refused when nothing of it is kept
            kept = np.unique(kept)
            refused = np.setdiff1d(refused, kept)
        keys = [letter.key for letter in fresh.dead_letters]
        after, longest = self._refusals.after(part.append_ms, kept, refused, keys)
        after.check(limit, longest, str(self.lease))
        return after

    def silent(self, event_time: int | None, announced: Sequence[Record] = ()) -> None:
        """Nothing is left to read: end what was to be read again and the log no longer has, move the watermark.

        ``announced`` is written by the next flush.
        """
        self._announced += announced
        self._rebuilt()
        if self.stored < self.cut:
            self.end = max(self.end, self.cut)
            self._replanned()
        if event_time is not None:
            self.watermark.advance(event_time)

    def _observe(self, fresh: Outcome) -> pl.DataFrame | None:
        """Put new points into their windows; name the closed windows (series, start) that some belong to."""
        points, windows = fresh.points, self.windows
        if points is None or windows is None:
            return None
        ts = points.frame["ts"].to_numpy()
        starts = window_starts(ts, windows.size_ms)
        self._planned_anew.add(fresh, starts[starts + windows.size_ms > self.published])
        late = self.watermark.observe(ts, points.append_ts, starts + windows.size_ms, points.offsets)
        if not late.any():
            windows.add(points.frame, starts, points.offsets)
            return None
        kept = points.keep(~late)
        windows.add(kept.frame, starts[~late], kept.offsets)
        return pl.DataFrame({"series": points.frame["series"].to_numpy()[late], "start": starts[late]}).unique()

    def _rebuild(self, stored: Outcome, part: Part) -> None:
        """Put stored points back into the windows that were open at the checkpoint; all others were published."""
        self._kept_since.add(part.begin, min(part.end, self.stored), stored.kept)
        points, windows = stored.points, self.windows
        if points is None or windows is None:
            return
        ts = points.frame["ts"].to_numpy()
        starts = window_starts(ts, windows.size_ms)
        self.watermark.observe(ts, points.append_ts, starts + windows.size_ms, points.offsets)
        needed = starts + windows.size_ms > self.published
        self._judged_anew.add(stored, starts[needed])
        kept = points.keep(needed)
        windows.add(kept.frame, starts[needed], kept.offsets)

    def _rebuilt(self) -> None:
        """Everything below ``stored`` was read again; if it was judged otherwise, do not trust what it gave."""
        self._rebuilding_from = None
        if self.windows is not None and self._judged_anew.differs:
            doubtful = self._judged_anew.doubtful(self.windows.size_ms)
            ends = doubtful.ts + self.windows.size_ms
            still_open = doubtful.keep(ends > self.published)
            self.windows.distrust(still_open.ts, still_open.offsets)
            self._kept_since.doubt()
        self._judged_anew = Recount(None)

    def _replanned(self) -> None:
        """The planned block is whole again; if it was judged otherwise, do not trust the windows it touched.

        Also those that were closed at the checkpoint: a correction may have been under way.
        """
        if self.windows is not None and self._planned_anew.differs:
            doubtful = self._planned_anew.doubtful(self.windows.size_ms)
            if len(doubtful.ts) > MOST_DOUBTFUL:
                logger.warning(
                    "%s: of %d windows in doubt %d are not read again",
                    self.lease,
                    len(doubtful.ts),
                    len(doubtful.ts) - MOST_DOUBTFUL,
                )
                doubtful = Doubtful(doubtful.offsets[:MOST_DOUBTFUL], doubtful.ts[:MOST_DOUBTFUL])
            self.windows.distrust(doubtful.ts, doubtful.offsets)
            self._kept_since.doubt()
            self._planned_unsure = True
        self._planned_anew = Recount(None)

    # -- flushing ------------------------------------------------------------------------------------------------

    @property
    def flushable(self) -> bool:
        """Whether a flush would change anything and may begin: not before a planned block is complete."""
        if self._rebuilding_from is not None or self.stored < self.cut and self.end < self.cut:
            return False
        if self._announced:
            return True
        return self.end > self.taken or self.checkpoint() != self._committed or self._may_close

    @property
    def _may_close(self) -> bool:
        return self.windows is not None and self.watermark.value > self.published

    def checkpoint(self, planned: Pending | None = None) -> Checkpoint:
        """The checkpoint to commit now, with the block that is about to be inserted."""
        needed = (self.windows.first_offset if self.windows is not None else None, self._rebuilding_from, self.stored)
        replay, kept = self._kept_since.between(min(at for at in needed if at is not None), self.stored)
        return Checkpoint(
            replay,
            self.stored,
            self.stored if planned is None else planned.end,
            self.published,
            self._refusals_stored,
            kept,
            NOTHING_KEPT if planned is None else planned.kept_again,
        )

    def take(self, most_rows: int | None = None) -> Pending:
        """Hand over what is pending to a flush; with ``most_rows``, as many parts as have no more, but at least one.

        A planned block is handed over whole.
        """
        most_rows = None if self.stored < self.cut else most_rows
        pieces: list[_Piece] = []
        rows = 0
        while self._pieces and (not pieces or most_rows is None or rows + len(self._pieces[0].fresh.rows) <= most_rows):
            pieces.append(self._pieces.popleft())
            rows += len(pieces[-1].fresh.rows)
        last = pieces[-1] if self._pieces else None
        kept = reduce(Kept.and_, (piece.kept for piece in pieces), NOTHING_KEPT)
        pending = Pending(
            self.taken,
            self.end if last is None else last.end,
            [piece.fresh.rows for piece in pieces],
            kept,
            UNSURE if self._planned_unsure else kept,
            [letter for piece in pieces for letter in piece.fresh.dead_letters],
            [piece.late for piece in pieces if piece.late is not None],
            self.watermark.value if last is None else last.watermark,
            self._refusals if last is None else last.refusals,
            [each.record for piece in pieces for each in piece.fresh.announced] + self._announced,
        )
        self._announced = []
        self.taken, self._planned_unsure = pending.end, False
        return pending

    def closing(self, pending: Pending, most_points: int) -> tuple[Pending, int]:
        """The same with fewer windows closed if those hold more than ``most_points``; and how many points they hold.

        The others may close with any later flush: they get no more points. Only what is corrected closes first, with
        what is older: the next rollup goes by the newest window that it was given, and takes older ones for late.
        """
        if self.windows is None:
            return pending, 0
        watermark, points = self.windows.closable(pending.watermark, most_points)
        corrected = [late["start"].to_numpy().max() + self.windows.size_ms for late in pending.late]
        if corrected and max(corrected) > watermark:
            watermark, points = self.windows.closable(min(int(max(corrected)), pending.watermark), sys.maxsize)
        return dataclasses.replace(pending, watermark=watermark), points

    def close(self, watermark: int) -> list[ClosedWindow]:
        """Remove the windows that end at or before ``watermark`` and give them, oldest first.

        On the event loop, where blocks are put into windows, too: it only moves references, and what was in a flush's
        thread would need a lock that every block waits for. To join and reduce the points is the thread's part.
        """
        return self.windows.close(watermark) if self.windows is not None else []

    def committed(self, checkpoint: Checkpoint) -> None:
        """The broker has this checkpoint."""
        self._committed = _as_committed(checkpoint)

    def flushed(self, pending: Pending) -> None:
        """The sink has the rows of ``pending``, and what it closed is published."""
        self.stored = pending.end
        self.published = max(self.published, pending.watermark)
        self._refusals_stored = pending.refusals


def _as_committed(checkpoint: Checkpoint) -> Checkpoint:
    """What a checkpoint without a plan is compared with."""
    return replace(checkpoint, planned=checkpoint.stored, kept_planned=NOTHING_KEPT)
