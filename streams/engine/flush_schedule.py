"""When a stage flushes: small and soon while little comes, large while much waits in the log."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

Clock = Callable[[], float]


class FlushSchedule:
    """When the rows that are pending should be stored, in seconds of a clock that only goes forward.

    ========================= ==================================================================================
    rows came                 they are due
    ========================= ==================================================================================
    after a quiet time        at once: nothing was stored for ``flush_seconds``, so nothing is gained by waiting
    soon after a flush        ``flush_seconds`` after that flush began, together with all that comes until then
    and more wait in the log  ``behind_flush_seconds`` later: until then large blocks gather, which are cheap
    ========================= ==================================================================================

    Whatever is due waits until no other flush runs. While nothing comes it is looked every ``flush_seconds`` whether a
    window may close or a checkpoint may be settled.
    """

    def __init__(self, flush_seconds: float, behind_flush_seconds: float, clock: Clock = time.monotonic) -> None:
        """Nothing is pending, and nothing was stored yet."""
        self._flush_seconds = flush_seconds
        self._behind_flush_seconds = behind_flush_seconds
        self._clock = clock
        self._stored_at = -math.inf
        self._due: float | None = None
        self._look_at = clock() + flush_seconds

    def came(self, behind: bool) -> bool:
        """Take note of rows, and say whether the next flush is due sooner than it was.

        ``behind`` says that many more messages wait in the log.
        """
        now = self._clock()
        due = now + self._behind_flush_seconds if behind else max(now, self._stored_at + self._flush_seconds)
        before, self._due = self._due, due if self._due is None else min(self._due, due)
        return self._due != before

    def begun(self, stores: bool) -> None:
        """Take note that a flush of all that is pending begins; one that ``stores`` no rows puts off none."""
        now = self._clock()
        self._due, self._look_at = None, now + self._flush_seconds
        if stores:
            self._stored_at = now

    def left(self) -> None:
        """The flush that begins does not take everything: the next one is due at once."""
        self._due = self._clock()

    @property
    def wait_seconds(self) -> float:
        """Time until a flush is due; 0 or less when it is."""
        return (self._look_at if self._due is None else self._due) - self._clock()

    @property
    def rows_are_due(self) -> bool:
        """Whether rows are pending that should be stored now."""
        return self._due is not None and self._due <= self._clock()
