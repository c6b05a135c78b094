"""Registering devices and their sensors in bulk."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID

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

DEVICE_TYPE = re.compile(r"(device|equipment)(\.[a-z][a-z0-9_]*)*")
"""What sends readings."""

MANY_ROWS = 10_000
"""New rows after which the planner's statistics are made anew at once, not when autovacuum comes by."""

_ARRIVALS = """
    CREATE TEMPORARY TABLE arrivals (
        device_id text, sensor text, device_type text, device_name text, metric text, unit text,
        min_value double precision, max_value double precision, value_type text
    ) ON COMMIT DROP
"""
_FOREIGN = """
    SELECT d.key, o.key FROM entities d JOIN entities o ON o.id = d.organisation_id
    WHERE d.kind IN ('device', 'equipment') AND d.organisation_id <> %(organisation)s
      AND d.key IN (SELECT device_id FROM arrivals) ORDER BY d.key LIMIT 1
"""
_METRICS = """
    INSERT INTO metrics (name, value_type, unit)
    SELECT metric, min(value_type), coalesce(min(unit), '') FROM arrivals GROUP BY metric
    ON CONFLICT (name) DO NOTHING
"""
_WANTED = """
    CREATE TEMPORARY TABLE wanted ON COMMIT DROP AS
    SELECT device_id, min(device_type) AS device_type, min(device_name) AS name FROM arrivals GROUP BY device_id
"""
_KNOWN_DEVICES = """
    CREATE TEMPORARY TABLE changed_devices ON COMMIT DROP AS
    WITH updated AS (
        UPDATE entities known
        SET entity_type = coalesce(wanted.device_type, known.entity_type), name = coalesce(wanted.name, known.name),
            is_active = true, updated_at = %(at)s
        FROM wanted
        WHERE known.kind IN ('device', 'equipment') AND known.key = wanted.device_id
          AND (known.entity_type, known.name, known.is_active) IS DISTINCT FROM
              (coalesce(wanted.device_type, known.entity_type), coalesce(wanted.name, known.name), true)
        RETURNING known.id, known.key, known.entity_type, false AS is_new
    ) SELECT * FROM updated
"""
_NEW_DEVICES = """
    WITH inserted AS (
        INSERT INTO entities (entity_type, key, name, status, organisation_id, created_at, updated_at)
        SELECT coalesce(device_type, 'device'), device_id, coalesce(name, ''), %(status)s, %(organisation)s, %(at)s,
               %(at)s
        FROM wanted
        ON CONFLICT (key) WHERE kind IN ('device', 'equipment') DO NOTHING
        RETURNING id, key, entity_type, true
    ) INSERT INTO changed_devices SELECT * FROM inserted
"""
_HERE = """
    CREATE TEMPORARY TABLE here ON COMMIT DROP AS
    SELECT d.id, r.id AS contained, r.from_entity AS project_id, a.device_id,
           EXISTS (SELECT FROM relationships was
                   WHERE was.to_entity = d.id AND was.relationship_type = 'contains') AS was_placed
    FROM (SELECT DISTINCT device_id FROM arrivals) a
    JOIN entities d ON d.kind IN ('device', 'equipment') AND d.key = a.device_id
    LEFT JOIN relationships r ON r.to_entity = d.id AND r.relationship_type = 'contains' AND r.valid_to IS NULL
"""
_MOVED = """
    WITH ended AS (
        UPDATE relationships r SET valid_to = %(at)s FROM here
        WHERE r.id = here.contained AND here.project_id IS DISTINCT FROM %(project)s
        RETURNING r.id, r.from_entity, r.to_entity
    )
    INSERT INTO events (event_type, entity_id, entity_type, entity_key, organisation_id, data, actor, source)
    SELECT 'relationship.ended', d.id, d.entity_type, d.key, %(organisation)s,
           jsonb_build_object('by', 'registration', 'relationship_type', 'contains', 'relationship_id', ended.id,
                              'from_entity', ended.from_entity),
           %(actor)s, 'weir'
    FROM ended JOIN entities d ON d.id = ended.to_entity
"""
_CONTAINED = """
    WITH begun AS (
        INSERT INTO relationships (from_entity, to_entity, relationship_type, valid_from, organisation_id)
        SELECT %(project)s, here.id, 'contains', CASE WHEN here.was_placed THEN %(at)s ELSE '-infinity' END,
               %(organisation)s
        FROM here WHERE here.project_id IS DISTINCT FROM %(project)s
        RETURNING id, to_entity
    )
    INSERT INTO events (event_type, entity_id, entity_type, entity_key, organisation_id, data, actor, source)
    SELECT 'relationship.created', d.id, d.entity_type, d.key, %(organisation)s,
           jsonb_build_object('by', 'registration', 'relationship_type', 'contains', 'relationship_id', begun.id,
                              'from_entity', %(project)s::uuid),
           %(actor)s, 'weir'
    FROM begun JOIN entities d ON d.id = begun.to_entity
"""
_SENSORS = """
    WITH changed AS (
        INSERT INTO entities AS known
            (entity_type, key, properties, organisation_id, parent_id, created_at, updated_at)
        SELECT 'sensor', a.sensor,
               jsonb_strip_nulls(jsonb_build_object(
                   'metric', a.metric, 'unit', a.unit, 'min_value', a.min_value, 'max_value', a.max_value)),
               %(organisation)s, here.id, %(at)s, %(at)s
        FROM arrivals a JOIN here ON here.device_id = a.device_id
        ON CONFLICT (parent_id, key) WHERE entity_type = 'sensor' DO UPDATE
        SET properties = (known.properties - '{metric,unit,min_value,max_value}'::text[]) || excluded.properties,
            is_active = true, updated_at = %(at)s
        -- who registers itself does not bring back what somebody has retired
        WHERE CASE WHEN known.is_active
                   THEN (known.properties - '{metric,unit,min_value,max_value}'::text[]) || excluded.properties
                        IS DISTINCT FROM known.properties
                   ELSE %(status)s <> 'pending' END
        RETURNING id, key, properties, xmax = 0 AS is_new
    )
    INSERT INTO events (event_type, entity_id, entity_type, entity_key, organisation_id, data, actor, source)
    SELECT CASE WHEN is_new THEN 'sensor.created' ELSE 'sensor.updated' END, id, 'sensor', key, %(organisation)s,
           jsonb_build_object('by', 'registration', 'properties', properties), %(actor)s, 'weir'
    FROM changed
"""
_EVENTS = """
    INSERT INTO events (event_type, entity_id, entity_type, entity_key, organisation_id, data, actor, source)
    SELECT split_part(c.entity_type, '.', 1) || CASE WHEN c.is_new THEN '.created' ELSE '.updated' END,
           c.id, c.entity_type, c.key, %(organisation)s, '{"by": "registration"}', %(actor)s, 'weir'
    FROM changed_devices c
"""
_IMPORTED = """
    INSERT INTO events (event_type, entity_id, entity_type, entity_key, organisation_id, data, actor, source)
    SELECT 'data.imported', id, entity_type, key, id,
           jsonb_build_object('devices', %(devices)s::bigint, 'sensors', %(sensors)s::bigint), %(actor)s, 'weir'
    FROM entities WHERE id = %(organisation)s
"""


@dataclass(frozen=True, slots=True)
class Registered:
    """How many rows a registration added or changed; what was there already does not count."""

    devices: int
    sensors: int


def register(
    dsn: str,
    organisation: str,
    project: str | None,
    sensors: pl.DataFrame,
    *,
    actor: str = "weir",
    status: str = "offline",
    within_seconds: float | None = None,
) -> Registered:
    """Add or update devices with their sensors, and the organisation, project and metrics they name.

    ``sensors`` has one row a sensor: ``device_id`` and ``sensor``, and optionally ``device_type`` and ``device_name``
    (null: as it is; of a new device 'device' and ''), ``metric`` (null: the sensor's name), ``unit`` (null: the
    metric's), ``min_value``, ``max_value`` (null: the metric's) and ``value_type`` of a metric that is new (null:
    'float'). ``status`` is that of new devices. Another project moves the devices from now on; None leaves them where
    they are. A second registration of the same rows changes nothing and leaves the metadata version as it is. Every
    device, sensor and relationship that is new or changed gets its event, and the call one ``data.imported``.

    One transaction; blocks, three minutes for 1,000,000 devices, and for as long as another transaction that changes
    metadata is open; with ``within_seconds`` no longer than that.

    Raises :class:`UsageError` for a missing, unknown or doubled row or column and for a device of another
    organisation, :class:`TransientError` when Postgres is away, :class:`ConfigError` when the tables are missing.
    """
    arrivals = _arrivals(sensors)
    with connection(dsn, within_seconds=within_seconds) as conn:
        conn.execute("SELECT version FROM metadata_version FOR NO KEY UPDATE")
        organisation_id = _organisation(conn, organisation, actor)
        values: dict[str, object] = {
            "organisation": organisation_id,
            "project": _project(conn, organisation_id, organisation, project, actor) if project is not None else None,
            "status": status,
            "actor": actor,
            "at": _clock(conn),
        }
        conn.execute(_ARRIVALS)
        with conn.cursor().copy("COPY arrivals FROM STDIN (FORMAT csv)") as copy:
            copy.write(_csv(arrivals))
        conn.execute("ANALYZE arrivals")
        foreign = conn.execute(_FOREIGN, values).fetchone()
        if foreign:
            raise UsageError(f"Device {foreign[0]} belongs to organisation {foreign[1]}; register it there.")
        return _store(conn, values)


def _store(conn: psycopg.Connection, values: dict[str, object]) -> Registered:
    conn.execute(_METRICS)
    conn.execute(_WANTED)
    conn.execute("ANALYZE wanted")
    devices = conn.execute(_KNOWN_DEVICES, values).rowcount + conn.execute(_NEW_DEVICES, values).rowcount
    conn.execute(_HERE)
    conn.execute("ANALYZE here")
    # a plan made while the tables are small, as those of foreign keys are, would read them whole for every row
    conn.execute("SET LOCAL enable_seqscan = off")
    # one project a device, of the same organisation, and no cycle: that holds of the whole set
    conn.execute("SET LOCAL weir.bulk = 'on'")
    moved = 0
    if values["project"] is not None:
        conn.execute(_MOVED, values)
        moved = conn.execute(_CONTAINED, values).rowcount
    sensors = conn.execute(_SENSORS, values).rowcount
    conn.execute(_EVENTS, values)
    # a device that only moved is in no other count
    changed = max(devices, moved)
    if changed or sensors:
        conn.execute(_IMPORTED, values | {"devices": changed, "sensors": sensors})
    if sensors > MANY_ROWS:
        conn.execute("ANALYZE entities, relationships")
    return Registered(changed, sensors)


def _clock(conn: psycopg.Connection) -> object:
    """The instant of all that is written; not now(), which is when the wait for other writers began.

    Lists go by created_at: an earlier one would put what is new on a page that somebody has read already.
    """
    row = conn.execute("SELECT clock_timestamp()").fetchone()
    return row and row[0]


def _organisation(conn: psycopg.Connection, slug: str, actor: str) -> UUID:
    return _made(
        conn,
        "WITH fresh AS (SELECT gen_random_uuid() AS id) "
        "INSERT INTO entities (id, entity_type, key, name, organisation_id, created_at, updated_at) "
        "SELECT id, 'organisation', %(key)s, %(key)s, id, clock_timestamp(), clock_timestamp() FROM fresh "
        "ON CONFLICT (kind, key) WHERE entity_type IN ('organisation', 'project', 'user') DO NOTHING",
        {"key": slug, "kind": "organisation", "actor": actor},
    )


def _project(conn: psycopg.Connection, organisation: UUID, slug: str, project: str, actor: str) -> UUID:
    found = _made(
        conn,
        "INSERT INTO entities (entity_type, key, name, organisation_id, created_at, updated_at) "
        "VALUES ('project', %(key)s, %(key)s, %(organisation)s, clock_timestamp(), clock_timestamp()) "
        "ON CONFLICT (kind, key) WHERE entity_type IN ('organisation', 'project', 'user') DO NOTHING",
        {"key": project, "kind": "project", "actor": actor, "organisation": organisation},
    )
    owner = conn.execute(
        "SELECT o.key FROM entities p JOIN entities o ON o.id = p.organisation_id WHERE p.id = %s", [found]
    ).fetchone()
    if owner != (slug,):
        raise UsageError(f"Project {project} belongs to organisation {owner and owner[0]}; choose another id.")
    return found


def _made(conn: psycopg.Connection, insert: LiteralString, values: dict[str, object]) -> UUID:
    """Id of an organisation or project, made now when it is missing, with its event."""
    if conn.execute(insert, values).rowcount:
        conn.execute(
            "INSERT INTO events (event_type, entity_id, entity_type, entity_key, organisation_id, actor, source) "
            "SELECT kind || '.created', id, entity_type, key, organisation_id, %(actor)s, 'weir' FROM entities "
            "WHERE entity_type = %(kind)s AND key = %(key)s",
            values,
        )
    row = conn.execute("SELECT id FROM entities WHERE entity_type = %(kind)s AND key = %(key)s", values).fetchone()
    if row is None:
        raise UsageError(f"The {values['kind']} {values['key']} vanished while it was registered; try again.")
    return UUID(str(row[0]))


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
        "device_type",
        "device_name",
        pl.col("metric").fill_null(pl.col("sensor")),
        "unit",
        "min_value",
        "max_value",
        pl.col("value_type").fill_null("float"),
    )
    doubled = full.filter(pl.struct("device_id", "sensor").is_duplicated())
    if doubled.height:
        raise UsageError(f"Sensor {doubled['sensor'][0]} of device {doubled['device_id'][0]} is given twice.")
    for device_type in full["device_type"].drop_nulls().unique().sort():
        if not DEVICE_TYPE.fullmatch(device_type):
            raise UsageError(f"Device type {device_type!r} sends no readings; it must be device or device.<what>.")
    return full


def _csv(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_csv(buffer, include_header=False)
    return buffer.getvalue()
