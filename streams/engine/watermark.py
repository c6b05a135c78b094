"""The watermark of one partition: the event time up to which its windows are closed.

``min(largest event time, largest broker append time) - allowed lateness``, never going back. The broker's append time
caps it, so one device with a fast clock cannot close everybody's windows; and as append times are stored in the log,
a replay at any speed gives the same answer row by row.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streams.engine.checkpoint import NO_WATERMARK

Int64s = npt.NDArray[np.int64]


class Watermark:
    """Running watermark of one partition; all times in milliseconds."""

    def __init__(self, lateness_ms: int, start: int = NO_WATERMARK, idle_ms: int | None = None) -> None:
        """Start at ``start``, the watermark of the partition's checkpoint; ``idle_ms`` is for :meth:`passed`."""
        self._lateness_ms = lateness_ms
        self._idle_ms = idle_ms
        self._moved_at: int | None = None
        self._max_event = NO_WATERMARK
        self._max_append = NO_WATERMARK
        self.value = start

    def observe(
        self, event_ts: Int64s, append_ts: Int64s, window_end: Int64s, offsets: Int64s
    ) -> npt.NDArray[np.bool_]:
        """Take in rows in offset order and say which are late: their window was closed when they came.

        The verdict on a row depends on the messages before its own only, never on how the rows were cut into blocks:
        rows of one message, which have the same offset, came together.
        """
        if not len(event_ts):
            return np.zeros(0, dtype=np.bool_)
        before = self.value
        if int(event_ts.max()) > self._max_event:
            self._moved_at = int(append_ts.max())
        max_event = max(self._max_event, int(event_ts.max()))
        max_append = max(self._max_append, int(append_ts.max()))
        after = max(before, min(max_event, max_append) - self._lateness_ms)
        if int(window_end.min()) > after:  # the common case: nothing closed before the last of these rows
            late = np.zeros(len(event_ts), dtype=np.bool_)
        else:
            late = window_end <= self._before_each(event_ts, append_ts)[np.searchsorted(offsets, offsets)]
        self._max_event, self._max_append, self.value = max_event, max_append, after
        return late

    def _before_each(self, event_ts: Int64s, append_ts: Int64s) -> Int64s:
        event = np.maximum.accumulate(np.concatenate(([self._max_event], event_ts[:-1])))
        append = np.maximum.accumulate(np.concatenate(([self._max_append], append_ts[:-1])))
        result: Int64s = np.maximum(np.minimum(event, append) - self._lateness_ms, self.value)
        return result

    def passed(self, append_ms: int) -> None:
        """Records are read up to this append time; none of them may have been a reading.

        When no event time has moved for the idle time of the broker's clock, the watermark follows that clock, as it
        does in a silent partition: a partition whose records are all refused is silent, too.
        """
        if self._idle_ms is None:
            return
        if self._moved_at is None:
            self._moved_at = append_ms
        if append_ms - self._moved_at > self._idle_ms:
            self.value = max(self.value, append_ms - self._lateness_ms - self._idle_ms)

    def advance(self, event_time: int) -> None:
        """Move to ``event_time`` when a caught-up partition is silent; never moves back."""
        self.value = max(self.value, event_time)
