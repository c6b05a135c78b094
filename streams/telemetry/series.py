"""The active series and what Postgres says of each: organisation, project, type, metric, unit, bounds, retention.

A series is a (device_id, sensor). It gets a small code when its first reading comes, and everything known of it sits in
one row of ``dims``, so enriching a reading is a gather from a table that fits the cache, however many sensors are
registered. What depends on when a reading was measured, the project of a device that moved, is looked up for the series
that it concerns only.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from streams.engine.key_index import Codes, KeyIndex
from streams.engine.watermark import Int64s
from streams.telemetry.moves import PLACED, Moves
from streams.telemetry.registered import DIMS_SCHEMA, Registered

PLACE: Final = "place"
"""Column of the dimensions: where a series stands among the active ones, by organisation, device and sensor."""

UNPLACED_SHARE: Final = 0.2
"""Of the series, new ones stand at the end until they are more than this share: 200,000 take 0.2 s to put in order."""


class ActiveSeries:
    """Codes and dimensions of the series that have sent a reading to this worker."""

    def __init__(self, registered: Registered) -> None:
        """Begin with no active series."""
        self._index = KeyIndex("device_id", "sensor")
        self.registered = registered
        self.dims = pl.DataFrame(schema=DIMS_SCHEMA | {PLACE: pl.UInt32()})
        self.low = self.high = np.empty(0, dtype=np.float64)
        """Bounds of each series, NaN where there is none: columns of ``dims``, which every block asks for."""
        self._keeps_days: Int64s = np.empty(0, dtype=np.int64)
        self._placed = 0
        self.valid: npt.NDArray[np.bool_] = np.empty(0, dtype=np.bool_)
        self._moves = Moves(registered.moves, self.names)

    @property
    def names(self) -> pl.DataFrame:
        """Columns device_id, sensor; the row number is the code."""
        return self._index.names

    def encode(self, frame: pl.DataFrame) -> Codes:
        """Return the code of each reading's series, -1 where it is not registered (now)."""
        codes = self._index.encode(frame, self._admit)
        if len(self._index) > len(self.dims):
            self._describe_new()
        if not self.valid.all():
            codes[~self.valid[codes]] = -1
        return codes

    def dims_at(self, codes: Codes | Int64s, ts: Int64s) -> pl.DataFrame:
        """Return the dimensions of readings, by the code of their series, as they were at the event times (ms)."""
        if not len(codes):
            return self.dims.clear()
        dims = self.dims[codes.astype(np.uint32)]
        moved = self._moves.among(codes)
        if moved is None:
            return dims
        placed = self._moved(codes[moved], ts[moved])
        at = np.arange(len(codes))
        at[moved] = len(codes) + np.arange(len(placed))
        return dims.with_columns(
            pl.concat([dims[name], placed[name].cast(dims[name].dtype)])[at].alias(name) for name in PLACED
        )

    def retention_days(self, codes: Codes | Int64s, ts: Int64s) -> Int64s:
        """Return the days that raw readings of these series and event times (ms) are kept."""
        days: Int64s = self._keeps_days[codes]
        moved = self._moves.among(codes)
        if moved is not None:
            days[moved] = self._moved(codes[moved], ts[moved])["retention_days"].to_numpy()
        return days

    def _moved(self, codes: Codes | Int64s, ts: Int64s) -> pl.DataFrame:
        kept = self.registered.kept_days(pl.col("retention_days"))
        return self._moves.at(codes, ts).with_columns(kept.alias("retention_days"))

    def refresh(self, registered: Registered) -> None:
        """Take a newer snapshot. A series that is gone keeps its last dimensions for windows still open."""
        self.registered = registered
        rows = registered.rows(self.names)
        found = rows >= 0
        dims = self.dims.drop(PLACE)
        if found.any():
            fresh = registered.dims(rows[found])
            at = np.arange(len(dims))
            at[found] = len(dims) + np.arange(int(found.sum()))
            dims = pl.concat([dims, fresh])[at]
        self._take(dims, again=True)
        self.valid = found
        self._moves = Moves(registered.moves, self.names)

    def _admit(self, names: pl.DataFrame) -> npt.NDArray[np.bool_]:
        return self.registered.rows(names) >= 0

    def _describe_new(self) -> None:
        new = self.names[len(self.dims) :]
        rows = self.registered.rows(new)
        self._take(pl.concat([self.dims.drop(PLACE), self.registered.dims(rows)], rechunk=True))
        self.valid = np.concatenate((self.valid, rows >= 0))
        self._moves = Moves(self.registered.moves, self.names)

    def _take(self, dims: pl.DataFrame, again: bool = False) -> None:
        """Have ``dims`` from now on, with the place of each series, by which rows are stored in their table's order.

        Nothing depends on the place but what sorting costs the storage, so series that are new may wait at the end.
        """
        if again or len(dims) - self._placed > UNPLACED_SHARE * len(dims):
            names = self.names.with_columns(dims["org_id"].cast(pl.String))
            order = names.select(pl.arg_sort_by("org_id", "device_id", "sensor")).to_series().to_numpy()
            places = np.empty(len(dims), dtype=np.uint32)
            places[order] = np.arange(len(dims), dtype=np.uint32)
            self._placed = len(dims)
        else:
            late = np.arange(len(self.dims), len(dims), dtype=np.uint32)
            places = np.concatenate((self.dims[PLACE].to_numpy(), late))
        self.dims = dims.with_columns(pl.Series(PLACE, places))
        self.low, self.high = dims["min_value"].to_numpy(), dims["max_value"].to_numpy()
        self._keeps_days = dims["retention_days"].to_numpy().astype(np.int64)
