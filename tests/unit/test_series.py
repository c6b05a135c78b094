from dataclasses import replace

import numpy as np
import polars as pl

from connectors.postgres.metadata import MOVE_SCHEMA, SENSOR_SCHEMA, Metadata
from streams.telemetry.moves import Moves
from streams.telemetry.registered import Registered
from streams.telemetry.series import ActiveSeries


def registered(version: int, *rows: tuple[str, str, str, int | None]) -> Registered:
    sensors: list[dict[str, object]] = [
        {
            "device_id": device,
            "sensor": sensor,
            "org_id": org,
            "project_id": org + "-p",
            "device_type": "device",
            "metric": sensor,
            "unit": "u",
            "min_value": None,
            "max_value": None,
            "retention_days": days,
        }
        for device, sensor, org, days in rows
    ]
    return Registered(Metadata(version, pl.DataFrame(sensors, schema=SENSOR_SCHEMA)), default_retention_days=37)


def names(*pairs: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame(list(pairs), schema={"device_id": pl.String, "sensor": pl.String}, orient="row")


def test_dimensions_stand_in_the_row_of_the_code() -> None:
    series = ActiveSeries(registered(1, ("a", "t", "acme", None), ("b", "t", "bio", 5)))
    codes = series.encode(names(("b", "t"), ("a", "t"), ("b", "t")))
    assert series.dims[codes]["org_id"].to_list() == ["bio", "acme", "bio"]
    assert series.dims[codes]["retention_days"].to_list() == [5, 37, 5]


def test_project_cannot_keep_readings_longer_than_weir_does() -> None:
    series = ActiveSeries(registered(1, ("a", "t", "acme", 9_999), ("b", "t", "bio", 0)))
    codes = series.encode(names(("a", "t"), ("b", "t")))
    assert series.dims[codes]["retention_days"].to_list() == [37, 1]


def test_new_metadata_is_in_force_after_a_refresh() -> None:
    series = ActiveSeries(registered(1, ("a", "t", "acme", None)))
    assert series.encode(names(("a", "t"), ("c", "t"))).tolist() == [0, -1]
    series.refresh(registered(2, ("a", "t", "moved", None), ("c", "t", "acme", None)))
    codes = series.encode(names(("a", "t"), ("c", "t")))
    assert codes.tolist() == [0, 1]
    assert series.dims["org_id"].to_list() == ["moved", "acme"]


def test_removed_device_is_unknown_but_keeps_its_dimensions_for_open_windows() -> None:
    series = ActiveSeries(registered(1, ("a", "t", "acme", None), ("b", "t", "bio", None)))
    series.encode(names(("a", "t"), ("b", "t")))
    series.refresh(registered(2, ("b", "t", "bio", None)))
    assert series.encode(names(("a", "t"), ("b", "t"))).tolist() == [-1, 1]
    assert series.dims["org_id"].to_list() == ["acme", "bio"]


def test_device_with_another_sensor_is_known() -> None:
    snapshot = registered(1, ("a", "t", "acme", None))
    assert snapshot.knows_device(pl.Series(["a", "z"])).tolist() == [True, False]


def test_aggregates_keep_a_projects_days_and_the_default_elsewhere() -> None:
    snapshot = registered(1, ("a", "t", "acme", 5), ("b", "t", "bio", None))
    days = snapshot.retention(pl.Series(["acme-p", "bio-p", "gone"]), default_days=210)
    assert days.to_list() == [5, 210, 210]


def test_a_project_that_a_device_has_left_keeps_its_aggregates_for_as_long_as_it_says_now() -> None:
    def after(metadata: Metadata, version: int, left_keeps: int) -> Metadata:
        left = ("a", "acme-p", -(2**62), 9, left_keeps)
        moves = pl.DataFrame([left, ("a", "bio-p", 9, 2**62, 4)], schema=MOVE_SCHEMA, orient="row")
        changed = pl.Series("device_id", ["a"])
        return replace(metadata, version=version, moves=moves, changed=changed, devices=changed)

    snapshot = registered(1, ("a", "t", "acme", 30))
    moved = registered(2, ("a", "t", "bio", 4)).metadata
    snapshot = snapshot.updated(after(moved, 2, 30)).updated(after(moved, 3, 10))
    assert snapshot.retention(pl.Series(["acme-p", "bio-p"]), default_days=210).to_list() == [10, 4]


def test_a_project_for_less_than_a_millisecond_hides_no_other() -> None:
    moves = [("a", "p", -(2**62), 10, 1), ("a", "r", 10, 20, 3), ("a", "q", 10, 10, 2), ("a", "s", 20, 2**62, 4)]
    placed = Moves(pl.DataFrame(moves, schema=MOVE_SCHEMA, orient="row"), names(("a", "t")))
    found = placed.at(np.zeros(4, dtype=np.int32), np.array([9, 10, 19, 20]))
    assert found["project_id"].to_list() == ["p", "r", "r", "s"]


def test_series_know_their_place_by_organisation_device_and_sensor_however_they_came() -> None:
    known = [(f"d{number:03d}", "t", "bio" if number % 2 else "acme", None) for number in range(300)]
    series = ActiveSeries(registered(1, *known))
    for device, sensor, _, _ in [*known[::-7], *known]:
        series.encode(names((device, sensor)))
    ordered = series.names.with_columns(series.dims["org_id"].cast(pl.String), series.dims["place"]).sort("place")
    placed = ordered.head(250)  # the newest may stand at the end
    assert placed.rows() == placed.sort("org_id", "device_id", "sensor").rows()
    assert sorted(ordered["place"]) == list(range(300))
    series.refresh(registered(2, *((device, sensor, "one", days) for device, sensor, _, days in known)))
    again = series.names.with_columns(series.dims["place"]).sort("place")
    assert again["device_id"].to_list() == sorted(again["device_id"])
