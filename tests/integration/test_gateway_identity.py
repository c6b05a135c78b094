"""Whose key a request to the gateway carries, how soon that changes, and what somebody learns who has none."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from connectors.entities.actor import SYSTEM
from connectors.entities.api_key_text import new_key_text
from connectors.entities.directory import Directory, open_directory
from connectors.entities.key_models import KeyCreate, KeyRole, NewKey
from connectors.entities.keys import SECRETS
from connectors.entities.models import EntityUpdate
from connectors.gateway.door.door import Door
from connectors.gateway.door.secret_checks import MOST_WRONG
from connectors.gateway.records import Caller
from tests.fault.tcp_proxy import PASS, Fault, TcpProxy
from tests.open_doors import AWAY_SECONDS, MovedClock, MovedWall, becomes, door_on, refused
from tests.stack_under_test import StackUnderTest
from tests.two_tenants import two_tenants
from tests.waiting import patient

Answer = TypeVar("Answer")
SENTENCE = "This takes an API key that holds: Basic, Bearer or X-API-Key."


@pytest.fixture(scope="module")
def dsn(stack: StackUnderTest) -> Iterator[str]:
    with two_tenants(stack) as fresh:
        yield fresh


def key_of(dsn: str, *, role: KeyRole = "device", **wanted: Any) -> NewKey:
    with open_directory(dsn, SYSTEM) as directory:
        return directory.keys.create(KeyCreate(role=role, **wanted))


def text(key: NewKey) -> bytes:
    return key.secret.encode()


def wrong(key: NewKey) -> bytes:
    """The same prefix with a secret that was never given."""
    return f"wr_{key.prefix}_{new_key_text().secret}".encode()


def in_directory(dsn: str, change: Callable[[Directory], Any]) -> Any:
    with open_directory(dsn, SYSTEM) as directory:
        return change(directory)


def set_active(dsn: str, kind: str, key: str, is_active: bool) -> None:
    def change(directory: Directory) -> None:
        found: UUID = directory.entities.get(kind, key).id
        directory.entities.update(found, EntityUpdate(is_active=is_active))

    in_directory(dsn, change)


def at(dsn: str, scenario: Callable[[Door], Awaitable[Answer]], **clocks: Any) -> Answer:
    async def run() -> Answer:
        async with door_on(dsn, **clocks) as door:
            return await scenario(door)

    return asyncio.run(run())


async def ends(door: Door, key: NewKey) -> None:
    """Wait until a key that is in use is refused, and by whom it is asked for anew."""
    await becomes(lambda: door.identity.known(text(key)) is None, "the key is not known")
    assert (await refused(door.identity.caller(text(key)))).code == 40101


def through(dsn: str, proxy: TcpProxy) -> str:
    return make_conninfo(dsn, host="127.0.0.1", port=proxy.port)


def proxy_to(dsn: str) -> TcpProxy:
    parts = conninfo_to_dict(dsn)
    return TcpProxy(str(parts["host"]), int(str(parts["port"])))


@pytest.mark.parametrize("role", ["device", "viewer", "editor", "admin"])
def test_a_key_of_an_organisation_acts_as_its_role_there(dsn: str, role: KeyRole) -> None:
    key = key_of(dsn, role=role, organisation="bread")

    async def scenario(door: Door) -> None:
        assert door.identity.known(text(key)) is None
        wanted = Caller(key.prefix, "bread", role)
        assert await door.identity.caller(text(key)) == wanted
        assert door.identity.known(text(key)) == wanted
        assert door.fleet.organisation("bread").slug == "bread"

    at(dsn, scenario)


def test_a_key_of_a_device_names_that_device(dsn: str) -> None:
    key = key_of(dsn, device="acme-1")

    async def scenario(door: Door) -> None:
        assert await door.identity.caller(text(key)) == Caller(key.prefix, "acme", "device", "acme-1")

    at(dsn, scenario)


def test_whoever_is_refused_reads_the_same_sentence_whatever_is_wrong(dsn: str) -> None:
    keys = {name: key_of(dsn, device="acme-2") for name in ("wrong", "revoked", "expired")}
    of_retired = key_of(dsn, device="bread-2")
    in_directory(dsn, lambda directory: directory.keys.revoke(keys["revoked"].prefix))
    change_key(dsn, "expires_at = now() - interval '1 second'", keys["expired"])
    set_active(dsn, "device", "bread-2", False)
    tried: dict[str, bytes | None] = {
        "nothing": None,
        "no key": b"Hello",
        "empty": b"",
        "no text": b"wr_\xff",
        "session": b"ws_" + b"a" * 60,
        "unknown prefix": str(new_key_text()).encode(),
        "wrong secret": wrong(keys["wrong"]),
        "revoked": text(keys["revoked"]),
        "expired": text(keys["expired"]),
        "retired device": text(of_retired),
    }

    async def scenario(door: Door) -> dict[str, tuple[int, str, Any]]:
        answers = {name: await refused(door.identity.caller(each)) for name, each in tried.items()}
        return {name: (each.status, each.message, each.body()) for name, each in answers.items()}

    try:
        told = at(dsn, scenario)
    finally:
        set_active(dsn, "device", "bread-2", True)
    assert told == dict.fromkeys(tried, (401, SENTENCE, {"error_code": 40101, "message": SENTENCE}))


def change_key(dsn: str, what: str, key: NewKey) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute(f"UPDATE api_keys SET {what} WHERE prefix = %s".encode(), [key.prefix])


def test_a_revoked_key_ends_within_a_moment_and_others_go_on(dsn: str) -> None:
    key, other = key_of(dsn, device="acme-1"), key_of(dsn, device="acme-1")

    async def scenario(door: Door) -> None:
        await asyncio.gather(*(door.identity.caller(text(each)) for each in (key, other)))
        in_directory(dsn, lambda directory: directory.keys.revoke(key.prefix))
        await ends(door, key)
        assert door.identity.known(text(other)) is not None

    at(dsn, scenario)


def test_a_rotated_key_ends_and_its_successor_may_do_the_same(dsn: str) -> None:
    key = key_of(dsn, device="acme-1")

    async def scenario(door: Door) -> None:
        await door.identity.caller(text(key))
        new: NewKey = in_directory(dsn, lambda directory: directory.keys.rotate(key.prefix))
        await ends(door, key)
        assert (await door.identity.caller(text(new))).device == "acme-1"

    at(dsn, scenario)


def test_in_the_grace_of_a_rotation_both_keys_hold_and_then_the_old_one_ends_without_postgres(dsn: str) -> None:
    key = key_of(dsn, device="acme-1")
    wall = MovedWall()

    async def scenario(door: Door) -> None:
        await door.identity.caller(text(key))
        grace = timedelta(hours=1)
        new: NewKey = in_directory(dsn, lambda directory: directory.keys.rotate(key.prefix, grace=grace))
        await becomes(lambda: door.watch.generation > 1, "the change was seen")
        assert await door.identity.caller(text(key)) and await door.identity.caller(text(new))
        wall.ahead = 3_601
        assert door.identity.known(text(key)) is None
        assert door.identity.known(text(new)) is not None

    at(dsn, scenario, wall=wall)


def test_a_key_that_expires_ends_by_the_clock_also_while_postgres_is_away(dsn: str) -> None:
    key = key_of(dsn, device="acme-1", expires_at=datetime.now(UTC) + timedelta(hours=1))
    wall = MovedWall()

    async def scenario() -> None:
        with proxy_to(dsn) as proxy:
            async with door_on(through(dsn, proxy), wall=wall) as door:
                await door.identity.caller(text(key))
                proxy.set(Fault("refuse"))
                await becomes(lambda: door.database.is_away, "Postgres is away")
                assert door.identity.known(text(key)) is not None
                wall.ahead = 3_601
                assert door.identity.known(text(key)) is None
                assert (await refused(door.identity.caller(text(key)))).status == 503

    asyncio.run(scenario())


@pytest.mark.parametrize(("kind", "retired"), [("device", "bread-1"), ("organisation", "bread")])
def test_a_key_ends_with_its_owner_and_comes_back_with_it(dsn: str, kind: str, retired: str) -> None:
    key = key_of(dsn, device="bread-1")

    async def scenario(door: Door) -> None:
        await door.identity.caller(text(key))
        before = door.watch.generation
        set_active(dsn, kind, retired, False)
        try:
            await ends(door, key)
        finally:
            set_active(dsn, kind, retired, True)
        await becomes(lambda: door.watch.generation > before + 1, "the return was seen")
        assert (await door.identity.caller(text(key))).device == "bread-1"

    at(dsn, scenario)


def test_another_role_and_another_hash_count_from_then_on(dsn: str) -> None:
    key = key_of(dsn, role="editor", organisation="acme")

    async def scenario(door: Door) -> None:
        await door.identity.caller(text(key))
        change_key(dsn, "role = 'viewer'", key)

        def role() -> str | None:
            found = door.identity.known(text(key))
            return found.role if found else None

        await becomes(lambda: role() == "viewer", "the key is a viewer's")
        change_key(dsn, "secret_hash = secret_hash || 'x'", key)
        await ends(door, key)

    at(dsn, scenario)


def test_a_wrong_secret_neither_passes_for_nor_forgets_the_right_one(dsn: str) -> None:
    key = key_of(dsn, device="acme-1")

    async def scenario(door: Door) -> None:
        await door.identity.caller(text(key))
        for _ in range(MOST_WRONG + 3):
            assert door.identity.known(other := wrong(key)) is None
            assert (await refused(door.identity.caller(other))).code == 40101
            assert door.identity.known(text(key)) is not None

    at(dsn, scenario)


def test_the_same_key_many_times_at_once_is_verified_once(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    key = key_of(dsn, device="acme-1")
    checked: list[str] = []

    async def scenario(door: Door) -> None:
        checks = door.identity._checks
        fits = checks.fits

        async def counted(kept: str | None, secret: str) -> bool:
            checked.append(secret)
            return await fits(kept, secret)

        monkeypatch.setattr(checks, "fits", counted)
        callers = await asyncio.gather(*(door.identity.caller(text(key)) for _ in range(100)))
        assert len(set(callers)) == 1

    at(dsn, scenario)
    assert len(checked) == 1


def test_a_thousand_wrong_keys_do_not_delay_a_good_one(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    good, named = key_of(dsn, device="acme-1"), key_of(dsn, device="acme-2")
    flood = [str(new_key_text()).encode() for _ in range(500)] + [wrong(named) for _ in range(500)]
    hashed: list[str] = []
    matches = SECRETS.matches

    def counted(kept: str | None, secret: str) -> bool:
        hashed.append(secret)
        return matches(kept, secret)

    async def scenario(door: Door) -> set[int]:
        monkeypatch.setattr(SECRETS, "matches", counted)
        wrong_ones = [asyncio.create_task(refused(door.identity.caller(each))) for each in flood]
        await asyncio.sleep(0)
        await door.identity.caller(text(good))
        # so many hashes, in two threads, are all that it waits for
        assert len(hashed) <= MOST_WRONG + 1
        return {(await each).code for each in wrong_ones}

    assert at(dsn, scenario) == {40101}
    assert len(hashed) == MOST_WRONG + 1


def test_a_prefix_that_nobody_has_takes_as_long_as_a_wrong_secret(dsn: str) -> None:
    keys = [key_of(dsn, device="acme-1") for _ in range(3)]

    async def scenario(door: Door) -> tuple[float, float]:
        async def seconds(credentials: bytes) -> float:
            began = time.perf_counter()
            await refused(door.identity.caller(credentials))
            return time.perf_counter() - began

        known = [await seconds(wrong(keys[turn % 3])) for turn in range(15)]
        unknown = [await seconds(str(new_key_text()).encode()) for _ in range(15)]
        return statistics.median(known), statistics.median(unknown)

    known, unknown = at(dsn, scenario)
    # without the pause it is 20 ms to 2 ms
    assert 0.3 < known / unknown < 3.0


def test_known_keys_go_on_while_postgres_is_away_for_so_long_and_no_longer_and_no_others_begin(dsn: str) -> None:
    key, other = key_of(dsn, device="acme-1"), key_of(dsn, device="acme-1")
    clock = MovedClock()

    async def scenario() -> None:
        with proxy_to(dsn) as proxy:
            async with door_on(through(dsn, proxy), clock=clock) as door:
                await door.identity.caller(text(key))
                proxy.set(Fault("refuse"))
                await becomes(lambda: door.database.is_away, "Postgres is away")
                clock.ahead = AWAY_SECONDS - 30
                assert door.identity.known(text(key)) is not None
                new = await refused(door.identity.caller(text(other)))
                assert (new.status, new.code, new.reason) == (503, 50003, "away") and new.retry_after
                clock.ahead = AWAY_SECONDS + 1
                assert door.identity.known(text(key)) is None
                assert (await refused(door.identity.caller(text(key)))).status == 503
                proxy.set(PASS)
                await becomes(lambda: door.identity.known(text(key)) is not None, "the known key holds again")
                assert await door.identity.caller(text(other))

    asyncio.run(scenario())


def test_a_postgres_that_does_not_answer_holds_up_no_known_key_and_refuses_others_in_time(dsn: str) -> None:
    key, other = key_of(dsn, device="acme-1"), key_of(dsn, device="acme-1")

    async def scenario() -> tuple[float, float]:
        with proxy_to(dsn) as proxy:
            async with door_on(through(dsn, proxy)) as door:
                await door.identity.caller(text(key))
                proxy.set(Fault("hang"))
                began = time.perf_counter()
                assert (await refused(door.identity.caller(text(other)))).status == 503
                hung = time.perf_counter() - began
                began = time.perf_counter()
                assert door.identity.known(text(key)) is not None
                assert (await refused(door.identity.caller(wrong(key)))).status == 503
                return hung, time.perf_counter() - began

    hung, after = asyncio.run(scenario())
    assert hung < patient(4.0)
    assert after < patient(4.0)


def test_a_key_revoked_while_postgres_was_away_ends_when_it_is_back(dsn: str) -> None:
    key = key_of(dsn, device="acme-1")

    async def scenario() -> None:
        with proxy_to(dsn) as proxy:
            async with door_on(through(dsn, proxy)) as door:
                await door.identity.caller(text(key))
                proxy.set(Fault("refuse"))
                await becomes(lambda: door.database.is_away, "Postgres is away")
                in_directory(dsn, lambda directory: directory.keys.revoke(key.prefix))
                assert door.identity.known(text(key)) is not None
                proxy.set(PASS)
                await ends(door, key)

    asyncio.run(scenario())


def test_nobody_is_admitted_when_postgres_was_away_from_the_start_until_it_comes(dsn: str) -> None:
    key = key_of(dsn, device="acme-1")

    async def scenario() -> None:
        with proxy_to(dsn) as proxy:
            proxy.set(Fault("refuse"))
            async with door_on(through(dsn, proxy)) as door:
                assert (await refused(door.identity.caller(text(key)))).status == 503
                proxy.set(PASS)
                await becomes(lambda: not door.database.is_away, "Postgres is back")
                assert (await door.identity.caller(text(key))).organisation == "acme"

    asyncio.run(scenario())


def test_the_use_of_a_key_is_noted_and_changes_nothing_else(dsn: str) -> None:
    key = key_of(dsn, device="acme-1")

    def noted() -> datetime | None:
        return in_directory(dsn, lambda directory: directory.keys.get(key.prefix)).last_used_at  # type: ignore[no-any-return]

    def version() -> Any:
        with psycopg.connect(dsn) as conn:
            return conn.execute(
                "SELECT m.version, k.changed_in::text FROM metadata_version m, api_keys k WHERE k.prefix = %s",
                [key.prefix],
            ).fetchone()

    before = version()

    async def scenario(door: Door) -> None:
        await door.identity.caller(text(key))
        await door.uses.write()
        first = noted()
        assert first is not None
        door.uses.note(key.prefix)
        await door.uses.write()
        assert noted() == first

    at(dsn, scenario)
    assert version() == before


def test_a_key_that_is_being_changed_is_not_waited_for_when_its_use_is_noted(dsn: str) -> None:
    key = key_of(dsn, device="acme-1")

    async def scenario(door: Door) -> None:
        await door.identity.caller(text(key))
        with psycopg.connect(dsn) as conn:
            conn.execute("SELECT id FROM api_keys WHERE prefix = %s FOR UPDATE", [key.prefix])
            async with asyncio.timeout(2):
                await door.uses.write()

    at(dsn, scenario)


def test_keys_cannot_be_deleted_behind_the_gateways_back(dsn: str) -> None:
    key = key_of(dsn, device="acme-1")
    with psycopg.connect(dsn) as conn, pytest.raises(psycopg.errors.RestrictViolation, match="keys are kept"):
        conn.execute("DELETE FROM api_keys WHERE prefix = %s", [key.prefix])
