"""Which windows must be closed before a run can be compared."""

from __future__ import annotations

from collections.abc import Iterable

from weir.verify.recompute import HOUR_MS, MINUTE_MS, Acknowledged


def windows_to_close(readings: Iterable[Acknowledged], since_ms: int) -> tuple[dict[int, int], dict[int, int]]:
    """By partition, the end (ms) of the last minute with a number, and of the last hour that ended in the run."""
    minutes: dict[int, int] = {}
    for reading in readings:
        if reading.value is not None:
            end = reading.ts - reading.ts % MINUTE_MS + MINUTE_MS
            minutes[reading.partition] = max(minutes.get(reading.partition, 0), end)
    hours = {partition: end - end % HOUR_MS for partition, end in minutes.items()}
    return minutes, {partition: end for partition, end in hours.items() if end > since_ms}
