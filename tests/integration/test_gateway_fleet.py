"""What the gateway knows of devices and organisations, and how soon it knows better."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from collections.abc import Set as AbstractSet
from math import inf
from typing import Any, NamedTuple, TypeVar

import polars as pl
import psycopg
import pytest
from click.testing import CliRunner
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.json import Jsonb

from connectors.entities.actor import SYSTEM, Actor
from connectors.entities.directory import open_directory
from connectors.entities.errors import ForbiddenError, InvalidError
from connectors.entities.key_models import KeyCreate
from connectors.entities.models import EntityCreate, EntityUpdate
from connectors.gateway.door import queries as door_queries
from connectors.gateway.door.door import Door
from connectors.gateway.door.fleet import LONGEST_ID
from connectors.gateway.door.gathered import MOST_AT_ONCE
from connectors.gateway.door.properties import CAUTIOUS
from connectors.gateway.limits import Device, Rates, Sampling
from connectors.postgres.devices import register
from tests.fault.tcp_proxy import PASS, Fault, TcpProxy
from tests.open_doors import AWAY_SECONDS, LOOK_SECONDS, MovedClock, becomes, door_on, refused
from tests.stack_under_test import StackUnderTest
from tests.two_tenants import acting, two_tenants
from weir.cli.main import program

Answer = TypeVar("Answer")


def limited(records: float, size: float = inf) -> Rates:
    """Limits of which nothing was said but the rates of records and bytes."""
    return Rates(records, size, 10 * records)


@pytest.fixture(scope="module")
def dsn(stack: StackUnderTest) -> Iterator[str]:
    with two_tenants(stack) as fresh:
        yield fresh


def at(dsn: str, scenario: Callable[[Door], Awaitable[Answer]], **clocks: Any) -> Answer:
    async def run() -> Answer:
        async with door_on(dsn, **clocks) as door:
            return await scenario(door)

    return asyncio.run(run())


def change(dsn: str, kind: str, key: str, actor: Actor = SYSTEM, **update: Any) -> None:
    with open_directory(dsn, actor) as directory:
        directory.entities.update(directory.entities.get(kind, key).id, EntityUpdate(**update))


def make(dsn: str, key: str, **wanted: Any) -> None:
    with open_directory(dsn, SYSTEM) as directory:
        directory.entities.create(EntityCreate(entity_type="device", key=key, organisation="acme", **wanted))


def key_of_acme(dsn: str) -> bytes:
    with open_directory(dsn, SYSTEM) as directory:
        return directory.keys.create(KeyCreate(role="device", organisation="acme")).secret.encode()


def add(dsn: str, devices: list[str]) -> None:
    frame = pl.DataFrame({"device_id": devices}).with_columns(sensor=pl.lit("t"), metric=pl.lit("room.temperature"))
    register(dsn, "acme", None, frame)


class Seen(NamedTuple):
    """A device field by field: devices themselves are equal only when they are one."""

    id: str
    organisation: str
    sensors: AbstractSet[str] = frozenset()
    rates: Rates | None = None
    sampling: Sampling | None = None


async def found(door: Door, *ids: str) -> list[Seen]:
    """What is known of them after a look."""
    await door.fleet.look_up(ids)
    known = [door.fleet.device(each) or Device("unknown", "unknown") for each in ids]
    return [Seen(each.id, each.organisation, each.sensors, each.rates, each.sampling) for each in known]


async def forgets(door: Door, device_id: str) -> None:
    await becomes(lambda: door.fleet.device(device_id) is None, f"{device_id} is asked for again")


def test_a_device_is_its_organisations_with_its_sensors_and_others_are_nobodys(dsn: str) -> None:
    async def scenario(door: Door) -> None:
        assert door.fleet.device("acme-1") is None
        assert await found(door, "acme-1", "bread-1", "acme-2", "nobody's") == [
            Seen("acme-1", "acme", frozenset({"t"})),
            Seen("bread-1", "bread", frozenset({"t"})),
            Seen("acme-2", "acme"),
            Seen("nobody's", ""),
        ]

    at(dsn, scenario)


@pytest.mark.parametrize(
    "odd", ["", "nul \0 in it", "half \ud800 a pair", "a" * LONGEST_ID, "a" * (LONGEST_ID + 1), "é" * 1_000_000]
)
def test_an_id_that_no_device_can_have_is_nobodys_and_fails_nothing(dsn: str, odd: str) -> None:
    async def scenario(door: Door) -> None:
        known, nobody = await found(door, "acme-1", odd)
        assert known == Seen("acme-1", "acme", frozenset({"t"}))
        # what is too long for an id is not remembered
        assert nobody == Seen(odd if len(odd) <= LONGEST_ID else "", "")
        assert not door.database.is_away

    at(dsn, scenario)


def test_a_device_that_was_registered_a_moment_ago_is_known(dsn: str) -> None:
    async def scenario(door: Door) -> None:
        assert await found(door, "newcomer") == [Seen("newcomer", "")]
        add(dsn, ["newcomer"])
        await forgets(door, "newcomer")
        assert await found(door, "newcomer") == [Seen("newcomer", "acme", frozenset({"t"}))]

    at(dsn, scenario)


def test_a_change_of_a_device_or_its_sensors_is_in_force_within_a_moment_and_leaves_others_alone(dsn: str) -> None:
    make(dsn, "changing")

    async def scenario(door: Door) -> None:
        await found(door, "changing", "acme-2")
        patch = {"quotas": {"records_per_second": 7}, "sampling": {"policy": "on_change"}}
        change(dsn, "device", "changing", merge=patch)
        await forgets(door, "changing")
        assert door.fleet.device("acme-2") is not None
        assert await found(door, "changing") == [
            Seen("changing", "acme", frozenset(), limited(7.0), Sampling("on_change"))
        ]
        with open_directory(dsn, SYSTEM) as directory:
            sensor = EntityCreate(
                entity_type="sensor", key="late", parent="changing", properties={"metric": "room.temperature"}
            )
            directory.entities.create(sensor)
        await forgets(door, "changing")
        [device] = await found(door, "changing")
        assert device.sensors == {"late"}
        change(dsn, "device", "changing", is_active=False)
        await forgets(door, "changing")
        assert await found(door, "changing") == [Seen("changing", "")]

    at(dsn, scenario)


def test_a_retired_sensor_is_none_of_the_device(dsn: str) -> None:
    make(dsn, "half")
    with open_directory(dsn, SYSTEM) as directory:
        for key in ("a", "b"):
            directory.entities.create(
                EntityCreate(entity_type="sensor", key=key, parent="half", properties={"metric": "room.temperature"})
            )
        directory.entities.retire(directory.entities.get("sensor", "a", parent="half").id)

    async def scenario(door: Door) -> None:
        assert await found(door, "half") == [Seen("half", "acme", frozenset({"b"}))]

    at(dsn, scenario)


def test_limits_of_an_organisation_change_within_a_moment_and_with_them_those_of_its_devices(dsn: str) -> None:
    make(dsn, "own-limits", properties={"quotas": {"records_per_second": 3}})
    credentials = key_of_acme(dsn)
    quotas = {"records_per_second": 1_000, "new_values_a_day": 5, "devices": {"bytes_per_second": 2_000}}

    async def scenario(door: Door) -> None:
        await door.identity.caller(credentials)
        assert door.fleet.organisation("acme").rates == Rates()
        assert await found(door, "own-limits") == [Seen("own-limits", "acme", rates=limited(3.0))]
        change(dsn, "organisation", "acme", merge={"quotas": quotas, "sampling": {"policy": "every", "seconds": 30}})
        await becomes(lambda: door.fleet.organisation("acme").rates == limited(1_000.0), "the limit is in force")
        held = door.fleet.organisation("acme")
        assert (held.new_values_a_day, held.device_rates) == (5, Rates(bytes_per_second=2_000.0))
        assert held.sampling == Sampling("every", 30.0)
        assert await found(door, "own-limits") == [Seen("own-limits", "acme", rates=limited(3.0, 2_000.0))]
        with pytest.raises(KeyError):
            door.fleet.organisation("bread")

    try:
        at(dsn, scenario)
    finally:
        change(dsn, "organisation", "acme", merge={"quotas": None, "sampling": None})


def test_what_sql_wrote_around_the_service_neither_crashes_nor_lifts_a_limit(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    make(dsn, "garbled")
    credentials = key_of_acme(dsn)
    write(dsn, "garbled", {"quotas": {"records_per_second": "many"}, "sampling": [1]})
    write(dsn, "acme", {"quotas": {"records_per_second": -1, "devices": "none"}})

    async def scenario(door: Door) -> None:
        await door.identity.caller(credentials)
        assert door.fleet.organisation("acme").rates == limited(CAUTIOUS.records_per_second)
        assert await found(door, "garbled") == [Seen("garbled", "acme", rates=CAUTIOUS)]

    try:
        with caplog.at_level(logging.WARNING):
            at(dsn, scenario)
    finally:
        write(dsn, "acme", {})
    assert "device garbled" in caplog.text and "organisation acme" in caplog.text


def write(dsn: str, key: str, properties: dict[str, Any]) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE entities SET properties = %s WHERE key = %s", [Jsonb(properties), key])


def test_many_ids_are_one_question(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    device_rows = door_queries.device_rows

    def counted(conn: psycopg.Connection, ids: Any) -> Any:
        asked.append(len(ids))
        return device_rows(conn, ids)

    monkeypatch.setattr("connectors.gateway.door.fleet.device_rows", counted)

    async def scenario(door: Door) -> None:
        await door.fleet.look_up([f"made-up-{number}" for number in range(2_000)])
        await asyncio.gather(*(door.fleet.look_up([f"other-{number}"]) for number in range(300)))

    at(dsn, scenario)
    assert sum(asked) == 2_300
    # those of the first look in full questions, the others with the first of them and with all that followed it
    assert len(asked) <= 2_000 // MOST_AT_ONCE + 2


def test_what_was_asked_before_a_change_and_answered_after_it_is_asked_again(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(dsn, "racing")
    asked: list[int] = []
    device_rows = door_queries.device_rows

    async def scenario(door: Door) -> None:
        generation = door.watch.generation

        def slow(conn: psycopg.Connection, ids: Any) -> Any:
            rows = device_rows(conn, ids)
            asked.append(len(ids))
            if len(asked) == 1:
                change(dsn, "device", "racing", merge={"quotas": {"records_per_second": 7}})
                while door.watch.generation == generation:
                    time.sleep(0.01)
            return rows

        monkeypatch.setattr("connectors.gateway.door.fleet.device_rows", slow)
        assert await found(door, "racing") == [Seen("racing", "acme", rates=limited(7.0))]

    at(dsn, scenario)
    assert len(asked) >= 2


def test_after_more_changes_than_can_be_named_everything_is_asked_for_again(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door_queries, "MOST_CHANGED", 3)
    credentials = key_of_acme(dsn)

    async def scenario(door: Door) -> None:
        await door.identity.caller(credentials)
        await found(door, "acme-1", "nobody's")
        add(dsn, [f"bulk-{number}" for number in range(5)])
        await becomes(lambda: door.identity.known(credentials) is None, "the key is asked for again")
        assert door.fleet.device("acme-1") is None and door.fleet.device("nobody's") is None
        assert (await door.identity.caller(credentials)).organisation == "acme"
        assert await found(door, "acme-1") == [Seen("acme-1", "acme", frozenset({"t"}))]

    at(dsn, scenario)


def test_a_long_transaction_elsewhere_hides_no_change_and_repeats_none(dsn: str) -> None:
    make(dsn, "meanwhile")

    async def scenario(door: Door) -> None:
        await found(door, "meanwhile", "acme-1")
        with psycopg.connect(dsn) as slow:
            slow.execute("SELECT pg_current_xact_id()")
            change(dsn, "device", "meanwhile", description="quick")
            await forgets(door, "meanwhile")
            assert door.fleet.device("acme-1") is not None
            await found(door, "meanwhile")
            await asyncio.sleep(6 * LOOK_SECONDS)
            assert door.fleet.device("meanwhile") is not None
            slow.execute("UPDATE entities SET description = 'slow' WHERE key = 'acme-1'")
            slow.commit()
            await forgets(door, "acme-1")
            assert door.fleet.device("meanwhile") is not None

    at(dsn, scenario)


def test_known_devices_hold_while_postgres_is_away_for_so_long_and_unknown_ones_are_503(dsn: str) -> None:
    clock = MovedClock()
    parts = conninfo_to_dict(dsn)

    async def scenario() -> None:
        with TcpProxy(str(parts["host"]), int(str(parts["port"]))) as proxy:
            async with door_on(make_conninfo(dsn, host="127.0.0.1", port=proxy.port), clock=clock) as door:
                await found(door, "acme-1")
                proxy.set(Fault("refuse"))
                await becomes(lambda: door.database.is_away, "Postgres is away")
                clock.ahead = AWAY_SECONDS - 30
                assert await found(door, "acme-1") == [Seen("acme-1", "acme", frozenset({"t"}))]
                assert (await refused(door.fleet.look_up(["acme-1", "acme-2"]))).status == 503
                clock.ahead = AWAY_SECONDS + 1
                assert door.fleet.device("acme-1") is None
                assert (await refused(door.fleet.look_up(["acme-1"]))).status == 503
                proxy.set(PASS)
                await becomes(lambda: not door.database.is_away, "Postgres is back")
                assert (await found(door, "acme-1"))[0].organisation == "acme"

    asyncio.run(scenario())


def test_only_a_superuser_says_how_much_an_organisation_may_send(dsn: str) -> None:
    limit = {"quotas": {"records_per_second": 10}}
    with pytest.raises(ForbiddenError, match="how much an organisation may send"):
        change(dsn, "organisation", "acme", acting("acme", "admin"), merge=limit)
    change(dsn, "organisation", "acme", merge=limit)
    lifted: list[dict[str, Any]] = [{"merge": {"quotas": None}}, {"properties": {}}]
    for update in lifted:
        with pytest.raises(ForbiddenError):
            change(dsn, "organisation", "acme", acting("acme", "admin"), **update)
    change(dsn, "organisation", "acme", acting("acme", "admin"), merge={"sampling": {"policy": "all"}})
    change(dsn, "organisation", "acme", merge={"quotas": None, "sampling": None})


def test_an_admin_says_how_much_a_device_may_send_and_what_is_kept_and_an_editor_does_not(dsn: str) -> None:
    for patch in ({"quotas": {"records_per_second": 10}}, {"sampling": {"policy": "every", "seconds": 5}}):
        with pytest.raises(ForbiddenError):
            change(dsn, "device", "bread-1", acting("bread", "editor"), merge=patch)
        with pytest.raises(ForbiddenError), open_directory(dsn, acting("bread", "editor")) as directory:
            directory.entities.create(EntityCreate(entity_type="device", key="limited", properties=patch))
        change(dsn, "device", "bread-1", acting("bread", "admin"), merge=patch)
    change(dsn, "device", "bread-1", acting("bread", "editor"), merge={"location": "hall"})
    change(dsn, "device", "bread-1", merge={"quotas": None, "sampling": None, "location": None})


def test_limits_are_set_and_taken_away_on_the_command_line(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_POSTGRES__DSN", dsn)
    credentials = key_of_acme(dsn)

    def weir(*arguments: str) -> None:
        done = CliRunner().invoke(program, arguments)
        assert done.exit_code == 0, done.output

    async def scenario(door: Door) -> None:
        await door.identity.caller(credentials)
        given = ("quotas.records_per_second=1000", "quotas.devices.records_per_second=20", "sampling.policy=on_change")
        weir("orgs", "set", "acme", *(part for each in given for part in ("--property", each)))
        await becomes(lambda: door.fleet.organisation("acme").rates == limited(1_000.0), "the limit is in force")
        assert door.fleet.organisation("acme").device_rates == limited(20.0)
        assert door.fleet.organisation("acme").sampling == Sampling("on_change")
        weir("devices", "set", "acme-2", "--property", "quotas.records_per_second=50")
        assert await found(door, "acme-2") == [Seen("acme-2", "acme", rates=Rates(50.0, inf, 200.0))]
        weir("devices", "set", "acme-2", "--property", "quotas=null")
        weir("orgs", "set", "acme", "--property", "quotas=null", "--property", "sampling=null")
        await becomes(lambda: door.fleet.organisation("acme").rates == Rates(), "the limit is gone")

    at(dsn, scenario)


@pytest.mark.parametrize(
    ("kind", "key", "patch"),
    [
        ("organisation", "acme", {"quotas": {"records_per_second": -1}}),
        ("organisation", "acme", {"quotas": {"records_per_second": "10"}}),
        ("organisation", "acme", {"quotas": {"records_a_second": 10}}),
        ("organisation", "acme", {"quotas": {"burst_seconds": 0}}),
        ("organisation", "acme", {"quotas": {"burst_seconds": 4_000}}),
        ("organisation", "acme", {"quotas": {"new_values_a_day": 1.5}}),
        ("organisation", "acme", {"quotas": {"devices": {"new_values_a_day": 1}}}),
        ("organisation", "acme", {"quotas": 10}),
        ("organisation", "acme", {"sampling": {"policy": "sometimes"}}),
        ("organisation", "acme", {"sampling": {"seconds": 5}}),
        ("device", "acme-1", {"quotas": {"new_values_a_day": 1}}),
        ("device", "acme-1", {"quotas": {"devices": {}}}),
        ("device", "acme-1", {"sampling": {"policy": "every", "seconds": -5}}),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_when_it_is_given(dsn: str, kind: str, key: str, patch: Any) -> None:
    with pytest.raises(InvalidError):
        change(dsn, kind, key, merge=patch)
