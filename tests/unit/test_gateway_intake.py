"""What becomes of each record of a request: whose it is, what keeps it out, and what is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from connectors.gateway.content.reading import Reading, Span
from connectors.gateway.errors import KAFKA_RETRIABLE, NEW_DIMENSIONS, OVER_QUOTA, GatewayError
from connectors.gateway.intake import Entry, Intake, Outcome, ReadingEntry, Readings, Rules
from connectors.gateway.limits import Device, Organisation, Sampling
from connectors.gateway.records import SAMPLED_OUT, Caller, Outgoing, Written

KEY = Caller("p", "acme", "device")
LEFT_OUT = Sampling("on_change")


class FakeFleet:
    """Knows ``known``; what is looked up afterwards comes from ``asked``."""

    def __init__(self, organisation: Organisation) -> None:
        self.own = organisation
        self.known = {each.id: each for each in (Device("a", "acme"), Device("s", "acme", sampling=LEFT_OUT))}
        self.asked = {"b": Device("b", "acme"), "foreign": Device("foreign", "birch")}

    def device(self, device_id: str) -> Device | None:
        return self.known.get(device_id)

    async def look_up(self, device_ids: set[str]) -> None:
        for each in device_ids:
            self.known[each] = self.asked.get(each, Device(each, ""))

    def organisation(self, slug: str) -> Organisation:
        return self.own


class FakeLog:
    def __init__(self) -> None:
        self.records: list[Outgoing] = []
        self.fails: set[int] = set()

    async def send(self, records: Sequence[Outgoing]) -> list[Written | GatewayError]:
        self.records += records
        return [
            GatewayError(KAFKA_RETRIABLE, "away") if n in self.fails else Written(0, n) for n in range(len(records))
        ]


class FakeRules:
    """Quotas, sampler and dimensions at once."""

    def __init__(self) -> None:
        self.admitted: list[dict[str, tuple[int, int, int]]] = []
        self.over: GatewayError | dict[str, GatewayError] = {}
        self.forgotten: list[tuple[str, str]] = []
        self.asked: list[str] = []

    def admit(
        self, organisation: Organisation, devices: Mapping[Device, tuple[int, int, int]], body_bytes: int
    ) -> GatewayError | Mapping[str, GatewayError]:
        self.admitted.append({each.id: counts for each, counts in devices.items()})
        return self.over

    def keeps(
        self, sampling: Sampling, device_id: str, sensor: str, ts: int, value: Any, text: Any, marks: Any
    ) -> bool:
        return bool(value)

    def forget(self, device_id: str, sensor: str) -> None:
        self.forgotten.append((device_id, sensor))

    def refusal(self, organisation: Any, device: Any, sensor: str, *labels: Any) -> GatewayError | None:
        self.asked.append(device.id)
        return GatewayError(NEW_DIMENSIONS, "too many") if sensor == "new" else None


class FakeCounts:
    def __init__(self) -> None:
        self.counted: dict[str, int] = {}

    def count(self, organisation: str, *, reason: str = "", **counts: int) -> None:
        for name, count in counts.items():
            self.counted[f"{name} {reason}".strip()] = self.counted.get(f"{name} {reason}".strip(), 0) + count

    def add(self, **counts: int) -> None:
        for name, count in counts.items():
            self.counted[f"all_{name}"] = self.counted.get(f"all_{name}", 0) + count


class World:
    def __init__(self, **organisation: Any) -> None:
        self.fleet, self.log, self.rules, self.counts = (
            FakeFleet(Organisation("acme", **organisation)),
            FakeLog(),
            FakeRules(),
            FakeCounts(),
        )
        readings = Readings(
            "readings",
            lambda each: each.sensor.encode() + (each.unit or "").encode(),
            Span(7, 300.0),
            60_000,
            lambda _: 4,
        )
        rules = Rules(self.fleet, self.rules, self.rules, self.rules)
        self.intake = Intake(readings, rules, self.log, self.counts, self.counts)

    def take(self, *entries: Entry, caller: Caller = KEY) -> list[Outcome]:
        return asyncio.run(self.intake.readings(caller, entries, 100))


def now_ms() -> int:
    """When it is asked: a long run of tests must not make what was measured now a backlog."""
    return Span(7, 300.0).now()[1] - 300_000


def of(device: str, sensor: str = "t", value: float | None = 1.0, *, ago_ms: int = 0) -> Reading:
    return Reading(device, sensor, now_ms() - ago_ms, value)


def codes(outcomes: Sequence[Outcome]) -> list[Any]:
    return [each.reason if isinstance(each, GatewayError) else each for each in outcomes]


def test_every_entry_has_its_own_outcome_in_its_own_place() -> None:
    world = World()
    entries = (of("a"), GatewayError(42203, "bad"), of("b"), of("foreign"), of("nobody"), of("a", value=None), of("a"))
    found = codes(world.take(*entries))
    assert found == [
        Written(0, 0),
        "invalid",
        Written(0, 1),
        "foreign_device",
        "foreign_device",
        "no_value",
        Written(0, 2),
    ]
    assert [(each.key, each.partition) for each in world.log.records] == [(b"a", -1), (b"b", -1), (b"a", -1)]


def test_a_device_of_another_organisation_and_none_are_refused_in_the_same_words() -> None:
    foreign, nobody = World().take(of("foreign"), of("nobody"))
    assert isinstance(foreign, GatewayError) and isinstance(nobody, GatewayError)
    assert (foreign.code, foreign.message.replace("foreign", "X")) == (
        nobody.code,
        nobody.message.replace("nobody", "X"),
    )


def test_while_postgres_is_away_the_devices_that_are_known_go_on() -> None:
    class Away(FakeFleet):
        async def look_up(self, device_ids: set[str]) -> None:
            raise GatewayError(KAFKA_RETRIABLE, "away", retry_after=2.0)

    world = World()
    world.fleet.__class__ = Away
    assert codes(world.take(of("a"), of("b"), of("a"))) == [Written(0, 0), "away", Written(0, 1)]


def test_a_device_has_nobody_elses_looked_up() -> None:
    world = World()
    world.take(of("a"), of("b"), of("foreign"), caller=Caller("p", "acme", "device", "a"))
    assert world.fleet.known.keys() == {"a", "s"}


def test_many_readings_are_written_in_their_order_and_let_others_in_between() -> None:
    world, turns = World(), 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def both() -> list[Outcome]:
        waiting = asyncio.create_task(others())
        try:
            return await world.intake.readings(KEY, [of("a", ago_ms=-place) for place in range(2_600)], 100)
        finally:
            waiting.cancel()

    outcomes = asyncio.run(both())
    assert [each for each in outcomes if isinstance(each, Written)] == outcomes and turns > 8
    assert [each.value for each in world.log.records] == [b"t"] * 2_600
    assert world.rules.admitted == [{"a": (2_600, 0, 2_600)}]


def test_the_key_of_a_device_writes_for_that_device_only() -> None:
    world = World(register_prefix="n")
    found = codes(world.take(of("a"), of("b"), of("nobody"), caller=Caller("p", "acme", "device", "a")))
    assert found == [Written(0, 0), "foreign_device", "foreign_device"]


def test_a_device_that_the_stream_will_register_is_let_in() -> None:
    assert codes(World(register_prefix="no").take(of("nobody"), of("stranger"))) == [Written(0, 0), "foreign_device"]


@pytest.mark.parametrize(
    ("key", "partition", "outcome"),
    [(b"a", -1, Written(0, 0)), (b"b", -1, "invalid"), (None, 4, "not_found"), (b"", -1, "invalid")],
)
def test_a_reading_lies_where_its_device_id_says(key: bytes | None, partition: int, outcome: object) -> None:
    assert codes(World().take(ReadingEntry(of("a"), key, partition))) == [outcome]


def test_exactly_one_partition_is_right() -> None:
    found = [codes(World().take(ReadingEntry(of("a"), None, place))) for place in range(4)]
    assert sorted(map(str, found)) == sorted(["['invalid']"] * 3 + [str([Written(0, 0)])])


def test_old_readings_count_as_backlog_and_what_is_sampled_out_not_at_all() -> None:
    world = World()
    found = world.take(of("a"), of("a", ago_ms=61_000), of("s", value=0.0), of("s"))
    assert found[2] is SAMPLED_OUT
    assert world.rules.admitted == [{"a": (1, 1, 2), "s": (1, 0, 1)}]
    assert world.counts.counted["sampled_out"] == 1 and world.counts.counted["accepted"] == 3


def test_an_organisation_over_its_limit_writes_nothing_and_sampling_forgets() -> None:
    world = World()
    world.rules.over = GatewayError(OVER_QUOTA, "slow down", retry_after=1.5)
    assert codes(world.take(of("a"), of("s"), of("foreign"))) == ["over_quota", "over_quota", "foreign_device"]
    assert not world.log.records
    assert ("s", "t") in world.rules.forgotten
    assert world.counts.counted["rejected over_quota"] == 2


def test_a_device_over_its_limit_does_not_hold_up_the_others() -> None:
    world = World()
    world.rules.over = {"a": GatewayError(OVER_QUOTA, "slow down")}
    assert codes(world.take(of("a"), of("b"), of("a"))) == ["over_quota", Written(0, 0), "over_quota"]


def test_a_reading_that_kafka_did_not_take_may_be_sent_again_without_being_sampled_out() -> None:
    world = World()
    world.log.fails = {1}
    assert codes(world.take(of("a"), of("s"))) == [Written(0, 0), "away"]
    assert world.rules.forgotten == [("s", "t")]


def test_a_new_dimension_too_many_is_refused() -> None:
    assert codes(World().take(of("a", "new"), of("a"))) == ["new_dimensions", Written(0, 0)]


def test_what_a_quota_refuses_costs_nothing_of_what_may_be_new() -> None:
    world = World()
    world.rules.over = {"a": GatewayError(OVER_QUOTA, "slow down")}
    assert codes(world.take(of("a", "new"), of("b", "new"))) == ["over_quota", "new_dimensions"]
    assert world.rules.asked == ["b"]


def test_a_text_that_no_column_takes_is_refused() -> None:
    long = Reading("a", "t", now_ms(), 1.0, unit="x" * 257)
    assert codes(World().take(long, of("a"))) == ["too_long", Written(0, 0)]


def test_records_of_other_topics_keep_their_places_too() -> None:
    world = World()
    entries: list[Outgoing | GatewayError] = [
        Outgoing("acme.x", None, b"1"),
        GatewayError(42203, "bad"),
        Outgoing("acme.x", b"k", b"22"),
    ]
    found = asyncio.run(world.intake.plain(KEY, entries, 50))
    assert codes(found) == [Written(0, 0), "invalid", Written(0, 1)]
    assert world.rules.admitted == [{"": (2, 0, 4)}]
    world.rules.over = GatewayError(OVER_QUOTA, "slow down")
    assert codes(asyncio.run(world.intake.plain(KEY, entries, 50))) == ["over_quota", "invalid", "over_quota"]
