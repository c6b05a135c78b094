"""Alert rules: which one holds, what a malformed one does, and what a reading at an edge does."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any, cast

import numpy as np
import polars as pl
import pytest

from connectors.postgres.alert_rules import (
    SILENCE_SCHEMA,
    THRESHOLD_SCHEMA,
    AlertRules,
    MalformedRuleError,
    nearest_silences,
    nearest_thresholds,
    read_silence,
    read_threshold,
)
from connectors.postgres.metadata import Metadata
from streams.engine.checkpoint import Checkpoint
from streams.engine.encoder import Encoder
from streams.engine.fetch import Lease
from streams.telemetry.alerts.alert import Known, alert_id
from streams.telemetry.alerts.announcement import AlertAnnouncement
from streams.telemetry.alerts.crossings import Crossing, Crossings, Limits, Readings
from streams.telemetry.alerts.devices import Devices
from streams.telemetry.alerts.history import known_alerts
from streams.telemetry.alerts.rules import Rules
from streams.telemetry.alerts.silences import ENDLESS, Silence, Silences
from streams.telemetry.alerts.watch import NOTHING_READ, AlertWatch
from tests.typed_sensors import series_of
from weir.errors import ConfigError, TransientError, WeirError

NAN = math.nan


def texts(**rules: Any) -> pl.DataFrame:
    """One sensor whose levels have these rules."""
    levels = {level: None if rules.get(level) is None else json.dumps(rules[level]) for level in ("own", "of_device")}
    of_project = None if rules.get("of_project") is None else json.dumps(rules["of_project"])
    row = {"device_id": "d", "sensor": "s", "project": "p", **levels, "of_project": of_project}
    return pl.DataFrame([row], schema=dict.fromkeys(row, pl.String))


def held(**rules: Any) -> list[tuple[Any, ...]]:
    return nearest_thresholds(texts(**rules))[0].rows()


def test_the_nearest_rule_holds_as_a_whole() -> None:
    project, device = {"min": 15, "max": 30}, {"max": 28, "hysteresis": 0.5}
    assert held(of_project=project) == [("d", "s", 15.0, 30.0, 0.0, 0)]
    assert held(of_project=project, of_device=device) == [("d", "s", None, 28.0, 0.5, 0)]
    assert held(of_project=project, of_device=device, own={"min": 1, "for_seconds": 2.5}) == [
        ("d", "s", 1.0, None, 0.0, 2500)
    ]


def test_an_empty_rule_switches_the_farther_ones_off() -> None:
    assert held(of_project={"max": 30}, own={}) == []


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("hot", "should look like"),
        ([15, 30], "should look like"),
        ({"max": "30"}, 'its max is "30", not a number'),
        ({"max": True}, "its max is true, not a number"),
        ({"max": 1e300}, "not a number"),
        ({"min": 30, "max": 15}, "its min 30 is above its max 15"),
        ({"max": 30, "hysteresis": -1}, "its hysteresis -1 is negative"),
        ({"min": 15, "max": 30, "hysteresis": 16}, "its hysteresis 16"),
        ({"max": 30, "for_seconds": -1}, "its for_seconds -1 is not between"),
        ({"max": 30, "for_seconds": 1e12}, "its for_seconds 1e+12 is not between"),
    ],
)
def test_a_malformed_rule_is_named_and_left_out_and_the_next_one_holds(rule: object, words: str) -> None:
    found, faults = nearest_thresholds(texts(own=rule, of_project={"max": 30}))
    assert found.rows() == [("d", "s", None, 30.0, 0.0, 0)]
    assert len(faults) == 1
    assert faults[0].startswith("Sensor s of device d has an alert rule that is left out: ")
    assert words in faults[0]


@pytest.mark.parametrize("text", ['{"min": 1' + "0" * 5_000 + "}", "[" * 100_000 + "]" * 100_000])
def test_a_rule_that_no_program_reads_is_left_out(text: str) -> None:
    rules, faults = nearest_thresholds(texts(own={"max": 1}).with_columns(own=pl.lit(text)))
    assert rules.is_empty()
    assert "Sensor s of device d" in faults[0]


def test_a_silence_of_the_device_wins_over_its_projects_and_a_malformed_one_is_named() -> None:
    columns = ["device_id", "org_id", "project_id", "of_device", "of_project"]
    rows = [("a", "o", "p", "60", "300"), ("b", "o", "p", '"soon"', "300"), ("c", "o", "p", "0", "300")]
    found, faults = nearest_silences(pl.DataFrame(rows, schema=columns, orient="row"))
    assert found.rows() == [("a", "o", "p", 60_000), ("b", "o", "p", 300_000)]
    assert len(faults) == 1
    assert faults[0].startswith("Device b has")
    with pytest.raises(MalformedRuleError):
        read_silence("1e9")


def limits(low: float = NAN, high: float = NAN, hysteresis: float = 0.0, for_ms: int = 0) -> Limits:
    return Limits(*(np.array([each]) for each in (low, high, hysteresis)), np.array([for_ms]), np.array([True]))  # type: ignore[call-arg]


def readings(points: list[tuple[int, float]], first: int = 0) -> Readings:
    times, values = np.array([ts for ts, _ in points]), np.array([value for _, value in points])
    offsets = np.arange(first, first + len(points))
    return Readings(np.zeros(len(points), dtype=np.int32), times, values, offsets)


def states(points: list[tuple[int, float]], rule: Limits) -> list[tuple[str, str, int, int]]:
    found = Crossings(lambda _: ("d", "s")).evaluate(readings(points), rule)
    return [(each.kind, each.state, each.since, each.ts) for each in found]


def test_a_value_on_the_bound_is_inside() -> None:
    assert states([(1, 30.0), (2, 15.0)], limits(15.0, 30.0)) == []


def test_an_alert_ends_where_the_value_is_inside_by_the_hysteresis_and_not_before() -> None:
    points = [(1, 30.5), (2, 29.5), (3, 29.0001), (4, 29.0)]
    assert states(points, limits(high=30.0, hysteresis=1.0)) == [
        ("above", "triggered", 1, 1),
        ("above", "resolved", 1, 4),
    ]


def test_a_duration_counts_from_the_first_reading_outside_and_a_reading_inside_begins_it_anew() -> None:
    points = [(0, 31.0), (900, 31.0), (950, 30.0), (1_000, 31.0), (1_999, 31.0), (2_000, 31.0)]
    assert states(points, limits(high=30.0, for_ms=1_000)) == [("above", "triggered", 1_000, 2_000)]


def test_a_series_that_goes_from_one_side_to_the_other_ends_one_alert_before_the_next() -> None:
    assert states([(1, 31.0), (2, 14.0)], limits(15.0, 30.0)) == [
        ("above", "triggered", 1, 1),
        ("above", "resolved", 1, 2),
        ("below", "triggered", 2, 2),
    ]


def test_readings_that_are_not_newer_and_texts_change_nothing() -> None:
    assert states([(5, 20.0), (4, 99.0), (5, 99.0), (6, NAN)], limits(15.0, 30.0)) == []


def test_the_cut_into_blocks_changes_nothing() -> None:
    points = [(at, 25.0 + (at * 7919) % 13) for at in range(300)]
    rule = limits(high=30.0, hysteresis=2.0, for_ms=3)
    whole = Crossings(lambda _: ("d", "s")).evaluate(readings(points), rule)
    cut, pieces = Crossings(lambda _: ("d", "s")), []
    for at in range(0, 300, 7):
        pieces += cut.evaluate(readings(points[at : at + 7], at), rule)
    assert whole == pieces
    assert len(whole) > 10


def test_an_alert_whose_bound_is_gone_ends_with_the_next_reading() -> None:
    crossings = Crossings(lambda _: ("d", "s"))
    crossings.evaluate(readings([(1, 31.0)]), limits(high=30.0))
    ended = crossings.evaluate(readings([(2, 99.0)], 1), limits()._replace(ruled=np.array([False])))
    assert [(each.state, each.ts) for each in ended] == [("resolved", 2)]
    assert math.isnan(ended[0].threshold)


def test_an_announced_alert_that_is_not_found_again_stays_open_until_the_series_is_inside() -> None:
    crossings = Crossings(lambda _: ("d", "s"))
    crossings.reopen(0, Known("x", "above", "o", "p", "d", "s", 1, 10, resolved=False), stored=10)
    found: list[Crossing] = []
    for at, value in enumerate([35.0, 36.0, 20.0]):
        found += crossings.evaluate(readings([(at, value)], 10 + at), limits(high=40.0))
    assert [(each.id, each.state, each.offset) for each in found] == [("x", "resolved", 11)]


def test_an_announcement_without_a_place_or_a_cause_is_nobodys_past() -> None:
    row = {"id": "i", "kind": "above", "state": "triggered", "org_id": "o", "project_id": "", "device_id": "d"}
    announced = pl.DataFrame([{**row, "sensor": "s", "window_start": None, "offset": 7}], infer_schema_length=None)
    assert known_alerts(announced, 9) == []
    assert len(known_alerts(announced.with_columns(window_start=pl.lit(1)), 9)) == 1


def test_the_id_names_the_cause_and_nothing_else() -> None:
    name = alert_id("d", "s", "above", 1)
    assert name == alert_id("d", "s", "above", 1)
    others = {("d", "s", "above", 2), ("d", "s", "below", 1), ("ds", "", "above", 1), ("d", "", "above", 1)}
    assert name not in {alert_id(*cause) for cause in others}  # type: ignore[arg-type]
    assert len({alert_id(*cause) for cause in others}) == len(others)  # type: ignore[arg-type]


def heard(silences: Silences, *times: int) -> list[Silence]:
    count = len(times)
    devices, offsets = np.zeros(count, dtype=np.int32), np.arange(count)
    return silences.heard(devices, np.array(times), offsets, np.array([1_000]))


def test_a_silence_is_found_by_the_clock_and_ends_with_the_next_reading() -> None:
    silences = Silences(lambda _: "d")
    assert heard(silences, 5_000) == []
    assert silences.passed(6_000, 0, np.array([1_000])) == []
    begun = silences.passed(7_000, 0, np.array([1_000]))
    assert [(each.state, each.since, each.ts) for each in begun] == [("triggered", 5_000, 6_000)]
    assert silences.passed(9_000, 0, np.array([1_000])) == []
    assert [(each.state, each.since, each.ts) for each in heard(silences, 9_100)] == [("resolved", 5_000, 9_100)]


def test_a_silence_between_two_readings_of_a_backlog_is_found_as_if_somebody_had_waited() -> None:
    found = heard(Silences(lambda _: "d"), 5_000, 5_900, 8_000)
    assert [(each.state, each.since, each.ts) for each in found] == [
        ("triggered", 5_900, 6_900),
        ("resolved", 5_900, 8_000),
    ]


def test_a_device_that_never_sent_is_not_silent() -> None:
    assert Silences(lambda _: "d").passed(10**12, 0, np.array([1_000])) == []


def rules_with(*thresholds: tuple[str, float]) -> AlertRules:
    rows = [(device, "s", None, high, 0.0, 0) for device, high in thresholds]
    return AlertRules(
        pl.DataFrame(rows, schema=THRESHOLD_SCHEMA, orient="row"), pl.DataFrame(schema=SILENCE_SCHEMA), []
    )


def test_changed_rules_hold_for_the_devices_that_changed_and_a_server_that_is_away_only_delays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streams.telemetry.alerts.rules.RETRY_SECONDS", 0.0)
    answers: list[AlertRules | WeirError] = [
        rules_with(("a", 1.0), ("b", 2.0)),
        TransientError("away"),
        ConfigError("the statement was cancelled"),
        rules_with(("a", 3.0)),
    ]
    asked: list[list[str] | None] = []

    def load(devices: pl.Series | None) -> AlertRules:
        asked.append(None if devices is None else devices.to_list())
        answer = answers.pop(0)
        if isinstance(answer, WeirError):
            raise answer
        return answer

    names = pl.DataFrame({"device_id": ["a", "b", "c"], "sensor": ["s", "s", "s"]})

    async def change() -> Rules:
        rules = Rules(load)
        rules.follow(names)
        await rules.follow_metadata(Metadata(2, pl.DataFrame(), changed=pl.Series("device_id", ["a"])))
        while answers or rules.refreshing:
            await asyncio.sleep(0.01)
        return rules

    rules = asyncio.run(change())
    assert asked == [None, ["a"], ["a"], ["a"]]
    assert rules.limits.high[:2].tolist() == [3.0, 2.0]
    assert rules.limits.ruled.tolist() == [True, True, False]


def test_a_long_silence_of_one_device_does_not_have_months_of_anothers_readings_read() -> None:
    day, asked = 86_400_000, {}

    class History:
        def known(self, partition: int, below: int) -> list[Known]:
            return []

        def heard(self, partition: int, below: int, since: int) -> pl.DataFrame:
            asked["heard"] = since
            return pl.DataFrame({"device_id": ["a"], "sensor": ["s"], "ts": [1], "append_ts": [1]})

        def readings(self, names: pl.DataFrame, partition: int, below: int, since: int) -> pl.DataFrame:
            asked["readings"] = since
            return NOTHING_READ

    lasting = pl.DataFrame([("a", "s", None, 1.0, 0.0, 60_000)], schema=THRESHOLD_SCHEMA, orient="row")
    silent = pl.DataFrame([("b", "o", "", 31 * day)], schema=SILENCE_SCHEMA, orient="row")
    rules = Rules(lambda _: AlertRules(lasting, silent, []))
    watch = AlertWatch(series_of("bare"), rules, History(), AlertAnnouncement("t", cast(Encoder, None)), 0)
    lease = Lease("t", 0, Checkpoint(5, 5, 5, 100 * day))
    asyncio.run(watch.begin(lease, 5))
    assert asked == {"heard": 69 * day, "readings": 100 * day - 60_000}


def test_a_threshold_text_is_read_as_it_stands() -> None:
    assert read_threshold('{"min": 15, "max": 30}') == (15.0, 30.0, 0.0, 0)
    assert read_threshold('{"max": 30, "hysteresis": null, "note": "x"}') == (None, 30.0, 0.0, 0)


def test_a_silence_rule_that_is_taken_back_leaves_the_others_as_they_are() -> None:
    devices = Devices()
    silences = [("a", "o", "p", 1_000), ("b", "o", "p", 2_000)]
    devices.rule(pl.DataFrame(silences, schema=SILENCE_SCHEMA, orient="row"), None)
    changed = pl.Series("device_id", ["a", "c", "unheard"])
    devices.rule(pl.DataFrame([("c", "o", "q", 3_000)], schema=SILENCE_SCHEMA, orient="row"), changed)
    assert devices.ids == ["a", "b", "c"]
    assert devices.silent_ms.tolist() == [ENDLESS, 2_000, 3_000]
    assert devices.owners[2] == ("o", "q")
    assert devices.numbers(pl.Series(["c", "x"])).tolist() == [2, -1]
