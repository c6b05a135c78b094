from typing import Any

import numpy as np
import polars as pl
import pytest

from streams.telemetry.enrich import points_of, raw_rows

SCHEMA = {
    "device_id": pl.String,
    "sensor": pl.String,
    "ts": pl.Int64,
    "value": pl.Float64,
    "str_value": pl.String,
    "status_code": pl.Int64,
    "unit": pl.String,
    "seq": pl.Int64,
    "quality": pl.String,
    "battery_level": pl.Float32,
    "fw_ver": pl.String,
    "source": pl.String,
}


def frame(*readings: dict[str, Any]) -> pl.DataFrame:
    nothing = dict.fromkeys(SCHEMA) | {"device_id": "d", "sensor": "s", "ts": 1_000}
    return pl.DataFrame([nothing | reading for reading in readings], schema=SCHEMA)


def rows(readings: pl.DataFrame) -> pl.DataFrame:
    dims = pl.DataFrame(
        {
            "sensor": ["s"] * len(readings),
            **{name: [name] * len(readings) for name in ("org_id", "project_id", "device_type", "metric", "unit")},
            "retention_days": [9] * len(readings),
            "place": [4] * len(readings),
        },
        schema_overrides={"sensor": pl.Categorical, "unit": pl.Categorical, "org_id": pl.Categorical},
    )
    offsets = np.arange(5, 5 + len(readings), dtype=np.int64)
    return raw_rows(readings, dims, offsets, offsets + 1_700_000_000_000, partition=3)


def test_sent_unit_holds_and_the_registered_one_fills_in() -> None:
    got = rows(frame({"unit": "kelvin"}, {}, {"unit": "kelvin"}))
    assert got["unit"].to_list() == ["kelvin", "unit", "kelvin"]


@pytest.mark.parametrize("other", [[{"unit": "kelvin"}], [{"unit": "kelvin"}, {}], [{}]])
def test_blocks_with_and_without_optional_fields_can_be_joined(other: list[dict[str, Any]]) -> None:
    full = rows(frame({"unit": "u", "fw_ver": "1", "source": "esp32", "quality": "good", "str_value": "x", "seq": 1}))
    joined = pl.concat([full, rows(frame(*other)), full])
    assert len(joined) == 2 + len(other)


def test_text_is_stored_with_value_zero_and_is_no_number() -> None:
    got = rows(frame({"str_value": "open"}, {"value": 0.0}))
    assert got.select("value", "is_number", "str_value").rows() == [(0.0, False, "open"), (0.0, True, "")]


def test_row_says_where_it_came_from() -> None:
    got = rows(frame({"value": 1.5, "seq": 7}))
    assert got.select("partition", "offset", "seq", "retention_days").row(0) == (3, 5, 7, 9)


def test_text_becomes_a_point_that_is_no_number() -> None:
    offsets = np.arange(2, dtype=np.int64)
    points = points_of(frame({"str_value": "open"}, {"value": 2.5}), offsets.astype(np.int32), offsets, offsets)
    assert np.isnan(points.frame["value"][0])
    assert points.frame["value"][1] == 2.5
