"""Parity on rows that are written straight into ClickHouse: what counts as equal, and what each verdict means."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from connectors.postgres.devices import register
from connectors.registry import Registry
from sinks.clickhouse.parity import Slice, StoredParity, Tally
from sinks.clickhouse.parity_queries import Level
from sinks.clickhouse.writer import ClickHouseWriter
from streams.telemetry.repair import Repair
from tests.world import World
from weir.errors import TransientError
from weir.parity import mend as mending
from weir.parity.check import Checked, Compared, ParityCheck, Scope
from weir.verify.recompute import (
    HOUR_MS,
    MINUTE_MS,
    Acknowledged,
    Window,
    WindowKey,
    expected_readings,
    expected_windows,
)

HOUR = (time.time_ns() // 1_000_000 // HOUR_MS - 30) * HOUR_MS
"""More than a day ago, and less than two: rows that are kept for a day are not deleted yet."""

IDENTITY = {"project_id": "", "device_type": "device", "metric": "t", "unit": "C", "fw_ver": "1", "source": "test"}
Windows = dict[WindowKey, Window]


def reading(ts: int, value: float | None, *, device: str = "d", offset: int = 0) -> Acknowledged:
    text = "n/a" if value is None else None
    return Acknowledged(device, "t", ts, value, text, partition=3, offset=offset, append_ts=ts + 1_000)


def store_readings(world: World, readings: Iterable[Acknowledged], *, org: str = "acme", days: int = 37) -> None:
    rows = [
        {"org_id": org, "device_id": each.device_id, "sensor": each.sensor}
        | IDENTITY
        | {
            "ts": _time(each.ts),
            "value": each.value or 0.0,
            "is_number": each.value is not None,
            "append_ts": _time(each.append_ts or 0),
            "partition": each.partition,
            "offset": each.offset,
            "retention_days": days,
        }
        for each in readings
    ]
    ClickHouseWriter(world.settings.clickhouse).insert("raw_readings", pl.DataFrame(rows), "")


def store_windows(world: World, table: str, windows: Windows, *, org: str = "acme", days: int = 210) -> None:
    size = MINUTE_MS if table == "agg_1m" else HOUR_MS
    names = ("count", "sum", "min", "max", "avg", "first", "last", "stddev", "revision")
    rows = [
        {"org_id": org, "device_id": key.device_id, "sensor": key.sensor}
        | IDENTITY
        | {"window_start": _time(key.start), "window_end": _time(key.start + size), "last_ts": _time(window.last_ts)}
        | {name: getattr(window, name) for name in names}
        | {"retention_days": days}
        for key, window in windows.items()
    ]
    ClickHouseWriter(world.settings.clickhouse).insert(table, pl.DataFrame(rows), "")


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def changed(window: Window, **measures: Any) -> Window:
    names = ("count", "sum", "min", "max", "avg", "first", "last", "last_ts", "stddev", "revision")
    return Window(**{name: measures.get(name, getattr(window, name)) for name in names})


def tally(world: World, level: Level = "1m", org: str = "acme") -> Tally:
    return StoredParity(world.settings).tally(whole(level, org))


def whole(level: Level = "1m", org: str = "acme") -> Slice:
    return Slice(level, org, HOUR, HOUR + HOUR_MS)


def minutes(readings: list[Acknowledged]) -> Windows:
    return expected_windows(expected_readings(readings), MINUTE_MS)


def test_windows_that_were_recomputed_independently_are_equal(world: World) -> None:
    chance = random.Random(7)
    readings = [
        reading(HOUR + second * 1_000, chance.choice((None, 1e9 + chance.random(), -1e9, 3.5)), offset=second)
        for second in range(0, 3_600, 2)
    ]
    resent = [reading(each.ts, chance.random(), offset=each.offset + 10_000) for each in readings[::9]]
    store_readings(world, readings)
    store_readings(world, resent)
    expected = expected_readings([*readings, *resent])
    store_windows(world, "agg_1m", expected_windows(expected, MINUTE_MS))
    store_windows(world, "agg_1h", expected_windows(expected, HOUR_MS))
    assert tally(world, "1m") == Tally(equal=60)
    assert tally(world, "1h") == Tally(equal=1)


ROUNDING = [
    ("sum", 1e-8, True),
    ("sum", 1e-3, False),
    ("avg", 1e-9, True),
    ("avg", 1e-4, False),
    ("stddev", 1e-12, True),
    ("stddev", 1e-4, False),
    ("min", 1e-13, False),
    ("max", 1e-13, False),
    ("first", 1e-13, False),
    ("last", 1e-13, False),
    ("last_ts", 1, False),
    ("count", 1, False),
]
"""A measure, how far the stored one is off, and whether it passes. One reading a second from 1 to 1.59."""


def test_only_sums_and_spreads_may_be_rounded(world: World) -> None:
    for number, (name, off, _) in enumerate(ROUNDING):
        device = f"d{number:02}"
        readings = [reading(HOUR + n * 1_000, 1 + n / 100, device=device, offset=n) for n in range(60)]
        store_readings(world, readings)
        ((key, window),) = minutes(readings).items()
        store_windows(world, "agg_1m", {key: changed(window, **{name: getattr(window, name) + off})})
    found = {row["device_id"]: row["fields"] for row in StoredParity(world.settings).faults(whole(), 99).to_dicts()}
    assert found == {f"d{number:02}": [name] for number, (name, _, passes) in enumerate(ROUNDING) if not passes}
    assert tally(world) == Tally(equal=3, different=9)


def test_each_verdict_means_what_it_says(world: World) -> None:
    readings = [reading(HOUR + minute * MINUTE_MS, 1.0 + minute, offset=minute) for minute in range(4)]
    keys = list(minutes(readings).items())
    text = reading(HOUR + 4 * MINUTE_MS, None, offset=9)
    store_readings(world, [*readings, text])
    phantom = {WindowKey("d", "t", HOUR + 4 * MINUTE_MS): keys[0][1]}
    emptied = {WindowKey("d", "t", HOUR + 5 * MINUTE_MS): changed(keys[0][1], count=0)}
    taken_back = {keys[3][0]: changed(keys[3][1], count=0)}
    wrong = {keys[1][0]: changed(keys[1][1], count=2)}
    for windows in ({keys[0][0]: keys[0][1]}, wrong, phantom, emptied, taken_back):
        store_windows(world, "agg_1m", windows)
    assert tally(world) == Tally(equal=1, different=1, missing=2, phantom=1)
    faults = StoredParity(world.settings).faults(whole(), 10)
    assert [(row["verdict"], (row["start"] - HOUR) // MINUTE_MS) for row in faults.to_dicts()] == [
        ("different", 1),
        ("missing", 2),
        ("missing", 3),
        ("phantom", 4),
    ]
    assert faults["revision"].to_list()[1:3] == [0, keys[3][1].revision], "the hidden row's revision must be outbid"
    assert len(StoredParity(world.settings).faults(whole(), 2)) == 2


def test_a_window_whose_readings_begin_to_expire_is_left_out(world: World) -> None:
    readings = [reading(HOUR, 1.0), reading(HOUR + MINUTE_MS, 2.0, offset=1)]
    store_readings(world, readings[:1], days=1)
    store_readings(world, readings[1:])
    store_windows(world, "agg_1m", {WindowKey("gone", "t", HOUR): next(iter(minutes(readings).values()))}, days=1)
    assert tally(world) == Tally(missing=1, left_out=2)


def test_organisations_are_compared_by_themselves(world: World) -> None:
    readings = [reading(HOUR, 1.0)]
    store_readings(world, readings)
    store_windows(world, "agg_1m", minutes(readings), org="globex")
    stored = StoredParity(world.settings)
    assert stored.organisations(HOUR, HOUR + HOUR_MS) == ["acme", "globex"]
    assert (tally(world, org="acme"), tally(world, org="globex")) == (Tally(missing=1), Tally(phantom=1))
    assert stored.slices(Slice("1m", "acme", HOUR - 9 * HOUR_MS, HOUR + HOUR_MS)) == [whole()]
    assert stored.oldest_hour("acme", HOUR) is None


def test_a_correction_is_what_the_streams_would_have_published(world: World) -> None:
    known = pl.DataFrame({"device_id": ["d"], "sensor": ["t"], "unit": ["K"], "metric": ["temperature"]})
    register(world.dsn, "acme", None, known)
    readings = [reading(HOUR + second * 1_000, second * 1.5, offset=second) for second in range(60)]
    readings += [reading(HOUR, 7.0, device="gone", offset=99)]
    store_readings(world, readings)
    stored = StoredParity(world.settings)
    with Registry(world.settings.registry) as registry:
        rows = Repair(world.settings, registry, stored).corrections(whole(), stored.faults(whole(), 10)).to_dicts()
    found = {WindowKey(row["device_id"], row["sensor"], row["window_start"]): row for row in rows}
    for key, window in minutes(readings).items():
        for name in ("count", "sum", "min", "max", "first", "last", "last_ts", "revision"):
            assert found[key][name] == getattr(window, name), name
    units = {key.device_id: (row["org_id"], row["metric"], row["unit"]) for key, row in found.items()}
    assert units == {"d": ("acme", "temperature", "K"), "gone": ("acme", "t", "C")}, (
        "a device that is gone keeps its own"
    )


def test_a_repair_that_nobody_stores_says_what_to_do(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mending, "PATIENCE_SECONDS", 0.5)
    store_readings(world, [reading(HOUR, 1.0)])
    check = ParityCheck(world.settings, StoredParity(world.settings), lambda _: None)
    before = Checked(
        Scope(HOUR, HOUR + HOUR_MS), {"1m": HOUR + HOUR_MS}, [Compared("acme", "1m", {whole(): Tally(missing=1)})]
    )
    with pytest.raises(TransientError, match="1 corrections are published, but no worker stores them: start one"):
        mending.mend(world.settings, check, before, lambda _: None)
    check.close()
