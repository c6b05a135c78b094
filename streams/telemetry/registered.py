"""What is registered, made ready to look series up by name, and brought up to date without hashing everything again."""

from __future__ import annotations

import secrets
from copy import copy
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from connectors.postgres.metadata import Metadata
from streams.telemetry.bounds import bounds_in_base

NAMES: Final = ["device_id", "sensor"]
DIMENSIONS: Final = ("org_id", "project_id", "device_type", "metric", "unit")
DIMS_SCHEMA: Final = pl.Schema(
    {
        "sensor": pl.Categorical(),
        **{name: pl.Categorical() for name in DIMENSIONS},
        "min_value": pl.Float64(),
        "max_value": pl.Float64(),
        "retention_days": pl.Int32(),
        "sensor_unit": pl.Categorical(),
        "value_type": pl.Categorical(),
        "mark_bounds": pl.Boolean(),
    }
)
"""Columns of the dimensions of a series."""

MOST_CHANGED: Final = 50_000
"""Changed rows beside the snapshot after which everything is hashed again: about a second for a million."""

Rows = npt.NDArray[np.intp]
_Hashes = npt.NDArray[np.uint64]


class Registered:
    """One metadata snapshot with the changes since.

    ``metadata`` is the newest version with its registry of metrics, its policies and its horizon.
    """

    def __init__(self, metadata: Metadata, default_retention_days: int) -> None:
        """Hash the names of all sensors once: about a second for a million."""
        self.metadata = metadata
        self.moves = metadata.moves
        self._default_retention_days = default_retention_days
        self._whole = replace(metadata, sensors=bounds_in_base(metadata.sensors))
        self._snapshot = _Snapshot(self._whole.sensors.select(NAMES), metadata.devices)
        self._sensors = self._whole.sensors
        self._since: Metadata | None = None
        self._changes: _Snapshot | None = None
        self._changed: _Hashes = np.empty(0, dtype=np.uint64)
        self._project_days = _project_days(metadata.moves, self._sensors)

    @property
    def version(self) -> int:
        """The metadata version that this is."""
        return self.metadata.version

    def updated(self, changes: Metadata) -> Registered:
        """Return what is registered after ``changes``; milliseconds for a few devices, however many there are."""
        if changes.changed is None:
            return Registered(changes, self._default_retention_days)
        fresh = replace(changes, sensors=bounds_in_base(changes.sensors))
        since = fresh if self._since is None else merged(self._since, fresh)
        if len(since.sensors) > MOST_CHANGED:
            return Registered(merged(self._whole, since), self._default_retention_days)
        result = copy(self)
        result._take(since)
        return result

    def _take(self, since: Metadata) -> None:
        """Have ``since`` beside the snapshot, as the whole truth about the devices that changed."""
        self.metadata = self._since = since
        changed = since.changed if since.changed is not None else since.devices
        others = ~pl.col("device_id").is_in(changed.implode())
        self.moves = pl.concat([self._whole.moves.filter(others), since.moves])
        self._sensors = pl.concat([self._whole.sensors, since.sensors])
        self._changes = _Snapshot(since.sensors.select(NAMES), since.devices)
        self._changed = np.unique(self._snapshot.hash_devices(changed))
        # the newest last: of devices that changed, the snapshot may say what their projects kept before
        self._project_days = _project_days(self._whole.sensors, self.moves, since.sensors)

    def retention(self, project_ids: pl.Series, default_days: int) -> pl.Series:
        """Return the days (UInt16) to keep rows of each project, at most ``default_days``."""
        days = project_ids.replace_strict(self._project_days, default=None, return_dtype=pl.Int32)
        return days.fill_null(default_days).clip(1, default_days).cast(pl.UInt16)

    def rows(self, names: pl.DataFrame) -> Rows:
        """Return the row of each (device_id, sensor) for :meth:`dims`, -1 where it is not registered."""
        rows = self._snapshot.rows(names)
        if self._changes is not None and len(names):
            changed = np.isin(self._snapshot.hash_devices(names["device_id"]), self._changed)
            if changed.any():
                beside = self._changes.rows(names.filter(pl.Series(changed)))
                rows[changed] = np.where(beside >= 0, beside + self._snapshot.height, -1)
        return rows

    def knows_device(self, device_ids: pl.Series) -> npt.NDArray[np.bool_]:
        """Say of each device id whether it is registered and active."""
        known = self._snapshot.knows_device(device_ids)
        if self._changes is not None and len(device_ids):
            changed = np.isin(self._snapshot.hash_devices(device_ids), self._changed)
            known[changed] = self._changes.knows_device(device_ids.filter(pl.Series(changed)))
        return known

    def dims(self, rows: Rows) -> pl.DataFrame:
        """Return the dimensions of these rows, with the default retention filled in and as a cap."""
        return (
            self._sensors[rows]
            .select(pl.col(name) for name in DIMS_SCHEMA)
            .with_columns(self.kept_days(pl.col("retention_days")))
            .cast(DIMS_SCHEMA)
        )

    def kept_days(self, days: pl.Expr) -> pl.Expr:
        """Days that a project's raw readings are kept, with the default for null and as a cap."""
        return days.fill_null(self._default_retention_days).clip(1, self._default_retention_days)


def merged(before: Metadata, changes: Metadata) -> Metadata:
    """Return the metadata after ``changes``: of the devices that changed only what they say."""
    if changes.changed is None:
        return changes
    gone = changes.changed.implode()
    kept = ~pl.col("device_id").is_in(gone)
    both = None if before.changed is None else pl.concat([before.changed, changes.changed]).unique()
    return replace(
        changes,
        sensors=pl.concat([before.sensors.filter(kept), changes.sensors]),
        moves=pl.concat([before.moves.filter(kept), changes.moves]),
        devices=pl.concat([before.devices.filter(~before.devices.is_in(gone)), changes.devices]),
        changed=both,
    )


class _Snapshot:
    """Rows by name, found by hash and checked by name."""

    def __init__(self, names: pl.DataFrame, devices: pl.Series) -> None:
        self.height = len(names)
        self._names = names
        self._seed, hashes = _hashed_without_collision(names)
        self._order = np.argsort(hashes)
        self._hashes = hashes[self._order]
        self._devices = np.unique(self.hash_devices(pl.concat([names["device_id"], devices.alias("device_id")])))

    def hash_devices(self, device_ids: pl.Series) -> _Hashes:
        """Return a hash of each device id, the same for the same id in this snapshot."""
        hashes: _Hashes = device_ids.hash(self._seed).to_numpy()
        return hashes

    def rows(self, names: pl.DataFrame) -> Rows:
        """Return the row of each name, -1 where there is none."""
        if not self.height:
            return np.full(len(names), -1, dtype=np.intp)
        hashes = names.select(NAMES).hash_rows(self._seed).to_numpy()
        at = np.minimum(np.searchsorted(self._hashes, hashes), self.height - 1)
        rows = self._order[at]
        found = self._names[rows]
        same = (found["device_id"] == names["device_id"]) & (found["sensor"] == names["sensor"])
        result: Rows = np.where(same.to_numpy(), rows, -1)
        return result

    def knows_device(self, device_ids: pl.Series) -> npt.NDArray[np.bool_]:
        """Say of each device id whether it is here."""
        return np.isin(self.hash_devices(device_ids), self._devices)


def _project_days(*oldest_first: pl.DataFrame) -> dict[str, int]:
    projects = pl.concat([each.select("project_id", "retention_days") for each in oldest_first])
    kept = projects.unique("project_id", keep="last", maintain_order=True).drop_nulls()
    return dict(kept.iter_rows())


def _hashed_without_collision(names: pl.DataFrame) -> tuple[int, _Hashes]:
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
