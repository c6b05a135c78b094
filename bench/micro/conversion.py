"""What conversion costs a reading: ``POLARS_MAX_THREADS=1 python -m bench.micro.conversion [readings]``.

Converting, judging and enriching one block as the readings stage does, for blocks that need nothing, other units, or
other types. Decoding and looking up the series come before and cost the same in all of them.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import polars as pl

from bench.micro.codec import stage
from connectors.postgres.metadata import METRIC_SCHEMA, SENSOR_SCHEMA, Metadata
from streams.telemetry.convert import Converter
from streams.telemetry.enrich import points_of, raw_rows
from streams.telemetry.registered import Registered
from streams.telemetry.series import ActiveSeries
from streams.telemetry.validate import judge

SENSORS = {"temperature": "celsius", "humidity": "percent", "pressure": "hPa", "co2": "ppm"}
OTHER = {"temperature": "degF", "humidity": "1", "pressure": "kPa", "co2": "ppb"}
DEVICES = 1_000
NOW = 1_790_000_000_000
RECIPE = {"type": "object", "required": ["step"], "properties": {"step": {"type": "integer"}}}


def active_series(**changes: Any) -> ActiveSeries:
    """Series of all devices and sensors; ``changes`` are columns of the sensors."""
    rows = [
        dict.fromkeys(SENSOR_SCHEMA)
        | {"device_id": f"dev-{device:06d}", "sensor": sensor, "org_id": "acme", "project_id": "p", "metric": sensor}
        | {"device_type": "device", "unit": unit, "sensor_unit": unit, "value_type": "float", "mark_bounds": False}
        | {"min_value": -1e6, "max_value": 1e6, "own_min": False, "own_max": False}
        | changes
        for device in range(DEVICES)
        for sensor, unit in SENSORS.items()
    ]
    metrics = [
        dict.fromkeys(METRIC_SCHEMA)
        | {"name": sensor, "value_type": changes.get("value_type", "float"), "unit": unit}
        | {"json_schema": json.dumps(RECIPE), "enum_values": json.dumps(["on", "off"])}
        for sensor, unit in SENSORS.items()
    ]
    sensors = pl.DataFrame(rows, schema=SENSOR_SCHEMA)
    return ActiveSeries(Registered(Metadata(1, sensors, metrics=pl.DataFrame(metrics, schema=METRIC_SCHEMA)), 37))


def block(count: int, units: dict[str, str] | None = None, texts: list[str] | None = None) -> pl.DataFrame:
    """Readings in a random order of series; ``units`` are what they name by sensor."""
    rng = np.random.default_rng(1)
    sensors = rng.choice(list(SENSORS), count)
    frame = pl.DataFrame(
        {
            "device_id": [f"dev-{each:06d}" for each in rng.integers(0, DEVICES, count)],
            "sensor": sensors,
            "ts": NOW - rng.integers(0, 60_000, count),
            "value": rng.normal(20, 5, count).round(1),
            "seq": np.arange(count),
        }
    )
    nothing = ("str_value", "status_code", "unit", "quality", "battery_level", "fw_ver", "source")
    frame = frame.with_columns(
        pl.lit(None, pl.Int64 if name == "status_code" else pl.String).alias(name) for name in nothing
    )
    if units is not None:
        frame = frame.with_columns(unit=pl.Series(sensors).replace_strict(units))
    if texts is not None:
        frame = frame.with_columns(
            pl.lit(None, pl.Float64).alias("value"), str_value=pl.Series(rng.choice(texts, count))
        )
    return frame


def measure(name: str, series: ActiveSeries, frame: pl.DataFrame, times: int = 30) -> None:
    """Print the cost with and without conversion."""
    count = len(frame)
    codes, offsets, append = series.encode(frame), np.arange(count), np.full(count, NOW)
    converter = Converter(series)

    def rest(converted: pl.DataFrame) -> None:
        judge(converted, codes, append, series, 0)
        dims = series.dims_at(codes, converted["ts"].to_numpy())
        raw_rows(converted, dims, offsets, append, 0)
        points_of(converted, codes, offsets, append)

    def all_of_it() -> None:
        rest(converter.mark(converter.convert(frame, codes).frame, codes))

    stage(f"{name}: judge and enrich alone", count, lambda: rest(frame), times)
    stage(f"{name}: convert alone", count, lambda: converter.convert(frame, codes), times)
    stage(f"{name}: convert, judge, enrich", count, all_of_it, times)


if __name__ == "__main__":
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    measure("floats that name no unit", active_series(), block(size))
    measure("floats that name their base unit", active_series(), block(size, SENSORS))
    half = block(size, SENSORS).with_columns(unit=pl.when(pl.int_range(pl.len()) % 2 == 0).then("unit"))
    measure("floats of which half name their base unit", active_series(), half)
    measure("floats in another unit", active_series(), block(size, OTHER))
    measure("marked bounds", active_series(mark_bounds=True), block(size))
    measure("enum", active_series(value_type="enum"), block(size, texts=["on", "off"]))
    steps = [json.dumps({"step": step}) for step in range(100)]
    measure("JSON, 100 different texts", active_series(value_type="json"), block(size, texts=steps), 3)
