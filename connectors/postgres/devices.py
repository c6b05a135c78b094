"""Registering devices and their sensors in bulk."""

from __future__ import annotations

import io
from dataclasses import dataclass

import polars as pl
import psycopg

from connectors.postgres.connection import connection
from weir.errors import UsageError

REQUIRED = ("device_id", "sensor")
OPTIONAL: dict[str, pl.DataType] = {
    "device_type": pl.String(),
    "device_name": pl.String(),
    "metric": pl.String(),
    "unit": pl.String(),
    "min_value": pl.Float64(),
    "max_value": pl.Float64(),
    "value_type": pl.String(),
}

_ARRIVALS = """
    CREATE TEMPORARY TABLE arrivals (
        device_id text, sensor text, device_type text, device_name text, metric text, unit text,
        min_value double precision, max_value double precision, value_type text
    ) ON COMMIT DROP
"""
_FOREIGN = """
    SELECT d.id, d.organisation_id FROM devices d
    WHERE d.organisation_id <> %s AND d.id IN (SELECT device_id FROM arrivals) ORDER BY d.id LIMIT 1
"""
_METRICS = """
    INSERT INTO metrics (name, value_type, unit)
    SELECT metric, min(value_type), coalesce(min(unit), '') FROM arrivals GROUP BY metric
    ON CONFLICT (name) DO NOTHING
"""
_DEVICES = """
    INSERT INTO devices AS known (id, organisation_id, project_id, device_type, name)
    SELECT device_id, %(organisation)s, %(project)s, min(device_type), min(device_name) FROM arrivals GROUP BY device_id
    ON CONFLICT (id) DO UPDATE
    SET project_id = excluded.project_id, device_type = excluded.device_type, name = excluded.name,
        is_active = true, updated_at = now()
    WHERE (known.project_id, known.device_type, known.name, known.is_active)
          IS DISTINCT FROM (excluded.project_id, excluded.device_type, excluded.name, true)
"""
_SENSORS = """
    INSERT INTO sensors AS known (device_id, name, metric, unit, min_value, max_value, value_type)
    SELECT device_id, sensor, metric, unit, min_value, max_value, value_type FROM arrivals
    ON CONFLICT (device_id, name) DO UPDATE
    SET metric = excluded.metric, unit = excluded.unit, min_value = excluded.min_value,
        max_value = excluded.max_value, value_type = excluded.value_type
    WHERE (known.metric, known.unit, known.min_value, known.max_value, known.value_type)
          IS DISTINCT FROM
          (excluded.metric, excluded.unit, excluded.min_value, excluded.max_value, excluded.value_type)
"""


@dataclass(frozen=True, slots=True)
class Registered:
    """How many rows a registration added or changed; what was there already does not count."""

    devices: int
    sensors: int


def register(dsn: str, organisation: str, project: str | None, sensors: pl.DataFrame) -> Registered:
    """Add or update devices with their sensors, and the organisation, project and metrics they name.

    ``sensors`` has one row a sensor: ``device_id`` and ``sensor``, and optionally ``device_type`` (default 'device'),
    ``device_name`` (''), ``metric`` (the sensor's name), ``unit`` (null: the metric's), ``min_value``, ``max_value``
    (null: the metric's) and ``value_type`` ('number' or 'text'). A second registration of the same rows changes
    nothing and leaves the metadata version as it is. One transaction; blocks, 12 to 20 seconds for 1,000,000 sensors.

    Raises :class:`UsageError` for a missing, unknown or doubled row or column and for a device of another
    organisation, :class:`TransientError` when Postgres is away, :class:`ConfigError` when the tables are missing.
    """
    arrivals = _arrivals(sensors)
    with connection(dsn) as conn:
        _own(conn, organisation, project)
        conn.execute(_ARRIVALS)
        with conn.cursor().copy("COPY arrivals FROM STDIN (FORMAT csv)") as copy:
            copy.write(_csv(arrivals))
        conn.execute("ANALYZE arrivals")
        foreign = conn.execute(_FOREIGN, [organisation]).fetchone()
        if foreign:
            raise UsageError(f"Device {foreign[0]} belongs to organisation {foreign[1]}; register it there.")
        conn.execute(_METRICS)
        devices = conn.execute(_DEVICES, {"organisation": organisation, "project": project}).rowcount
        return Registered(devices, conn.execute(_SENSORS).rowcount)


def _own(conn: psycopg.Connection, organisation: str, project: str | None) -> None:
    conn.execute(
        "INSERT INTO organisations (id, name) VALUES (%s, %s) ON CONFLICT DO NOTHING", [organisation, organisation]
    )
    if project is None:
        return
    conn.execute(
        "INSERT INTO projects (id, organisation_id, name) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        [project, organisation, project],
    )
    owner = conn.execute("SELECT organisation_id FROM projects WHERE id = %s", [project]).fetchone()
    if owner != (organisation,):
        raise UsageError(f"Project {project} belongs to organisation {owner and owner[0]}; choose another id.")


def _arrivals(sensors: pl.DataFrame) -> pl.DataFrame:
    missing = [name for name in REQUIRED if name not in sensors.columns]
    if missing:
        raise UsageError(f"Registering devices needs the column {missing[0]}.")
    unknown = [name for name in sensors.columns if name not in (*REQUIRED, *OPTIONAL)]
    if unknown:
        raise UsageError(f"Registering devices knows no column {unknown[0]}; it takes {', '.join(OPTIONAL)}.")
    absent = [pl.lit(None, dtype).alias(name) for name, dtype in OPTIONAL.items() if name not in sensors.columns]
    full = sensors.with_columns(absent).select(
        "device_id",
        "sensor",
        pl.col("device_type").fill_null("device"),
        pl.col("device_name").fill_null(""),
        pl.col("metric").fill_null(pl.col("sensor")),
        "unit",
        "min_value",
        "max_value",
        pl.col("value_type").fill_null("number"),
    )
    doubled = full.filter(pl.struct("device_id", "sensor").is_duplicated())
    if doubled.height:
        raise UsageError(f"Sensor {doubled['sensor'][0]} of device {doubled['device_id'][0]} is given twice.")
    return full


def _csv(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_csv(buffer, include_header=False)
    return buffer.getvalue()
