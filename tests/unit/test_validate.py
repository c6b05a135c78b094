from typing import Any

import numpy as np
import polars as pl
import pytest

from connectors.postgres.metadata import SENSOR_SCHEMA, Metadata
from streams.telemetry.registered import Registered
from streams.telemetry.series import ActiveSeries
from streams.telemetry.validate import REASONS, explain, judge

NOW = 1_790_000_000_000
DAY = 86_400_000
SKEW = 300_000


def series_of(**changes: Any) -> ActiveSeries:
    sensor = {
        "device_id": "d1",
        "sensor": "temperature",
        "org_id": "acme",
        "project_id": "p",
        "device_type": "device.esp32",
        "metric": "climate.temperature",
        "unit": "celsius",
        "min_value": -40.0,
        "max_value": 125.0,
        "retention_days": 10,
    }
    rows = [sensor | changes, sensor | {"sensor": "note", "min_value": None, "max_value": None}]
    return ActiveSeries(Registered(Metadata(1, pl.DataFrame(rows, schema=SENSOR_SCHEMA)), default_retention_days=37))


def reading(**changes: Any) -> dict[str, Any]:
    return {
        "device_id": "d1",
        "sensor": "temperature",
        "ts": NOW,
        "value": 20.0,
        "str_value": None,
        "status_code": None,
        "unit": None,
        "quality": None,
        "fw_ver": None,
        "source": None,
    } | changes


def verdicts(*readings: dict[str, Any], series: ActiveSeries | None = None) -> list[str]:
    schema = {
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
    frame = pl.DataFrame(list(readings), schema=schema)
    series = series or series_of()
    append = np.full(len(frame), NOW, dtype=np.int64)
    found = judge(frame, series.encode(frame), append, series, SKEW)
    explained = explain(frame, np.flatnonzero(found), found, append)
    assert len(explained) == np.count_nonzero(found)
    assert all("/" in sentence for sentence in explained)
    return [REASONS[verdict] for verdict in found]


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "accepted"),
        ({"device_id": "stranger"}, "unknown_device"),
        ({"sensor": "smell"}, "unknown_sensor"),
        ({"device_id": ""}, "unknown_device"),
        ({"ts": NOW - 10 * DAY}, "accepted"),
        ({"ts": NOW - 10 * DAY - 1}, "too_old"),
        ({"ts": 0}, "too_old"),
        ({"ts": -(2**63)}, "too_old"),
        ({"ts": NOW + SKEW}, "accepted"),
        ({"ts": NOW + SKEW + 1}, "too_far_in_future"),
        ({"ts": 4_070_908_800_000}, "too_far_in_future"),  # 2099
        ({"ts": 2**63 - 1}, "too_far_in_future"),
        ({"value": float("nan")}, "not_finite"),
        ({"value": float("-inf")}, "not_finite"),
        ({"value": None}, "no_value"),
        ({"value": None, "str_value": "open"}, "accepted"),
        ({"value": None, "status_code": 3}, "accepted"),
        ({"value": 125.0}, "accepted"),
        ({"value": 125.5}, "out_of_bounds"),
        ({"value": -40.5}, "out_of_bounds"),
        ({"sensor": "note", "value": 1e150}, "accepted"),
        ({"sensor": "note", "value": -1.1e150}, "out_of_bounds"),
        ({"fw_ver": "v" * 256, "unit": "u", "source": "s", "quality": "q"}, "accepted"),
        ({"fw_ver": "v" * 257}, "too_long"),
        ({"unit": "°" * 129}, "too_long"),
        ({"value": None, "str_value": "x" * 65_536}, "accepted"),
        ({"value": None, "str_value": "x" * 65_537}, "too_long"),
    ],
)
def test_reading_gets_the_verdict_a_person_gives(changes: dict[str, Any], verdict: str) -> None:
    assert verdicts(reading(**changes)) == [verdict]


def test_first_reason_in_the_table_wins() -> None:
    assert verdicts(
        reading(ts=0, value=float("nan")),
        reading(device_id="stranger", ts=0),
        reading(ts=0, value=1e9),
        reading(value=float("inf")),
    ) == ["too_old", "unknown_device", "too_old", "not_finite"]


def test_neighbours_of_refused_readings_are_accepted() -> None:
    found = verdicts(reading(), reading(value=float("nan")), reading(device_id="x"), reading())
    assert found == ["accepted", "not_finite", "unknown_device", "accepted"]


def test_everything_is_unknown_while_nothing_is_registered() -> None:
    empty = ActiveSeries(Registered(Metadata(0, pl.DataFrame(schema=SENSOR_SCHEMA)), default_retention_days=37))
    assert verdicts(reading(), reading(ts=0), series=empty) == ["unknown_device", "unknown_device"]


def test_no_readings_get_no_verdicts() -> None:
    assert verdicts() == []
