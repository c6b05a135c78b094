"""The rules of alerts: thresholds of sensors, and how long devices may be silent. The nearest rule holds."""

from __future__ import annotations

import io
import json
import math
from typing import Any, Final, NamedTuple

import polars as pl
import psycopg

from connectors.postgres.connection import connection

LOAD_SECONDS: Final = 60.0
MOST_FAULTS: Final = 20
MOST_FOR_SECONDS: Final = 3_600
"""Of a threshold: a worker that starts reads so much of every sensor with such a rule again."""

MOST_SILENT_SECONDS: Final = 31 * 86_400
"""Longest duration and longest silence: a worker that starts looks back so far."""

THRESHOLD_SCHEMA: Final = pl.Schema(
    {
        "device_id": pl.String(),
        "sensor": pl.String(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "hysteresis": pl.Float64(),
        "for_ms": pl.Int64(),
    }
)
SILENCE_SCHEMA: Final = pl.Schema(
    {"device_id": pl.String(), "org_id": pl.String(), "project_id": pl.String(), "silent_ms": pl.Int64()}
)

_PROJECT: Final = """
    LEFT JOIN relationships r
        ON r.to_entity = d.id AND r.relationship_type = 'contains' AND r.valid_from <= now()
       AND (r.valid_to IS NULL OR r.valid_to > now())
    LEFT JOIN entities p ON p.id = r.from_entity
"""
# what is no object is handed over whole, so that it can be named
_THRESHOLDS: Final = """
    COPY (
        SELECT * FROM (
            SELECT d.key, s.key, p.key, nullif(s.properties -> 'alert', 'null') AS own,
                   coalesce(CASE WHEN jsonb_typeof(of_device) NOT IN ('object', 'null') THEN of_device END,
                            nullif(of_device -> s.key, 'null'), nullif(of_device -> s.metric, 'null')) AS of_device,
                   coalesce(CASE WHEN jsonb_typeof(of_project) NOT IN ('object', 'null') THEN of_project END,
                            nullif(of_project -> s.key, 'null'), nullif(of_project -> s.metric, 'null')) AS of_project
            FROM entities s JOIN entities d ON d.id = s.parent_id AND d.is_active {project}
            CROSS JOIN LATERAL (SELECT d.properties #> '{{config,alertThresholds}}' AS of_device,
                                       p.properties #> '{{settings,alert_thresholds}}' AS of_project) AS farther
            WHERE s.entity_type = 'sensor' AND s.is_active
              AND (%(devices)s::text[] IS NULL OR d.key = ANY (%(devices)s::text[]))
        ) AS rules WHERE own IS NOT NULL OR of_device IS NOT NULL OR of_project IS NOT NULL
    ) TO STDOUT (FORMAT csv)
"""
_SILENCES: Final = """
    COPY (
        SELECT * FROM (
            SELECT d.key, o.key, coalesce(p.key, ''),
                   nullif(d.properties #> '{{config,silentAfterSeconds}}', 'null') AS of_device,
                   nullif(p.properties #> '{{settings,silent_after_seconds}}', 'null') AS of_project
            FROM entities d JOIN entities o ON o.id = d.organisation_id {project}
            WHERE d.kind IN ('device', 'equipment') AND d.is_active
              AND (%(devices)s::text[] IS NULL OR d.key = ANY (%(devices)s::text[]))
        ) AS rules WHERE of_device IS NOT NULL OR of_project IS NOT NULL
    ) TO STDOUT (FORMAT csv)
"""


class AlertRules(NamedTuple):
    """``thresholds`` has one row a sensor with a rule, ``silences`` one a device; a null bound means none.

    ``faults`` are sentences that name entities whose rules cannot be read: those rules are left out.
    """

    thresholds: pl.DataFrame
    silences: pl.DataFrame
    faults: list[str]


class MalformedRuleError(ValueError):
    """A rule that says nothing that could be judged."""


def load_rules(dsn: str, devices: pl.Series | None = None) -> AlertRules:
    """Read the rules of the active ones of these devices and their sensors, or of all, in one snapshot.

    Blocks. Raises :class:`~weir.errors.TransientError` when Postgres is away and :class:`~weir.errors.ConfigError` when
    the tables are missing.
    """
    with connection(dsn, within_seconds=LOAD_SECONDS) as conn:
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        conn.read_only = True
        if devices is None:  # after a bulk load without statistics the planner would look up every sensor one by one
            conn.execute("SET LOCAL enable_nestloop = off")
        only = {"devices": None if devices is None else devices.to_list()}
        sensors = _copied(conn, _THRESHOLDS, only, ["device_id", "sensor", "project", "own", "of_device", "of_project"])
        silent = _copied(conn, _SILENCES, only, ["device_id", "org_id", "project_id", "of_device", "of_project"])
    thresholds, of_sensors = nearest_thresholds(sensors)
    silences, of_devices = nearest_silences(silent)
    return AlertRules(thresholds, silences, [*of_sensors, *of_devices])


def nearest_thresholds(sensors: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """The rule that holds for each sensor, of the JSON texts ``own``, ``of_device`` and ``of_project``, and faults.

    A rule without bounds says that there is none, also when the project has one.
    """
    levels = {
        "own": pl.format("Sensor {} of device {}", "sensor", "device_id"),
        "of_device": pl.format("Device {}", "device_id"),
        "of_project": pl.format("Project {}", "project"),
    }
    chosen, parsed, faults = _nearest(sensors, levels, read_threshold)
    rules = pl.DataFrame(
        [(text, *rule) for text, rule in parsed.items()],
        schema={"chosen": pl.String(), **dict(list(THRESHOLD_SCHEMA.items())[2:])},
        orient="row",
    )
    found = chosen.join(rules, on="chosen").filter(pl.col("low").is_not_null() | pl.col("high").is_not_null())
    return found.select(THRESHOLD_SCHEMA.names()).sort("device_id", "sensor"), faults


def nearest_silences(devices: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """How long each device may be silent, of the JSON texts ``of_device`` and ``of_project``, and faults."""
    levels = {"of_device": pl.format("Device {}", "device_id"), "of_project": pl.format("Project {}", "project_id")}
    chosen, parsed, faults = _nearest(devices, levels, read_silence)
    rules = pl.DataFrame(list(parsed.items()), schema={"chosen": pl.String, "silent_ms": pl.Int64}, orient="row")
    found = chosen.join(rules, on="chosen").filter(pl.col("silent_ms") > 0)
    return found.select(SILENCE_SCHEMA.names()).sort("device_id"), faults


def read_threshold(text: str) -> tuple[float | None, float | None, float, int]:
    """Low, high, hysteresis and duration (ms) of one rule; raises :class:`MalformedRuleError`, which says why."""
    rule = json.loads(text)
    if not isinstance(rule, dict):
        raise MalformedRuleError('it should look like {"min": 15, "max": 30}')
    low, high = _number(rule, "min"), _number(rule, "max")
    hysteresis, seconds = _number(rule, "hysteresis") or 0.0, _number(rule, "for_seconds") or 0.0
    if low is not None and high is not None and low > high:
        raise MalformedRuleError(f"its min {low:g} is above its max {high:g}")
    if hysteresis < 0 or (low is not None and high is not None and hysteresis > high - low):
        raise MalformedRuleError(f"its hysteresis {hysteresis:g} is negative, or wider than what lies within")
    if not 0 <= seconds <= MOST_FOR_SECONDS:
        raise MalformedRuleError(f"its for_seconds {seconds:g} is not between 0 and {MOST_FOR_SECONDS}")
    return low, high, hysteresis, round(seconds * 1000)


def read_silence(text: str) -> int:
    """Milliseconds that a device may be silent, 0: for ever; raises :class:`MalformedRuleError`, which says why."""
    seconds = _number({"it": json.loads(text)}, "it") or 0.0
    if not 0 <= seconds <= MOST_SILENT_SECONDS:
        raise MalformedRuleError(f"its silence of {seconds:g} seconds is not between 0 and {MOST_SILENT_SECONDS}")
    return round(seconds * 1000)


def _number(rule: dict[str, Any], name: str) -> float | None:
    value = rule.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e150 or math.isnan(value):
        raise MalformedRuleError(f"its {name} is {json.dumps(value)[:50]}, not a number")
    return float(value)


def _nearest(
    frame: pl.DataFrame, levels: dict[str, pl.Expr], read: Any
) -> tuple[pl.DataFrame, dict[str, Any], list[str]]:
    """Each distinct text is read once; the first level of a row whose text can be read is ``chosen``."""
    texts = pl.concat([frame[level] for level in levels]).drop_nulls().unique().to_list()
    parsed: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for text in texts:
        try:
            parsed[text] = read(text)
        except MalformedRuleError as error:
            wrong[text] = str(error)
        except (ValueError, RecursionError):  # Postgres holds thousands of digits and of levels, Python does not
            wrong[text] = "it is too long a number, or nested too deep"
    faults: list[str] = []
    for level, named in levels.items():
        broken = frame.filter(pl.col(level).is_in(list(wrong))).select(pl.col(level), named.alias("named")).unique()
        faults += [
            f"{named} has an alert rule that is left out: {wrong[text]}."
            for text, named in broken.sort("named").head(MOST_FAULTS).iter_rows()
        ]
    readable = [pl.when(pl.col(level).is_in(list(parsed))).then(pl.col(level)) for level in levels]
    return frame.with_columns(chosen=pl.coalesce(readable)), parsed, faults


def _copied(conn: psycopg.Connection, query: str, only: dict[str, Any], names: list[str]) -> pl.DataFrame:
    schema = dict.fromkeys(names, pl.String())
    rows = io.BytesIO()
    with conn.cursor().copy(query.format(project=_PROJECT).encode(), only) as copy:
        for chunk in copy:
            rows.write(chunk)
    if not rows.tell():
        return pl.DataFrame(schema=schema)
    rows.seek(0)
    return pl.read_csv(rows, has_header=False, schema=schema)
