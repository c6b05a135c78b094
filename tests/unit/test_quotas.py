from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import inf

import pytest

from connectors.gateway.errors import OVER_QUOTA, GatewayError
from connectors.gateway.limits import NO_LIMIT, Device, Organisation, Rates
from connectors.gateway.quota.quotas import Quotas
from weir.settings import GatewaySettings

ACME = Organisation("acme", rates=Rates(records_per_second=1_000.0))
TEN = Rates(records_per_second=10.0)
ANSWER = GatewayError | Mapping[str, GatewayError]


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def quotas(clock: Clock) -> Quotas:
    return Quotas(GatewaySettings(backlog_seconds=60.0), clock)


def device(name: str = "d1", rates: Rates | None = None) -> Device:
    return Device(name, "acme", rates=rates)


def refused(answer: ANSWER) -> GatewayError:
    assert isinstance(answer, GatewayError)
    assert answer.code == OVER_QUOTA
    assert answer.status == 429
    assert answer.reason == "over_quota"
    return answer


def over(answer: ANSWER, name: str = "d1") -> GatewayError:
    assert not isinstance(answer, GatewayError)
    return refused(answer[name])


def test_an_organisation_over_its_limit_hears_which_one_how_much_how_long_and_what_to_do(quotas: Quotas) -> None:
    assert quotas.admit(ACME, {device(): (10_000, 0, 0)}, 0) == {}
    error = refused(quotas.admit(ACME, {device(): (420, 0, 0)}, 0))
    assert error.message == (
        "Organisation acme is over its limit of 1,000 records a second: "
        "try again in 0.42 seconds, and send at most 950 a second."
    )
    assert error.retry_after == 0.42
    assert error.extra == {
        "limit": "organisation.records_per_second",
        "allowed": 1_000.0,
        "advised_rate": 950.0,
        "retry_after_seconds": 0.42,
    }


def test_whoever_waits_as_long_as_he_was_told_is_admitted(quotas: Quotas, clock: Clock) -> None:
    quotas.admit(ACME, {device(): (10_000, 0, 0)}, 0)
    for _ in range(50):
        error = refused(quotas.admit(ACME, {device(): (337, 0, 0)}, 0))
        assert error.retry_after is not None
        clock.now += error.retry_after + 0.001
        assert quotas.admit(ACME, {device(): (337, 0, 0)}, 0) == {}


def test_a_refused_request_takes_nothing_from_any_bucket(quotas: Quotas) -> None:
    organisation = replace(ACME, rates=Rates(100.0), device_rates=TEN)
    for _ in range(100):
        refused(quotas.admit(organisation, {device(f"d{each}"): (100, 0, 0) for each in range(11)}, 0))
    assert quotas.admit(organisation, {device(f"d{each}"): (100, 0, 0) for each in range(10)}, 0) == {}


def test_a_device_over_its_own_limit_is_refused_alone_and_costs_its_organisation_nothing(
    quotas: Quotas, clock: Clock
) -> None:
    organisation = replace(ACME, rates=Rates(20.0, 1_000.0))
    greedy, modest = device("greedy", TEN), device("modest", TEN)
    for _ in range(2):  # the organisation may send 200 records and 10,000 bytes at once
        answer = quotas.admit(organisation, {greedy: (250, 0, 40_000), modest: (100, 0, 1_000)}, 45_000)
        assert not isinstance(answer, GatewayError)
        assert list(answer) == ["greedy"]
        clock.now += 10.0


def test_what_never_fits_is_to_be_split_and_not_waited_for(quotas: Quotas) -> None:
    error = over(quotas.admit(ACME, {device(rates=TEN): (250, 0, 0)}, 0))
    assert error.message == (
        "Device d1 may send 100 records at once, of 10 records a second, and this request has 250: "
        "split it into smaller ones."
    )
    assert error.retry_after is None
    assert error.extra["at_once"] == 100


def test_a_limit_of_zero_says_that_nothing_may_be_sent(quotas: Quotas) -> None:
    error = over(quotas.admit(ACME, {device(rates=Rates(0.0)): (1, 0, 0)}, 0))
    assert "may send nothing" in error.message
    assert error.retry_after is None


def test_a_device_that_comes_back_with_a_backlog_may_still_send_live(quotas: Quotas) -> None:
    returned = device(rates=Rates(10.0, 1_000.0, backlog_records_per_second=50.0))
    assert quotas.admit(ACME, {returned: (0, 500, 1_000_000)}, 1_000_000) == {}
    error = over(quotas.admit(ACME, {returned: (0, 100, 20_000)}, 20_000))
    assert error.extra["limit"] == "device.backlog_records_per_second"
    assert error.retry_after == 2.0
    assert "(measured over 60 seconds ago)" in error.message
    assert quotas.admit(ACME, {returned: (100, 0, 10_000)}, 10_000) == {}


def test_of_a_mixed_request_only_the_live_part_weighs(quotas: Quotas) -> None:
    returned = device(rates=Rates(bytes_per_second=100.0))
    assert quotas.admit(ACME, {returned: (1, 9, 10_000)}, 10_000) == {}
    assert over(quotas.admit(ACME, {returned: (1, 0, 1)}, 1)).extra["limit"] == "device.bytes_per_second"


def test_the_limit_that_takes_longest_is_named(quotas: Quotas) -> None:
    both = device(rates=Rates(records_per_second=10.0, bytes_per_second=100.0))
    assert quotas.admit(ACME, {both: (100, 0, 1_000)}, 0) == {}
    error = over(quotas.admit(ACME, {both: (1, 0, 500)}, 0))
    assert (error.extra["limit"], error.retry_after) == ("device.bytes_per_second", 5.0)


def test_the_bytes_of_an_organisation_are_those_of_its_bodies(quotas: Quotas) -> None:
    organisation = replace(ACME, rates=Rates(bytes_per_second=100.0))
    assert quotas.admit(organisation, {device(): (1, 0, 10)}, 1_000) == {}
    error = refused(quotas.admit(organisation, {device(): (1, 0, 10)}, 42))
    assert (error.extra["limit"], error.retry_after) == ("organisation.bytes_per_second", 0.42)


def test_a_devices_own_rates_come_before_those_of_its_organisation(quotas: Quotas) -> None:
    organisation = replace(ACME, device_rates=TEN)
    assert over(quotas.admit(organisation, {device(): (101, 0, 0)}, 0))
    assert quotas.admit(organisation, {device(rates=Rates(20.0)): (101, 0, 0)}, 0) == {}
    assert quotas.admit(organisation, {device("free", NO_LIMIT): (9_000, 0, 0)}, 0) == {}


def test_a_changed_limit_holds_for_the_next_request(quotas: Quotas) -> None:
    assert quotas.admit(ACME, {device(rates=TEN): (100, 0, 0)}, 0) == {}
    assert over(quotas.admit(ACME, {device(rates=TEN): (1, 0, 0)}, 0))
    assert quotas.admit(ACME, {device(rates=Rates(inf)): (1_000, 0, 0)}, 0) == {}


def test_gateways_that_share_the_load_share_every_limit(clock: Clock) -> None:
    quotas = Quotas(GatewaySettings(instances=4), clock)
    assert quotas.admit(ACME, {device(): (2_500, 0, 0)}, 0) == {}
    error = refused(quotas.admit(ACME, {device(): (250, 0, 0)}, 0))
    assert error.retry_after == 1.0
    assert (error.extra["allowed"], error.extra["advised_rate"]) == (1_000.0, 950.0), "of all four together"


def test_devices_that_share_a_limit_are_advised_to_share_it(quotas: Quotas, clock: Clock) -> None:
    for each in range(10):
        quotas.admit(ACME, {device(f"d{each}"): (1, 0, 0)}, 0)
    clock.now += 0.5
    quotas.admit(ACME, {device("d0"): (9_990, 0, 0)}, 0)
    error = refused(quotas.admit(ACME, {device("d0"): (5_000, 0, 0), device("d1"): (1, 0, 0)}, 0))
    assert error.extra["advised_rate"] == 190.0, "two of ten devices, 95 % of 1,000 among all"
    clock.now += 200.0  # the other eight fell silent
    quotas.admit(ACME, {device("d0"): (10_000, 0, 0)}, 0)
    assert refused(quotas.admit(ACME, {device("d0"): (1, 0, 0)}, 0)).extra["advised_rate"] == 950.0


def test_records_of_no_device_count_to_their_organisation(quotas: Quotas) -> None:
    nobody = Device("", "acme", rates=NO_LIMIT)
    assert quotas.admit(ACME, {nobody: (10_000, 0, 0)}, 0) == {}
    assert refused(quotas.admit(ACME, {nobody: (1, 0, 0)}, 0))


def test_organisations_and_devices_of_equal_names_have_buckets_of_their_own(quotas: Quotas) -> None:
    organisation = replace(ACME, rates=TEN)
    same = Device("acme", "acme", rates=TEN)
    assert quotas.admit(organisation, {same: (60, 0, 0)}, 0) == {}
    assert quotas.admit(organisation, {same: (40, 0, 0)}, 0) == {}
