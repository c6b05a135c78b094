"""What is registered after any changes is what a fresh load of the same metadata says."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from connectors.postgres.metadata import MOVE_SCHEMA, SENSOR_SCHEMA, Metadata
from streams.telemetry import registered as module
from streams.telemetry.registered import DIMS_SCHEMA, Registered
from streams.telemetry.series import ActiveSeries

DEVICES = ["a", "b", "c", "d"]
SENSORS = ["t", "h"]
DAYS = 37

World = dict[str, dict[str, tuple[str, float | None, int | None]]]
"""Device → sensor → project, lower bound, days that the project keeps."""

details = st.tuples(st.sampled_from(["p", "q", ""]), st.none() | st.floats(0, 9), st.none() | st.integers(1, 50))
devices = st.dictionaries(st.sampled_from(SENSORS), details, max_size=2)
worlds = st.dictionaries(st.sampled_from(DEVICES), devices, max_size=4)


def snapshot(world: World, only: set[str] | None = None, version: int = 1) -> Metadata:
    rows = [
        dict.fromkeys(SENSOR_SCHEMA)
        | {"device_id": device, "sensor": sensor, "org_id": "o", "project_id": project, "device_type": "device"}
        | {"metric": sensor, "unit": "u", "sensor_unit": "u", "value_type": "float", "mark_bounds": False}
        | {"own_min": False, "own_max": False, "min_value": low, "retention_days": days if project else None}
        for device, sensors in sorted(world.items())
        if only is None or device in only
        for sensor, (project, low, days) in sorted(sensors.items())
    ]
    moves = [
        {"device_id": device, "project_id": "old", "from_ms": -(2**62), "to_ms": 100 * version, "retention_days": 3}
        for device in sorted(world)
        if (only is None or device in only) and len(world[device]) == 2
    ]
    return Metadata(
        version,
        pl.DataFrame(rows, schema=SENSOR_SCHEMA),
        pl.DataFrame(moves, schema=MOVE_SCHEMA),
        pl.Series("device_id", sorted(d for d in world if only is None or d in only), pl.String),
        horizon=version,
        changed=None if only is None else pl.Series("device_id", sorted(only), pl.String),
    )


ALL = pl.DataFrame(
    [(device, sensor) for device in [*DEVICES, "nobody"] for sensor in [*SENSORS, "x"]],
    schema={"device_id": pl.String, "sensor": pl.String},
    orient="row",
)


def told(registered: Registered) -> list[object]:
    rows = registered.rows(ALL)
    known = registered.dims(rows[rows >= 0]).cast({n: pl.String for n, d in DIMS_SCHEMA.items() if d == pl.Categorical})
    moves = registered.moves.sort("device_id", "from_ms").rows()
    devices = registered.knows_device(pl.Series([*DEVICES, "nobody"])).tolist()
    return [(rows >= 0).tolist(), known.rows(), devices, moves]


@given(st.lists(worlds, min_size=1, max_size=5), st.sampled_from([0, 2, 1000]))
def test_changes_one_after_another_give_what_a_fresh_load_gives(steps: list[World], most_changed: int) -> None:
    with patch.object(module, "MOST_CHANGED", most_changed):
        registered = Registered(snapshot(steps[0]), DAYS)
        series = ActiveSeries(registered)
        before = steps[0]
        for version, world in enumerate(steps[1:], start=2):
            changed = {device for device in {*before, *world} if before.get(device) != world.get(device)}
            # the end of the old project depends on the version: all that have one are told anew
            changed |= {device for device, sensors in world.items() if len(sensors) == 2}
            series.encode(ALL)
            registered = registered.updated(snapshot(world, changed, version))
            series.refresh(registered)
            fresh = Registered(snapshot(world, version=version), DAYS)
            assert told(registered) == told(fresh)
            assert (series.encode(ALL) >= 0).tolist() == (fresh.rows(ALL) >= 0).tolist()
            before = world


@given(st.lists(st.integers(-50, 400), min_size=1, max_size=30), st.lists(st.integers(0, 390), max_size=4, unique=True))
def test_the_project_of_a_reading_is_the_one_its_device_was_in_when_it_was_measured(
    times: list[int], moved_at: list[int]
) -> None:
    bounds = [-(2**62), *sorted(moved_at), 2**62]
    intervals = [
        {"device_id": "a", "project_id": f"p{number}", "from_ms": begin, "to_ms": end, "retention_days": number + 1}
        for number, (begin, end) in enumerate(zip(bounds, bounds[1:], strict=False))
        if number != 1  # the device was in no project for a while
    ]
    metadata = snapshot({"a": {"t": ("now", None, 9)}, "b": {"t": ("other", None, 9)}})
    series = ActiveSeries(Registered(replace(metadata, moves=pl.DataFrame(intervals, schema=MOVE_SCHEMA)), DAYS))
    names = pl.DataFrame({"device_id": ["a", "b"] * len(times), "sensor": ["t"] * 2 * len(times)})
    ts = np.repeat(np.array(times, dtype=np.int64), 2)
    dims = series.dims_at(series.encode(names), ts)

    def place(device: str, at: int) -> tuple[str, int]:
        if device == "b":
            return "other", 9
        for each in intervals:
            if each["from_ms"] <= at < each["to_ms"]:  # type: ignore[operator]
                return str(each["project_id"]), min(int(str(each["retention_days"])), DAYS)
        return "", DAYS

    expected = [place(device, int(at)) for device, at in zip(names["device_id"], ts, strict=True)]
    assert dims.select(pl.col("project_id").cast(pl.String), "retention_days").rows() == expected
    assert series.retention_days(series.encode(names), ts).tolist() == [days for _, days in expected]
