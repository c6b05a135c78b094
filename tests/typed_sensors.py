"""Sensors of every type and unit, and readings of them, without a server."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import polars as pl

from connectors.postgres.metadata import METRIC_SCHEMA, SENSOR_SCHEMA, Metadata
from streams.telemetry.registered import Registered
from streams.telemetry.series import ActiveSeries

NOW = 1_790_000_000_000

READING: dict[str, Any] = {
    "device_id": pl.String,
    "sensor": pl.String,
    "ts": pl.Int64,
    "value": pl.Float64,
    "str_value": pl.String,
    "status_code": pl.Int64,
    "unit": pl.String,
    "quality": pl.String,
    "fw_ver": pl.String,
    "source": pl.String,
}

RECIPE = {
    "type": "object",
    "required": ["flour"],
    "properties": {"flour": {"type": "number", "minimum": 0}, "steps": {"type": "array", "items": {"type": "string"}}},
}

METRICS: list[dict[str, Any]] = [
    {"name": "oven.state", "value_type": "enum", "enum_values": json.dumps(["idle", "baking"])},
    {"name": "oven.recipe", "value_type": "json", "json_schema": json.dumps(RECIPE)},
    {"name": "oven.anything", "value_type": "json"},
    {"name": "oven.broken", "value_type": "json", "json_schema": json.dumps({"type": "objekt"})},
    {"name": "oven.elsewhere", "value_type": "json", "json_schema": json.dumps({"$ref": "https://example.com/x"})},
]

SENSORS: dict[str, dict[str, Any]] = {
    "temperature": {"unit": "celsius", "min_value": -40.0, "max_value": 125.0},
    "outside": {"unit": "celsius", "sensor_unit": "degF", "min_value": 32.0, "max_value": 212.0, "own_min": True},
    "pressure": {"unit": "hPa", "max_value": 1200.0, "mark_bounds": True},
    "bare": {},
    "own": {"sensor_unit": "kPa"},
    "doors": {"value_type": "integer", "unit": "count"},
    "length": {"value_type": "integer", "unit": "mm"},
    "valve": {"value_type": "boolean"},
    "note": {"value_type": "string"},
    "state": {"value_type": "enum", "metric": "oven.state"},
    "recipe": {"value_type": "json", "metric": "oven.recipe"},
    "anything": {"value_type": "json", "metric": "oven.anything"},
    "broken": {"value_type": "json", "metric": "oven.broken"},
    "elsewhere": {"value_type": "json", "metric": "oven.elsewhere"},
}


def metadata(*names: str) -> Metadata:
    """The named sensors of device d1, and all metrics."""
    common = {
        "device_id": "d1",
        "org_id": "acme",
        "project_id": "p",
        "device_type": "device",
        "metric": "m",
        "unit": "",
        "own_min": False,
        "own_max": False,
        "value_type": "float",
        "mark_bounds": False,
    }
    rows = [common | {"sensor": name, "sensor_unit": SENSORS[name].get("unit", "")} | SENSORS[name] for name in names]
    sensors = pl.DataFrame([dict.fromkeys(SENSOR_SCHEMA) | row for row in rows], schema=SENSOR_SCHEMA)
    metrics = pl.DataFrame([dict.fromkeys(METRIC_SCHEMA) | metric for metric in METRICS], schema=METRIC_SCHEMA)
    return Metadata(1, sensors, metrics=metrics)


def series_of(*names: str) -> ActiveSeries:
    """The named sensors, or all."""
    return ActiveSeries(_registered(names or tuple(SENSORS)))


@cache
def _registered(names: tuple[str, ...]) -> Registered:
    return Registered(metadata(*names), default_retention_days=37)


def readings(*sent: dict[str, Any]) -> pl.DataFrame:
    """Readings of device d1, of now; what is not given is null."""
    nothing = dict.fromkeys(READING) | {"device_id": "d1", "ts": NOW}
    return pl.DataFrame([nothing | each for each in sent], schema=READING)
