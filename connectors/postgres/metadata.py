"""What a worker knows of devices: every sensor with its owner, metric, unit and bounds, in one frame.

A worker loads the whole once and then only what changed: every row carries the transaction that wrote it, and what no
earlier snapshot can have seen was written by a transaction at or after that snapshot's horizon.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import polars as pl
import psycopg

from connectors.postgres.connection import connection
from weir.errors import ConfigError

VERSION_SECONDS = 5.0
"""A row from a server that answers; readings of unknown devices wait for it."""

LOAD_SECONDS = 120.0
"""7 s were measured for a million devices."""

MOST_CHANGED = 100_000
"""Devices beyond which loading everything is quicker than loading what changed."""

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
    "sensor_unit": pl.String(),
    "own_min": pl.Boolean(),
    "own_max": pl.Boolean(),
    "value_type": pl.String(),
    "mark_bounds": pl.Boolean(),
}
"""Columns of :attr:`Metadata.sensors`, in order."""

MOVE_SCHEMA: dict[str, pl.DataType] = {
    "device_id": pl.String(),
    "project_id": pl.String(),
    "from_ms": pl.Int64(),
    "to_ms": pl.Int64(),
    "retention_days": pl.Int32(),
}
"""Columns of :attr:`Metadata.moves`, in order."""

METRIC_SCHEMA: dict[str, pl.DataType] = {
    "name": pl.String(),
    "value_type": pl.String(),
    "unit": pl.String(),
    "min_value": pl.Float64(),
    "max_value": pl.Float64(),
    "bounds_action": pl.String(),
    "enum_values": pl.String(),
    "json_schema": pl.String(),
    "description": pl.String(),
}
"""Columns of :attr:`Metadata.metrics`, in order; ``enum_values`` is a JSON list, null where there is none."""

POLICY_SCHEMA: dict[str, pl.DataType] = {"org_id": pl.String(), "prefix": pl.String(), "most": pl.Int64()}
"""Columns of :attr:`Metadata.policies`, in order."""

# devices without a sensor have one row with an empty sensor, so that they are known
_SENSORS = """
    SELECT d.key, s.key, o.key, coalesce(p.key, ''), d.entity_type, s.metric, m.unit,
           coalesce((s.properties ->> 'min_value')::double precision, m.min_value),
           coalesce((s.properties ->> 'max_value')::double precision, m.max_value),
           (p.properties #>> '{{settings,data_retention_days}}')::numeric::integer,
           coalesce(s.properties ->> 'unit', m.unit),
           coalesce(jsonb_typeof(s.properties -> 'min_value') = 'number', false),
           coalesce(jsonb_typeof(s.properties -> 'max_value') = 'number', false),
           m.value_type, m.bounds_action = 'mark'
    FROM entities d
    JOIN entities o ON o.id = d.organisation_id
    LEFT JOIN entities s ON s.parent_id = d.id AND s.entity_type = 'sensor' AND s.is_active
    LEFT JOIN metrics m ON m.name = s.metric
    LEFT JOIN relationships r ON r.to_entity = d.id AND r.relationship_type = 'contains' AND r.valid_to IS NULL
    LEFT JOIN entities p ON p.id = r.from_entity
    WHERE d.kind IN ('device', 'equipment') AND d.is_active {only}
"""
_MOVES = """
    SELECT d.key, p.key,
           CASE WHEN r.valid_from = '-infinity' THEN -(2::numeric ^ 62)
                WHEN r.valid_from = 'infinity' THEN 2::numeric ^ 62
                ELSE floor(extract(epoch FROM r.valid_from) * 1000) END::bigint,
           CASE WHEN r.valid_to IS NULL OR r.valid_to = 'infinity' THEN 2::numeric ^ 62
                ELSE floor(extract(epoch FROM r.valid_to) * 1000) END::bigint,
           (p.properties #>> '{{settings,data_retention_days}}')::numeric::integer
    FROM relationships r
    JOIN entities d ON d.id = r.to_entity AND d.kind IN ('device', 'equipment') AND d.is_active
    JOIN entities p ON p.id = r.from_entity
    WHERE r.relationship_type = 'contains' AND (r.valid_from > '-infinity' OR r.valid_to IS NOT NULL) {only}
"""
_METRICS = """
    SELECT name, value_type, unit, min_value, max_value, bounds_action,
           -- an array may hold nulls and arrays
           CASE WHEN enum_values IS NOT NULL
                THEN array_to_json(ARRAY(SELECT word FROM unnest(enum_values) AS word WHERE word IS NOT NULL)) END,
           json_schema, description
    FROM metrics ORDER BY name
"""
_POLICIES = """
    SELECT key, coalesce(properties #>> '{unknown_devices,prefix}', ''),
           CASE WHEN jsonb_typeof(properties #> '{unknown_devices,most}') = 'number'
                THEN greatest(0, least((properties #>> '{unknown_devices,most}')::numeric, 1000000))::bigint
                ELSE 1000 END
    FROM entities
    WHERE entity_type = 'organisation' AND is_active
      AND properties #>> '{unknown_devices,policy}' = 'register'
      AND coalesce(properties #>> '{unknown_devices,prefix}', '') <> ''
"""
_TOUCHED = """
    CREATE TEMPORARY TABLE touched ON COMMIT DROP AS
    SELECT id FROM entities WHERE changed_in >= %(horizon)s::xid8 AND kind IN ('device', 'equipment')
    UNION
    SELECT parent_id FROM entities WHERE changed_in >= %(horizon)s::xid8 AND entity_type = 'sensor'
    UNION
    SELECT to_entity FROM relationships WHERE changed_in >= %(horizon)s::xid8 AND relationship_type = 'contains'
    UNION
    SELECT r.to_entity FROM entities p JOIN relationships r ON r.from_entity = p.id AND r.relationship_type = 'contains'
    WHERE p.changed_in >= %(horizon)s::xid8 AND p.entity_type = 'project'
    UNION
    SELECT s.parent_id FROM metrics m JOIN entities s ON s.metric = m.name AND s.entity_type = 'sensor'
    WHERE m.changed_in >= %(horizon)s::xid8
    LIMIT %(most)s + 1
"""
_ONLY_TOUCHED = "AND d.id IN (SELECT id FROM touched)"


@dataclass(frozen=True, slots=True)
class Metadata:
    """A snapshot of all active devices and their sensors, or of those that changed since another one.

    ``version`` is that of the snapshot, see :func:`metadata_version`. ``sensors`` has the columns of
    :data:`SENSOR_SCHEMA`, one row a sensor, sorted by (device_id, sensor) in byte order: ``project_id`` is '' where
    there is none; ``unit`` is the metric's, ``sensor_unit`` what the sensor sends when a reading names none; a null
    bound means none, neither the sensor's nor its metric's, and ``own_min`` and ``own_max`` say that a bound is the
    sensor's, in the sensor's unit; a null ``retention_days`` means the default.

    ``moves`` (:data:`MOVE_SCHEMA`) has the projects of devices that were not always in the one they are in, each from
    ``from_ms`` until before ``to_ms``. ``devices`` are all device ids, also those without a sensor. ``metrics``
    (:data:`METRIC_SCHEMA`) is the whole registry. ``policies`` (:data:`POLICY_SCHEMA`) are the organisations that take
    in unknown devices whose id begins with ``prefix``, at most ``most`` of them.

    ``horizon`` is what the next :func:`load_changes` begins at. ``changed`` are, in a snapshot of changes, the ids of
    the devices about which this is the whole truth; None: of all devices.
    """

    version: int
    sensors: pl.DataFrame
    moves: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=MOVE_SCHEMA))
    devices: pl.Series = field(default_factory=lambda: pl.Series("device_id", [], pl.String))
    metrics: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=METRIC_SCHEMA))
    policies: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=POLICY_SCHEMA))
    horizon: int = 0
    changed: pl.Series | None = None


def load_metadata(dsn: str) -> Metadata:
    """Read all sensors of active devices and the version they belong to, in one snapshot.

    Blocks, about seven seconds for 1,000,000 devices. Raises :class:`TransientError` when Postgres is away and
    :class:`ConfigError` when the tables are missing.
    """
    with connection(dsn, within_seconds=LOAD_SECONDS) as conn:
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        return _whole(conn)


def load_changes(dsn: str, since: Metadata) -> Metadata:
    """Read the devices that changed since a snapshot, in one snapshot; all of them when very many did.

    Blocks; milliseconds for a few devices. Raises as :func:`load_metadata`.
    """
    with connection(dsn, within_seconds=LOAD_SECONDS) as conn:
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        if not _is_of_this_server(conn, since.horizon):
            return _whole(conn)
        conn.execute(_TOUCHED, {"horizon": str(since.horizon), "most": MOST_CHANGED})
        row = conn.execute("SELECT count(*) FROM touched").fetchone()
        if row is None or row[0] > MOST_CHANGED:
            return _whole(conn)
        conn.execute("ANALYZE touched")
        ids = conn.execute("SELECT e.key FROM touched JOIN entities e USING (id)").fetchall()
        return _snapshot(conn, pl.Series("device_id", [key for (key,) in ids], pl.String))


def metadata_version(dsn: str) -> int:
    """The number that grows with every change of the metadata; opens a connection, asks once, closes it."""
    with connection(dsn, within_seconds=VERSION_SECONDS) as conn:
        return _version(conn)


def _is_of_this_server(conn: psycopg.Connection, horizon: int) -> bool:
    """Whether transactions have come so far; a database restored into another server numbers them anew."""
    row = conn.execute("SELECT %s::text::xid8 <= pg_snapshot_xmax(pg_current_snapshot())", [str(horizon)]).fetchone()
    return row == (True,)


def _whole(conn: psycopg.Connection) -> Metadata:
    # after a bulk load without statistics the planner would look up a million devices one by one
    conn.execute("SET LOCAL enable_nestloop = off")
    return _snapshot(conn, None)


def _snapshot(conn: psycopg.Connection, changed: pl.Series | None) -> Metadata:
    version = _version(conn)
    horizon = conn.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text").fetchone()
    only = _ONLY_TOUCHED if changed is not None else ""
    sensors = _copied(conn, _SENSORS.format(only=only), SENSOR_SCHEMA)
    texts = pl.col("project_id", "unit", "sensor_unit", "value_type")
    return Metadata(
        version,
        sensors.filter(pl.col("sensor").is_not_null()).with_columns(texts.fill_null("")).sort("device_id", "sensor"),
        _copied(conn, _MOVES.format(only=only), MOVE_SCHEMA),
        sensors["device_id"].unique(),
        _copied(conn, _METRICS, METRIC_SCHEMA).with_columns(pl.col("unit", "description").fill_null("")),
        _copied(conn, _POLICIES, POLICY_SCHEMA),
        int(horizon[0]) if horizon else 0,
        changed,
    )


def _version(conn: psycopg.Connection) -> int:
    row = conn.execute("SELECT version FROM metadata_version").fetchone()
    if row is None:
        raise ConfigError("The table metadata_version is empty; run `weir migrate` on a database of its own.")
    return int(row[0])


def _copied(conn: psycopg.Connection, query: str, schema: dict[str, pl.DataType]) -> pl.DataFrame:
    """Rows of a query by COPY; an unquoted empty field is null, as CSV has it."""
    rows = io.BytesIO()
    with conn.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT csv)".encode()) as copy:
        for chunk in copy:
            rows.write(chunk)
    if not rows.tell():
        return pl.DataFrame(schema=schema)
    rows.seek(0)
    booleans = [name for name, dtype in schema.items() if dtype == pl.Boolean()]
    read = {name: pl.String() if name in booleans else dtype for name, dtype in schema.items()}
    frame = pl.read_csv(rows, has_header=False, schema=read)
    return frame.with_columns((pl.col(name) == "t").fill_null(False) for name in booleans)
