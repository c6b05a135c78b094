"""What a worker knows of devices: every sensor with its owner, metric, unit and bounds, in one frame."""

from __future__ import annotations

import io
from dataclasses import dataclass

import polars as pl
import psycopg

from connectors.postgres.connection import connection
from weir.errors import ConfigError

VERSION_SECONDS = 5.0
"""A row from a server that answers; readings of unknown devices wait for it."""

LOAD_SECONDS = 60.0
"""1.6 s were measured for a million sensors."""

SENSOR_SCHEMA: dict[str, pl.DataType] = {
    "device_id": pl.String(),
    "sensor": pl.String(),
    "org_id": pl.String(),
    "project_id": pl.String(),
    "device_type": pl.String(),
    "metric": pl.String(),
    "unit": pl.String(),
    "min_value": pl.Float64(),
    "max_value": pl.Float64(),
    "retention_days": pl.Int32(),
}
"""Columns of :attr:`Metadata.sensors`, in order."""

_SENSORS = """
    COPY (
        SELECT s.device_id, s.name, d.organisation_id, coalesce(d.project_id, ''), d.device_type, s.metric,
               coalesce(s.unit, m.unit), coalesce(s.min_value, m.min_value), coalesce(s.max_value, m.max_value),
               (p.settings ->> 'data_retention_days')::numeric::integer
        FROM sensors s
        JOIN devices d ON d.id = s.device_id AND d.is_active
        JOIN metrics m ON m.name = s.metric
        LEFT JOIN projects p ON p.id = d.project_id
    ) TO STDOUT (FORMAT csv)
"""


@dataclass(frozen=True, slots=True)
class Metadata:
    """A snapshot of all sensors of active devices.

    ``version`` is that of the snapshot, see :func:`metadata_version`. ``sensors`` has the columns of
    :data:`SENSOR_SCHEMA`, one row a sensor, sorted by (device_id, sensor) in byte order; ``project_id`` is '' where
    there is none; a null bound means none, neither the sensor's nor its metric's; a null ``retention_days`` means the
    default.
    """

    version: int
    sensors: pl.DataFrame


def load_metadata(dsn: str) -> Metadata:
    """Read all sensors of active devices and the version they belong to, in one snapshot.

    Blocks, about two seconds for 1,000,000 sensors. Raises :class:`TransientError` when Postgres is away and
    :class:`ConfigError` when the tables are missing.
    """
    with connection(dsn, within_seconds=LOAD_SECONDS) as conn:
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        conn.read_only = True
        version = _version(conn)
        with conn.cursor().copy(_SENSORS) as copy:
            rows = io.BytesIO()
            for chunk in copy:
                rows.write(chunk)
    return Metadata(version, _frame(rows))


def metadata_version(dsn: str) -> int:
    """The number that grows with every change of the metadata; opens a connection, asks once, closes it."""
    with connection(dsn, within_seconds=VERSION_SECONDS) as conn:
        return _version(conn)


def _version(conn: psycopg.Connection) -> int:
    row = conn.execute("SELECT version FROM metadata_version").fetchone()
    if row is None:
        raise ConfigError("The table metadata_version is empty; run `weir migrate` on a database of its own.")
    return int(row[0])


def _frame(rows: io.BytesIO) -> pl.DataFrame:
    if not rows.tell():
        return pl.DataFrame(schema=SENSOR_SCHEMA)
    rows.seek(0)
    frame = pl.read_csv(rows, has_header=False, schema=SENSOR_SCHEMA)
    texts = [name for name, dtype in SENSOR_SCHEMA.items() if dtype == pl.String()]
    return frame.with_columns(pl.col(texts).fill_null("")).sort("device_id", "sensor")
