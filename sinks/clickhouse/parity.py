"""Raw readings against 1-minute windows against 1-hour windows, compared where they lie: in ClickHouse.

Each level is computed once more from what it is made of and held against what is stored: ``1m`` from the newest row of
each reading, ``1h`` from the newest 1-minute rows. A window whose source expiry has begun to delete is left out. Asked
for one organisation and a slice of time at once, so that memory does not grow with the history.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from sinks.clickhouse.client import ClientOfEachThread, translating
from sinks.clickhouse.parity_queries import (
    DAY_MS,
    FAULTS,
    OLDEST_HOUR,
    ORGANISATIONS,
    PARTITIONS,
    ROWS_BY_HOUR,
    TALLY,
    Level,
)
from weir.settings import Settings

SIZE_MS: Final[dict[Level, int]] = {"1m": 60_000, "1h": 3_600_000}
"""Length of a window of each level."""

HOUR_MS: Final = SIZE_MS["1h"]

SLICE_ROWS: Final = 1_000_000
"""Rows of one slice, unless a single hour has more: a million windows are some 500 MB in the server."""

SPILL_BYTES: Final = 536_870_912
"""Memory of a comparison beyond which the server groups on disk."""

DEVICES_A_QUERY: Final = 1_000
"""Devices asked for at once: their names travel as a query parameter, and a server takes 128 KiB of it."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Windows of one level and organisation that lie between two instants (ms), both on the edge of a window."""

    level: Level
    org: str
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Tally:
    """Windows by verdict; ``left_out`` are those whose source is no longer kept whole."""

    equal: int = 0
    missing: int = 0
    different: int = 0
    phantom: int = 0
    left_out: int = 0

    @property
    def faults(self) -> int:
        """Windows that are not as they should be."""
        return self.missing + self.different + self.phantom

    @property
    def checked(self) -> int:
        """Windows that were compared."""
        return self.equal + self.faults

    def __add__(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(
            self.equal + other.equal,
            self.missing + other.missing,
            self.different + other.different,
            self.phantom + other.phantom,
            self.left_out + other.left_out,
        )


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """What one query may take of the server; None leaves it to the server."""

    threads: int | None = None
    seconds: float | None = None


class StoredParity:
    """Compares what ClickHouse holds. May be called from several threads; every method blocks for its queries.

    Each raises :class:`~weir.errors.TransientError` when ClickHouse is away, busy or took longer than allowed.
    """

    def __init__(self, settings: Settings, limits: QueryLimits | None = None) -> None:
        """Connect at the first query."""
        self._settings = settings.clickhouse
        self._clients = ClientOfEachThread(settings.clickhouse)
        self._kept_days: dict[Level, int] = {
            "1m": settings.retention.raw_days,
            "1h": settings.retention.agg_1m_days,
        }
        self._limits = _server_settings(limits or QueryLimits())

    def organisations(self, begin: int, end: int) -> list[str]:
        """Organisations with rows between two instants (ms), by name."""
        return sorted(org for (org,) in self._ask(ORGANISATIONS, begin=begin, end=end))

    def oldest_hour(self, org: str, since: int) -> int | None:
        """Start (ms) of the oldest hour stored that does not begin before ``since``; None when there is none."""
        ((oldest, count),) = self._ask(OLDEST_HOUR, org=org, begin=since)
        return int(oldest) if count else None

    def slices(self, whole: Slice) -> list[Slice]:
        """Cut a range into slices of at most a day and about :data:`SLICE_ROWS` rows, hours without rows left out."""
        rows = self._ask(ROWS_BY_HOUR[whole.level], org=whole.org, begin=whole.begin, end=whole.end)
        return list(cut(whole, [(int(hour), int(count)) for hour, count in rows]))

    def tally(self, part: Slice) -> Tally:
        """Count the windows of a slice by verdict."""
        counted = self._ask(TALLY[part.level], **self._parameters(part))
        return Tally(**{str(verdict): int(windows) for verdict, windows in counted})

    def faults(self, part: Slice, most: int) -> pl.DataFrame:
        """Return the windows of a slice that are not equal, oldest first, at most so many.

        Columns: device_id, sensor, start (ms), verdict (missing, different, phantom), fields (names of the measures
        that differ), revision (of the stored row, 0 when there is none), project_id, device_type, metric, unit, fw_ver,
        source, and each measure twice, with ``want_`` and ``got_`` before its name.
        """
        parameters = self._parameters(part) | {"most": most}
        with translating(self._settings):
            table = self._clients.get().query_arrow(
                FAULTS[part.level], parameters=parameters, settings=self._limits, use_strings=True
            )
        frame = pl.from_arrow(table)
        return frame if isinstance(frame, pl.DataFrame) else frame.to_frame()

    def partitions(self, org: str, device_ids: Sequence[str]) -> dict[str, int]:
        """Return the partition that each device's readings come from; devices without readings are left out."""
        found: dict[str, int] = {}
        for at in range(0, len(device_ids), DEVICES_A_QUERY):
            some = list(device_ids[at : at + DEVICES_A_QUERY])
            found |= {str(device): int(number) for device, number in self._ask(PARTITIONS, org=org, devices=some)}
        return found

    def _parameters(self, part: Slice) -> dict[str, Any]:
        return {
            "org": part.org,
            "begin": part.begin,
            "end": part.end,
            "now": time.time_ns() // 1_000_000,
            "days": self._kept_days[part.level],
        }

    def _ask(self, query: str, **parameters: Any) -> Iterable[Sequence[Any]]:  # noqa: ANN401 - query parameters
        with translating(self._settings):
            return self._clients.get().query(query, parameters=parameters, settings=self._limits).result_rows


def cut(whole: Slice, rows_by_hour: Sequence[tuple[int, int]]) -> Iterator[Slice]:
    """Cut ``whole`` at hours so that no slice is longer than a day or, unless it is one hour, has too many rows."""
    begin, end, rows = 0, 0, 0
    for hour, count in rows_by_hour:
        if end and (rows + count > SLICE_ROWS or hour + HOUR_MS - begin > DAY_MS):
            yield Slice(whole.level, whole.org, begin, end)
            end = 0
        if not end:
            begin, rows = max(hour, whole.begin), 0
        end, rows = min(hour + HOUR_MS, whole.end), rows + count
    if end:
        yield Slice(whole.level, whole.org, begin, end)


def whole_windows(level: Level, begin: int, end: int) -> tuple[int, int]:
    """The first instant (ms) of the first whole window after ``begin`` and the end of the last one before ``end``."""
    size = SIZE_MS[level]
    first = -(-begin // size) * size
    return first, max(first, end // size * size)


def _server_settings(limits: QueryLimits) -> dict[str, Any]:
    chosen: dict[str, Any] = {
        "do_not_merge_across_partitions_select_final": 1,  # a row's newest version is in the partition of its time
        "max_bytes_before_external_group_by": SPILL_BYTES,
    }
    if limits.threads is not None:
        chosen["max_threads"] = limits.threads
    if limits.seconds is not None:
        chosen["max_execution_time"] = limits.seconds
    return chosen
