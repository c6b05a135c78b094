"""The two rollups: 1-minute aggregates from readings, 1-hour aggregates from 1-minute aggregates.

A window that closes is reduced from the points it held. A window that a late reading falls into afterwards is read back
from ClickHouse, reduced by the same function, and published with a higher revision.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
import polars as pl

from streams.engine.encoder import Encoder
from streams.engine.key_index import KeyIndex
from streams.engine.producer import Record
from streams.engine.reduce import REDUCED, merge_aggregates, reduce_points
from streams.telemetry.series import ActiveSeries

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000

IDENTITY: Final = ("org_id", "project_id", "device_id", "device_type", "sensor", "metric", "unit", "fw_ver", "source")
MEASURES: Final = ("count", "sum", "min", "max", "avg", "first", "last", "last_ts", "stddev", "revision")

_NO_ROWS: Final = pl.DataFrame(schema=REDUCED)


class ReadBack(Protocol):
    """Reads from storage what closed windows hold, without resends and superseded revisions."""

    def __call__(self, windows: pl.DataFrame, size_ms: int) -> pl.DataFrame:
        """Return the points in ``windows`` (device_id, sensor, start in ms), with ``device_id``, ``sensor``, ``start``.

        Blocks. Raises :class:`~weir.errors.TransientError` when the storage is away or busy.
        """


class Announcement:
    """Turns aggregate rows into records on their topic, keyed org_id/device_id/sensor."""

    def __init__(self, topic: str, encoder: Encoder) -> None:
        """Write to ``topic`` what ``encoder`` makes of the rows."""
        self._topic = topic
        self._encoder = encoder

    def records(self, rows: pl.DataFrame, partition: int) -> list[Record]:
        """Return one record a row. They stay in the source's partition, so that the next rollup sees them in order."""
        keys = (rows["org_id"] + "/" + rows["device_id"] + "/" + rows["sensor"]).to_list()
        values = self._encoder.encode(rows)
        return [Record(self._topic, key.encode(), value, partition) for key, value in zip(keys, values, strict=True)]


class MinuteRollup:
    """Readings to 1-minute aggregates. Points have series, ts, value, append_ts, fw_ver, source."""

    size_ms = MINUTE_MS

    def __init__(self, series: ActiveSeries, read_back: ReadBack, announcement: Announcement) -> None:
        """``series`` gives the codes their names and dimensions."""
        self._series = series
        self._read_back = read_back
        self.records = announcement.records

    def close(self, start: int, points: pl.DataFrame) -> pl.DataFrame:
        """Reduce one window's points to a row a series."""
        reduced = reduce_points(points)
        identity = self._identity(reduced["series"].to_numpy(), points[reduced["row"].to_numpy()])
        return _rows(identity, reduced, np.full(len(reduced), start), self.size_ms)

    def recompute(self, late: pl.DataFrame) -> pl.DataFrame:
        """Aggregate closed windows (series, start) again, from the raw readings."""
        codes = late["series"].to_numpy()
        windows = self._series.names[codes].with_columns(late["start"])
        points, number = _numbered(self._read_back(windows, self.size_ms), windows)
        if not len(points):
            return _rows(
                self._identity(codes[:0], points),
                pl.DataFrame(schema=REDUCED),
                np.empty(0, dtype=np.int64),
                self.size_ms,
            )
        reduced = reduce_points(points.with_columns(number))
        window = reduced["series"].to_numpy()
        identity = self._identity(codes[window], points[reduced["row"].to_numpy()])
        return _rows(identity, reduced, windows["start"].to_numpy()[window], self.size_ms)

    def _identity(self, codes: np.ndarray[tuple[int], np.dtype[np.int64]], last: pl.DataFrame) -> pl.DataFrame:
        known = self._series.dims[codes].with_columns(self._series.names[codes]["device_id"])
        labels = last.select(pl.col("fw_ver", "source").cast(pl.String))
        return pl.concat([known, labels], how="horizontal").select(pl.col(IDENTITY).cast(pl.String))


class HourRollup:
    """1-minute aggregates to 1-hour aggregates. Points are Aggregate rows with series and ts (their window_start)."""

    size_ms = HOUR_MS

    def __init__(self, index: KeyIndex, read_back: ReadBack, announcement: Announcement) -> None:
        """``index`` gives the codes their names."""
        self._index = index
        self._read_back = read_back
        self.records = announcement.records

    def close(self, start: int, points: pl.DataFrame) -> pl.DataFrame:
        """Merge one hour's minutes to a row a series."""
        merged = merge_aggregates(points)
        identity = points[merged["row"].to_numpy()].select(pl.col(IDENTITY).cast(pl.String))
        return _rows(identity, merged, np.full(len(merged), start), self.size_ms)

    def recompute(self, late: pl.DataFrame) -> pl.DataFrame:
        """Aggregate closed hours (series, start) again, from the newest revisions of their minutes."""
        windows = self._index.names[late["series"].to_numpy()].with_columns(late["start"])
        points, number = _numbered(self._read_back(windows, self.size_ms), windows)
        if not len(points):
            return _rows(
                points.select(IDENTITY), pl.DataFrame(schema=REDUCED), np.empty(0, dtype=np.int64), self.size_ms
            )
        merged = merge_aggregates(points.with_columns(number))
        identity = points[merged["row"].to_numpy()].select(pl.col(IDENTITY).cast(pl.String))
        return _rows(identity, merged, windows["start"].to_numpy()[merged["series"].to_numpy()], self.size_ms)


def _numbered(points: pl.DataFrame, windows: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """Give the points the row number of their window as ``series``, so that one reduction serves all windows."""
    keys = ["device_id", "sensor", "start"]
    joined = points.join(windows.with_row_index("series"), on=keys, how="inner", maintain_order="left")
    return joined.drop("series"), joined["series"].cast(pl.Int64)


def _rows(
    identity: pl.DataFrame, reduced: pl.DataFrame, starts: np.ndarray[tuple[int], np.dtype[np.int64]], size_ms: int
) -> pl.DataFrame:
    """Return Aggregate rows in the contract's order."""
    window = pl.DataFrame({"window_start": starts, "window_end": starts + size_ms})
    return pl.concat([identity, window, reduced.select(MEASURES)], how="horizontal")
