"""The two rollups: 1-minute aggregates from readings, 1-hour aggregates from 1-minute aggregates.

A window that closes is reduced from the points it held. A window that a late reading falls into afterwards is read back
from ClickHouse, reduced by the same function, and published with a higher revision.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Final, Protocol

import numpy as np
import polars as pl

from streams.engine.encoder import Encoder
from streams.engine.key_index import KeyIndex
from streams.engine.producer import Record
from streams.engine.reduce import (
    Ints,
    Reduction,
    empty_windows,
    merge_aggregates,
    reduce_points,
    revisions_of,
)
from streams.engine.stage import Closing
from streams.telemetry.series import ActiveSeries

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000

IDENTITY: Final = ("org_id", "project_id", "device_id", "device_type", "sensor", "metric", "unit", "fw_ver", "source")
CONFLICT: Final = "conflict"
NO_CONFLICTS: Final = pl.DataFrame(
    schema={"org_id": pl.String, "minute": pl.Datetime("ms", "UTC"), "reason": pl.String, "conflicts": pl.UInt64}
)
"""No row of ``usage``; the columns that are not given are 0."""

MEASURES: Final = ("count", "sum", "min", "max", "avg", "first", "last", "last_ts", "stddev", "revision")


class ReadBack(Protocol):
    """Reads from storage what closed windows hold, without resends and superseded revisions."""

    def __call__(self, windows: pl.DataFrame, size_ms: int) -> pl.DataFrame:
        """Return the points in ``windows`` (device_id, sensor, start in ms), with ``device_id``, ``sensor``, ``start``.

        Blocks. Raises :class:`~weir.errors.TransientError` when the storage is away or busy.
        """


class StoredReadings(Protocol):
    """Reads raw readings from storage; :class:`~sinks.clickhouse.stored_windows.StoredWindows` is one."""

    def readings(self, windows: pl.DataFrame, size_ms: int) -> pl.DataFrame:
        """As :class:`ReadBack` says."""

    def readings_of_partition(self, partition: int, begin: int, end: int) -> pl.DataFrame:
        """Return all readings of one partition and time (ms), with the dimensions they were stored with."""


class Announcement:
    """Turns aggregate rows into records on their topic, keyed org_id/device_id/sensor."""

    def __init__(self, topic: str, encoder: Encoder) -> None:
        """Write to ``topic`` what ``encoder`` makes of the rows."""
        self._topic = topic
        self._encoder = encoder

    def records(self, rows: pl.DataFrame, partition: int) -> list[Record]:
        """Return one record a row. They stay in the source's partition, so that the next rollup sees them in order."""
        if not len(rows):
            return []
        keys = (rows["org_id"] + "/" + rows["device_id"] + "/" + rows["sensor"]).to_list()
        values = self._encoder.encode(rows)
        return [Record(self._topic, key.encode(), value, partition) for key, value in zip(keys, values, strict=True)]


class _Rollup(ABC):
    """What both sizes share: closing from points at hand, recomputing from points read back."""

    size_ms: int

    def __init__(self, read_back: ReadBack, announcement: Announcement) -> None:
        self._read_back = read_back
        self.records = announcement.records

    def close(self, start: int, points: pl.DataFrame) -> Closing:
        """Reduce the points of the window that begins at ``start`` (ms) to one Aggregate row a series."""
        reduced, conflicts = self._reduce(points)
        rows = self._rows(reduced, reduced["series"].to_numpy(), np.full(len(reduced), start), points)
        return Closing(rows, self._conflicts(points[conflicts]))

    def recompute(self, late: pl.DataFrame, since: int) -> Closing:
        """Aggregate closed windows (series, start) again, from what is stored."""
        late = late.filter(pl.col("start") >= self._oldest_whole(late["series"].to_numpy(), late["start"].to_numpy()))
        if late.is_empty():
            return Closing(pl.DataFrame(), NO_CONFLICTS)
        codes = late["series"].to_numpy()
        windows = self._names()[codes].with_columns(late["start"])
        points, number = _numbered(self._read_back(windows, self.size_ms), windows)
        if not len(points):
            return Closing(pl.DataFrame(), NO_CONFLICTS)
        reduced, conflicts = self._reduce_stored(points, number)
        window = reduced["series"].to_numpy()
        rows = self._rows(reduced, codes[window], windows["start"].to_numpy()[window], points)
        if not len(conflicts):
            return Closing(rows, NO_CONFLICTS)
        replaced = points.with_columns(series=codes[number.to_numpy()])[conflicts]
        return Closing(rows, self._conflicts(replaced.filter(pl.col("offset") >= since)))

    def _reduce_stored(self, points: pl.DataFrame, number: pl.Series) -> Reduction:
        """Reduce points by the numbers beside them; a number whose points are all texts gets a row of count 0."""
        reduced, conflicts = self._reduce(points.with_columns(series=number))
        empty = empty_windows(number.to_numpy(), points["ts"].to_numpy(), self._revisions(points), reduced)
        return Reduction(pl.concat([reduced, empty]), conflicts)

    def _rows(self, reduced: pl.DataFrame, codes: Ints, starts: Ints, points: pl.DataFrame) -> pl.DataFrame:
        """Return Aggregate rows in the contract's order."""
        identity = self._identity(codes, points[reduced["row"].to_numpy()]).select(pl.col(IDENTITY).cast(pl.String))
        return self._windowed(identity, starts, reduced)

    def _windowed(self, identity: pl.DataFrame, starts: Ints, reduced: pl.DataFrame) -> pl.DataFrame:
        window = pl.DataFrame({"window_start": starts, "window_end": starts + self.size_ms})
        return pl.concat([identity, window, reduced.select(MEASURES)], how="horizontal")

    def _oldest_whole(self, codes: Ints, starts: Ints) -> pl.Series:
        """Start (ms) before which each series' windows are left as they are: expiry has begun to delete their rows."""
        return pl.repeat(-(2**62), len(codes), dtype=pl.Int64, eager=True)

    @abstractmethod
    def _names(self) -> pl.DataFrame:
        """Columns device_id, sensor; the row number is the code of the series."""

    @abstractmethod
    def close_stored(self, start: int, points: pl.DataFrame | None, partition: int) -> Closing:
        """The same as :meth:`close`, from what is stored of ``partition``."""

    @abstractmethod
    def _reduce(self, points: pl.DataFrame) -> Reduction:
        """One row a series, as in :mod:`streams.engine.reduce`."""

    @abstractmethod
    def _revisions(self, points: pl.DataFrame) -> Ints:
        """Revision of each point."""

    def _conflicts(self, replaced: pl.DataFrame) -> pl.DataFrame:
        """``usage`` rows of points (with series and append_ts) that replaced another value."""
        return NO_CONFLICTS

    @abstractmethod
    def _identity(self, codes: Ints, last: pl.DataFrame) -> pl.DataFrame:
        """:data:`IDENTITY` of each series, given its code and its latest point."""


class MinuteRollup(_Rollup):
    """Readings to 1-minute aggregates. Points have series, ts, value, append_ts, offset, fw_ver, source."""

    size_ms = MINUTE_MS

    def __init__(self, series: ActiveSeries, stored: StoredReadings, announcement: Announcement) -> None:
        """``series`` gives the codes their names and dimensions."""
        super().__init__(stored.readings, announcement)
        self._series = series
        self._stored = stored

    def close_stored(self, start: int, points: pl.DataFrame | None, partition: int) -> Closing:
        """Reduce what is stored of the window, with the dimensions it was stored with."""
        points = self._stored.readings_of_partition(partition, start, start + self.size_ms)
        if not len(points):
            return Closing(pl.DataFrame(), NO_CONFLICTS)
        number = points.select(pl.struct("device_id", "sensor").rank("dense").cast(pl.Int64) - 1).to_series()
        reduced, conflicts = self._reduce_stored(points, number)
        identity = points[reduced["row"].to_numpy()].select(IDENTITY)
        return Closing(self._windowed(identity, np.full(len(reduced), start), reduced), _usage(points[conflicts]))

    def _oldest_whole(self, codes: Ints, starts: Ints) -> pl.Series:
        kept_ms = self._series.retention_days(codes, starts) * DAY_MS
        return pl.Series(time.time_ns() // 1_000_000 - kept_ms)

    def _names(self) -> pl.DataFrame:
        return self._series.names

    def _reduce(self, points: pl.DataFrame) -> Reduction:
        return reduce_points(points)

    def _revisions(self, points: pl.DataFrame) -> Ints:
        return revisions_of(points)

    def _conflicts(self, replaced: pl.DataFrame) -> pl.DataFrame:
        if not len(replaced):
            return NO_CONFLICTS
        return _usage(replaced.with_columns(self._series.dims[replaced["series"].to_numpy()]["org_id"]))

    def _identity(self, codes: Ints, last: pl.DataFrame) -> pl.DataFrame:
        known = self._series.dims_at(codes, last["ts"].to_numpy()).with_columns(self._series.names[codes]["device_id"])
        return pl.concat([known, last.select("fw_ver", "source")], how="horizontal")


class HourRollup(_Rollup):
    """1-minute aggregates to 1-hour aggregates. Points are Aggregate rows with series and ts (their window_start)."""

    size_ms = HOUR_MS

    def __init__(self, index: KeyIndex, read_back: ReadBack, announcement: Announcement) -> None:
        """``index`` gives the codes their names."""
        super().__init__(read_back, announcement)
        self._index = index

    def _names(self) -> pl.DataFrame:
        return self._index.names

    def close_stored(self, start: int, points: pl.DataFrame | None, partition: int) -> Closing:
        """Reduce what is stored of the series at hand: nothing judges aggregates, so no others were stored."""
        if points is None:
            return Closing(pl.DataFrame(), NO_CONFLICTS)
        series = points.select("series").unique()
        return self.recompute(series.with_columns(start=pl.lit(start, pl.Int64)), since=0)

    def _reduce(self, points: pl.DataFrame) -> Reduction:
        return Reduction(merge_aggregates(points), np.empty(0, dtype=np.intp))

    def _revisions(self, points: pl.DataFrame) -> Ints:
        return points["revision"].to_numpy()

    def _identity(self, codes: Ints, last: pl.DataFrame) -> pl.DataFrame:
        return last


def _usage(replaced: pl.DataFrame) -> pl.DataFrame:
    """``usage`` rows, one an organisation and minute of arrival, from points with org_id and append_ts (ms)."""
    minute = (pl.col("append_ts") // MINUTE_MS * MINUTE_MS).alias("minute")
    counted = replaced.group_by(pl.col("org_id").cast(pl.String), minute, maintain_order=True).agg(conflicts=pl.len())
    return counted.with_columns(reason=pl.lit(CONFLICT)).select(NO_CONFLICTS.columns).cast(NO_CONFLICTS.schema)


def _numbered(points: pl.DataFrame, windows: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """Give the points the row number of their window as ``series``, so that one reduction serves all windows."""
    keys = ["device_id", "sensor", "start"]
    joined = points.join(windows.with_row_index("series"), on=keys, how="inner", maintain_order="left")
    return joined.drop("series"), joined["series"].cast(pl.Int64)
