"""When a device falls silent and when it is back, by the broker's clock: the append times of its readings.

A device is silent when the clock has passed its last reading by more than the time it may be silent. The clock is the
append time of what is read, so a worker that was away finds the same silences in the log as one that was there; only
when a partition has been read to its end, the wall clock goes on. A device that never sent is not silent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from streams.engine.key_index import Codes
from streams.engine.watermark import Int64s
from streams.telemetry.alerts.alert import RESOLVED, SILENT, TRIGGERED, Known, State, alert_id
from streams.telemetry.alerts.crossings import NEVER

CHECK_MS: Final = 500
"""How far the clock goes between two looks at all devices: a look costs 1 ms for a million."""

ENDLESS: Final = 2**62
"""Silence (ms) that no device reaches: it has no rule."""


class Silence(NamedTuple):
    """A change of one device: ``since`` is the append time of its last reading, ``ts`` when the state was reached."""

    offset: int
    device: int
    state: State
    id: str
    since: int
    ts: int


class Silences:
    """When each device of a partition was last heard, by the numbers of the devices that have a rule."""

    def __init__(self, id_of: Callable[[int], str]) -> None:
        """Begin with no device heard; ``id_of`` gives the device id of a number."""
        self._id_of = id_of
        self._last: Int64s = np.empty(0, dtype=np.int64)
        self._open: dict[int, tuple[str, int]] = {}
        self._checked = NEVER

    def resume(self, devices: Codes, append_ts: Int64s) -> None:
        """When these devices were last heard."""
        self._grow(int(devices.max(initial=-1)) + 1)
        np.maximum.at(self._last, devices, append_ts)

    def reopen(self, device: int, known: Known) -> None:
        """Take over a silence that was announced and not ended: a reading appended later than its begin ends it."""
        self._grow(device + 1)
        self._open[device] = (known.id, known.since)

    def heard(self, devices: Codes, append_ts: Int64s, offsets: Int64s, silent_ms: Int64s) -> list[Silence]:
        """Take in readings of ``devices`` in offset order and give what changed; ``silent_ms`` is by device."""
        if not len(devices):
            return []
        self._grow(len(silent_ms))
        order = np.argsort(devices, kind="stable")
        device, append = devices[order], append_ts[order]
        before = np.concatenate(([NEVER], append[:-1]))
        first = np.concatenate(([True], device[1:] != device[:-1]))
        before[first] = self._last[device[first]]
        gap = (append - before > silent_ms[device]) & (before != NEVER)
        if self._open:
            gap |= np.isin(device, list(self._open))
        changes: list[Silence] = []
        for at in np.flatnonzero(gap).tolist():
            number, row = int(device[at]), int(order[at])
            changes += self._heard_again(number, int(append[at]), int(before[at]), int(offsets[row]), silent_ms)
        np.maximum.at(self._last, device, append)
        return sorted(changes, key=lambda change: change.offset)

    def _heard_again(self, device: int, append: int, before: int, offset: int, silent_ms: Int64s) -> list[Silence]:
        changes: list[Silence] = []
        if device not in self._open and before != NEVER and append - before > silent_ms[device]:
            changes.append(self._begin(device, before, offset, silent_ms))
        name, since = self._open.get(device, ("", append))
        if since < append:
            del self._open[device]
            changes.append(Silence(offset, device, RESOLVED, name, since, append))
        return changes

    def passed(self, clock_ms: int, offset: int, silent_ms: Int64s) -> list[Silence]:
        """The clock has come so far, and everything appended before is read: give the devices that are silent now."""
        if clock_ms - self._checked < CHECK_MS:
            return []
        self._checked = clock_ms
        self._grow(len(silent_ms))
        last = self._last[: len(silent_ms)]
        due = np.flatnonzero((clock_ms - last > silent_ms) & (last != NEVER)).tolist()
        return [self._begin(device, int(last[device]), offset, silent_ms) for device in due if device not in self._open]

    def _begin(self, device: int, since: int, offset: int, silent_ms: Int64s) -> Silence:
        name = alert_id(self._id_of(device), "", SILENT, since)
        self._open[device] = (name, since)
        return Silence(offset, device, TRIGGERED, name, since, since + int(silent_ms[device]))

    def _grow(self, size: int) -> None:
        missing = size - len(self._last)
        if missing > 0:
            self._last = np.concatenate((self._last, np.full(missing, NEVER)))
