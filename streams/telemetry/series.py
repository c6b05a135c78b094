"""The active series and what Postgres says of each: organisation, project, type, metric, unit, bounds, retention.

A series is a (device_id, sensor). It gets a small code when its first reading comes, and everything known of it sits in
one row of ``dims``, so enriching a reading is a gather from a table that fits the cache, however many sensors are
registered.
"""

from __future__ import annotations

import secrets
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from connectors.postgres.metadata import Metadata
from streams.engine.key_index import Codes, KeyIndex

DIMENSIONS: Final = ("org_id", "project_id", "device_type", "metric", "unit")
_NAMES: Final = ("device_id", "sensor")

_DIMS_SCHEMA: Final = pl.Schema(
    {
        "sensor": pl.Categorical(),
        **{name: pl.Categorical() for name in DIMENSIONS},
        "min_value": pl.Float64(),
        "max_value": pl.Float64(),
        "retention_days": pl.Int32(),
    }
)


class Registered:
    """One metadata snapshot, made ready to look series up by name."""

    def __init__(self, metadata: Metadata, default_retention_days: int) -> None:
        """Hash the names of all sensors once: about a second for a million."""
        self.version = metadata.version
        self._sensors = metadata.sensors
        self._default_retention_days = default_retention_days
        kept = self._sensors.select("project_id", "retention_days").drop_nulls().unique()
        self._project_days = dict(kept.iter_rows())
        self._seed, hashes = _hashed_without_collision(self._sensors.select(_NAMES))
        self._order = np.argsort(hashes)
        self._hashes = hashes[self._order]
        self._devices = np.unique(self._sensors["device_id"].hash(self._seed).to_numpy())

    def retention(self, project_ids: pl.Series, default_days: int) -> pl.Series:
        """Return the days (UInt16) to keep rows of each project, at most ``default_days``."""
        days = project_ids.replace_strict(self._project_days, default=None, return_dtype=pl.Int32)
        return days.fill_null(default_days).clip(1, default_days).cast(pl.UInt16)

    def rows(self, names: pl.DataFrame) -> npt.NDArray[np.intp]:
        """Return the row of each (device_id, sensor) in the snapshot, -1 where it is not registered."""
        if not len(self._hashes):
            return np.full(len(names), -1, dtype=np.intp)
        hashes = names.select(_NAMES).hash_rows(self._seed).to_numpy()
        at = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        rows = self._order[at]
        found = self._sensors[rows]
        same = (found["device_id"] == names["device_id"]) & (found["sensor"] == names["sensor"])
        result: npt.NDArray[np.intp] = np.where(same.to_numpy(), rows, -1)
        return result

    def knows_device(self, device_ids: pl.Series) -> npt.NDArray[np.bool_]:
        """Say of each device id whether any sensor of it is registered."""
        return np.isin(device_ids.hash(self._seed).to_numpy(), self._devices)

    def dims(self, rows: npt.NDArray[np.intp]) -> pl.DataFrame:
        """Return the dimensions of these rows of the snapshot, with the default retention filled in and as a cap."""
        retention = pl.col("retention_days").fill_null(self._default_retention_days)
        return (
            self._sensors[rows]
            .select(pl.col(name) for name in _DIMS_SCHEMA)
            .with_columns(retention.clip(1, self._default_retention_days))
            .cast(_DIMS_SCHEMA)
        )


class ActiveSeries:
    """Codes and dimensions of the series that have sent a reading to this worker."""

    def __init__(self, registered: Registered) -> None:
        """Begin with no active series."""
        self._index = KeyIndex("device_id", "sensor")
        self.registered = registered
        self.dims = pl.DataFrame(schema=_DIMS_SCHEMA)
        self.valid: npt.NDArray[np.bool_] = np.empty(0, dtype=np.bool_)

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

    def refresh(self, registered: Registered) -> None:
        """Take a newer snapshot. A series that is gone keeps its last dimensions for windows still open."""
        self.registered = registered
        rows = registered.rows(self.names)
        found = rows >= 0
        dims = self.dims.clone()
        if found.any():
            fresh = registered.dims(rows[found])
            at = np.arange(len(dims))
            at[found] = len(dims) + np.arange(int(found.sum()))
            dims = pl.concat([dims, fresh])[at]
        self.dims, self.valid = dims, found

    def _admit(self, names: pl.DataFrame) -> npt.NDArray[np.bool_]:
        return self.registered.rows(names) >= 0

    def _describe_new(self) -> None:
        new = self.names[len(self.dims) :]
        rows = self.registered.rows(new)
        self.dims = pl.concat([self.dims, self.registered.dims(rows)], rechunk=True)
        self.valid = np.concatenate((self.valid, rows >= 0))


def _hashed_without_collision(names: pl.DataFrame) -> tuple[int, npt.NDArray[np.uint64]]:
    """Return a random seed under which no two registered names share a hash, and the hashes.

    The first seed nearly always does (for a million names all but one in 10**7 do); who is not registered and hits a
    hash is found out by name.
    """
    distinct = names.unique().height
    while True:
        seed = secrets.randbits(63)
        hashes = names.hash_rows(seed).to_numpy()
        if len(np.unique(hashes)) == distinct:
            return seed, hashes
