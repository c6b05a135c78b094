"""Whether what was judged before a crash is judged the same after it.

A replay judges records again that are stored already, or may be. Metadata, settings or the program may have changed in
between, and then points that a window is rebuilt from are not what storage holds. So a checkpoint says what was kept
of all that a replay will see: when a replay keeps otherwise, the windows it touched are closed from storage instead of
from the points at hand.
"""

from __future__ import annotations

import numpy as np

from streams.engine.kept import NOTHING_KEPT, Kept
from streams.engine.outcome import Doubtful, Outcome
from streams.engine.watermark import Int64s
from streams.engine.windows import window_starts

_NONE = np.empty(0, dtype=np.int64)


class Recount:
    """Counts what is kept of a range that was judged before, and names what is in doubt when that differs."""

    def __init__(self, expected: Kept | None) -> None:
        """``expected`` is the earlier count; None when nothing was judged before, and nothing is counted then."""
        self._expected = expected
        self._kept = NOTHING_KEPT
        self._touched: list[Doubtful] = []

    def add(self, judged: Outcome, starts: Int64s) -> None:
        """Count a part of the range; ``starts`` are the windows of its points."""
        if self._expected is None:
            return
        self._kept = self._kept.and_(judged.kept)
        distinct = np.unique(starts)
        first = int(judged.offsets[0]) if len(judged.offsets) else 0
        self._touched += [Doubtful(np.full(len(distinct), first), distinct), judged.doubtful]

    @property
    def differs(self) -> bool:
        """Whether the range was judged otherwise before."""
        return self._expected is not None and self._expected != self._kept

    def doubtful(self, size_ms: int) -> Doubtful:
        """The begins of all windows that may not hold what is stored, newest first, each with an offset it needs."""
        offsets = np.concatenate([_NONE, *(each.offsets for each in self._touched)])
        starts = window_starts(np.concatenate([_NONE, *(each.ts for each in self._touched)]), size_ms)
        order = np.lexsort((offsets, starts))
        distinct, at = np.unique(starts[order], return_index=True)
        return Doubtful(offsets[order][at][::-1], distinct[::-1])
