"""Bounds of sensors, in the base units of their metrics."""

from __future__ import annotations

import numpy as np
import polars as pl

from streams.telemetry.unit_conversion import scales

_OWN = (("own_min", "min_value"), ("own_max", "max_value"))


def bounds_in_base(sensors: pl.DataFrame) -> pl.DataFrame:
    """Return the sensors' frame with every bound of a sensor's own in the base unit of its metric.

    A sensor states its own bounds (``own_min``, ``own_max``) in the unit in which it sends (``sensor_unit``); they are
    no longer marked as its own when they have been converted, so a second call changes nothing. Where the metric has no
    unit, the sensor's becomes the base ``unit``. A bound in a unit that does not convert bounds nothing: the sensor's
    readings are refused for their unit. Costs two comparisons a sensor where every sensor sends in the base unit.
    """
    sensors = sensors.with_columns(
        unit=pl.when(pl.col("unit") == "").then(pl.col("sensor_unit").fill_null("")).otherwise("unit")
    )
    elsewhere = (pl.col("sensor_unit") != pl.col("unit")) & (pl.col("own_min") | pl.col("own_max"))
    rows = sensors.select(elsewhere.fill_null(False).arg_true()).to_series()
    if rows.is_empty():
        return sensors
    some = sensors[rows]
    scale = scales(some["sensor_unit"], some["unit"])
    for own, bound in _OWN:
        stated, is_own = some[bound].cast(pl.Float64).to_numpy(), some[own].fill_null(False).to_numpy()
        # NaN, which numpy makes of a missing bound, is none
        converted = pl.Series(np.where(is_own, scale.apply(stated), stated)).fill_nan(None)
        sensors = sensors.with_columns(
            sensors[bound].clone().scatter(rows, converted), sensors[own].clone().scatter(rows, False)
        )
    return sensors
