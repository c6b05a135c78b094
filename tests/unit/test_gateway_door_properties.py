"""Limits and sampling as properties, also those that somebody wrote around the service."""

from __future__ import annotations

import json
import logging
from math import inf, isfinite
from typing import Any

import pytest

from connectors.gateway.door import properties as door_properties
from connectors.gateway.door.properties import CAUTIOUS, organisation_from, rates_from, sampling_from
from connectors.gateway.limits import Organisation, Rates, Sampling


@pytest.fixture(autouse=True)
def told_nothing_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_properties, "_told", set())


def test_an_organisation_without_properties_has_no_limits() -> None:
    assert organisation_from("acme", {}) == Organisation("acme")


def test_every_property_of_an_organisation_is_taken() -> None:
    properties = {
        "quotas": {
            "records_per_second": 1_000,
            "bytes_per_second": 500_000.5,
            "backlog_records_per_second": 0,
            "burst_seconds": 2,
            "new_values_a_day": 20,
            "devices": {"records_per_second": 5, "burst_seconds": 30},
        },
        "sampling": {"policy": "dead_band", "width": 0.5, "at_most_seconds": 60},
        "unknown_devices": {"policy": "register", "prefix": "acme-", "most": 5},
    }
    assert organisation_from("acme", properties) == Organisation(
        "acme",
        Rates(1_000.0, 500_000.5, 0.0, 2.0),
        Rates(5.0, inf, 50.0, 30.0),
        Sampling("dead_band", 0.0, 0.5, 60.0),
        20,
        "acme-",
    )


@pytest.mark.parametrize(
    "bad", ["1000", -1, True, [], {}, "NaN", json.loads("1e400"), json.loads("-1e400"), 10**400, float("nan")]
)
def test_a_limit_that_cannot_be_read_is_a_careful_one_and_told_once(bad: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            held = organisation_from(
                "acme", {"quotas": {"records_per_second": bad, "devices": {"bytes_per_second": bad}}}
            )
    assert held.rates == Rates(CAUTIOUS.records_per_second, inf, 10 * CAUTIOUS.records_per_second)
    assert held.device_rates == Rates(bytes_per_second=CAUTIOUS.bytes_per_second)
    assert [("organisation acme" in each, "quotas." in each) for each in caplog.messages] == [(True, True)] * 2


@pytest.mark.parametrize("bad", ["unlimited", 7, [], True])
def test_quotas_that_are_no_object_lift_no_limit(bad: Any) -> None:
    assert organisation_from("acme", {"quotas": bad}).rates == CAUTIOUS
    assert organisation_from("acme", {"quotas": {"devices": bad}}).device_rates == CAUTIOUS


@pytest.mark.parametrize("bad", [0, -3, "long", 10**400])
def test_a_burst_that_cannot_be_read_refuses_nothing_for_ever(bad: Any) -> None:
    assert rates_from("device d", {"records_per_second": 5, "burst_seconds": bad}, CAUTIOUS, Rates()) == Rates(
        5.0, inf, 50.0
    )


def test_a_rate_bounds_the_backlog_too_unless_something_else_was_said() -> None:
    for said, backlog in (
        ({}, 50.0),
        ({"backlog_records_per_second": 3}, 3.0),
        ({"backlog_records_per_second": 0}, 0.0),
    ):
        held = rates_from("device d", {"records_per_second": 5, **said}, CAUTIOUS, Rates())
        assert held is not None and held.backlog_records_per_second == backlog
    assert rates_from("device d", {"bytes_per_second": 5}, CAUTIOUS, Rates()) == Rates(inf, 5.0)


def test_a_burst_of_years_is_no_way_around_a_limit() -> None:
    held = rates_from("device d", {"records_per_second": 5, "burst_seconds": 1e300}, CAUTIOUS, Rates())
    assert held is not None and held.burst_seconds == 3_600.0


def test_a_device_without_quotas_has_its_organisations() -> None:
    assert rates_from("device d", None, CAUTIOUS, CAUTIOUS) is None


def test_what_a_devices_quotas_leave_out_or_garble_is_its_organisations() -> None:
    inherited = Rates(50.0, 6_000.0, 70.0, 8.0)
    quotas = {"records_per_second": 9, "bytes_per_second": "much"}
    assert rates_from("device d", quotas, inherited, inherited) == Rates(9.0, 6_000.0, 70.0, 8.0)
    assert rates_from("device d", "much", inherited, inherited) == inherited


@pytest.mark.parametrize(
    "bad",
    [
        "every",
        [],
        {},
        {"policy": "sometimes"},
        {"policy": ["every"]},
        {"policy": {"every": 1}},
        {"policy": "every", "seconds": -1},
        {"policy": "dead_band", "width": "wide"},
        {"policy": "every", "seconds": None},
    ],
)
def test_a_policy_that_cannot_be_read_leaves_nothing_out(bad: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert sampling_from("device d", bad) is None
    assert "device d" in caplog.text


@pytest.mark.parametrize("bad", ["none", -1, True, 10**400])
def test_a_cap_on_new_values_that_cannot_be_read_is_the_usual_one(bad: Any) -> None:
    assert organisation_from("acme", {"quotas": {"new_values_a_day": bad}}).new_values_a_day == 10_000


@pytest.mark.parametrize(
    "bad",
    [
        "register",
        {"policy": "register"},
        {"policy": "register", "prefix": ""},
        {"policy": "dead_letter", "prefix": "a"},
    ],
)
def test_only_a_whole_policy_lets_unknown_devices_in(bad: Any) -> None:
    assert organisation_from("acme", {"unknown_devices": bad}).register_prefix is None


def test_a_careful_limit_is_one() -> None:
    assert all(isfinite(each) for each in (CAUTIOUS.records_per_second, CAUTIOUS.bytes_per_second))
    assert isfinite(CAUTIOUS.backlog_records_per_second)
