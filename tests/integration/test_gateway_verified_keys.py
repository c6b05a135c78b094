"""What a restarted gateway still knows of keys, and that it admits nobody whom Postgres would not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from connectors.entities.actor import SYSTEM
from connectors.entities.api_key_text import new_key_text, parse_key_text
from connectors.entities.directory import open_directory
from connectors.entities.key_models import KeyCreate, NewKey
from connectors.entities.keys import SECRETS
from connectors.entities.models import EntityUpdate
from connectors.gateway.door.door import Door
from tests.fault.tcp_proxy import PASS, Fault, TcpProxy
from tests.open_doors import becomes, door_on, refused
from tests.stack_under_test import StackUnderTest
from tests.two_tenants import two_tenants

Answer = TypeVar("Answer")


@pytest.fixture(scope="module")
def dsn(stack: StackUnderTest) -> Iterator[str]:
    with two_tenants(stack) as fresh:
        yield fresh


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The secrets that were hashed, but not to learn how long that takes."""
    told: list[str] = []
    matches = SECRETS.matches

    def counted(kept: str | None, secret: str) -> bool:
        if kept is not None:
            told.append(secret)
        return matches(kept, secret)

    monkeypatch.setattr(SECRETS, "matches", counted)
    return told


def key_of(dsn: str, device: str = "acme-1", expires_at: datetime | None = None) -> NewKey:
    with open_directory(dsn, SYSTEM) as directory:
        return directory.keys.create(KeyCreate(role="device", device=device, expires_at=expires_at))


def text(key: NewKey) -> bytes:
    return key.secret.encode()


def change_key(dsn: str, key: NewKey, what: str, *values: object) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute(f"UPDATE api_keys SET {what} WHERE prefix = %s".encode(), [*values, key.prefix])


def at(dsn: str, data_dir: Path, scenario: Callable[[Door], Awaitable[Answer]]) -> Answer:
    async def run() -> Answer:
        async with door_on(dsn, data_dir=data_dir) as door:
            return await scenario(door)

    return asyncio.run(run())


def use(dsn: str, data_dir: Path, *keys: NewKey) -> None:
    """Let a gateway run until all of them were admitted."""

    async def admit(door: Door) -> None:
        for each in keys:
            assert (await door.identity.caller(text(each))).prefix == each.prefix

    at(dsn, data_dir, admit)


def is_refused(dsn: str, data_dir: Path, credentials: bytes) -> None:
    async def ask(door: Door) -> None:
        assert (await refused(door.identity.caller(credentials))).code == 40101
        assert door.identity.known(credentials) is None

    at(dsn, data_dir, ask)


def test_after_a_restart_no_key_is_hashed_that_was_before(dsn: str, tmp_path: Path, hashed: list[str]) -> None:
    keys, new = [key_of(dsn) for _ in range(3)], key_of(dsn)
    use(dsn, tmp_path, *keys)
    assert len(hashed) == 3
    use(dsn, tmp_path, *keys, new)
    assert len(hashed) == 4
    use(dsn, tmp_path, new, *keys)
    assert len(hashed) == 4
    use(dsn, tmp_path / "another", *keys)
    assert len(hashed) == 7


def test_nobody_is_known_after_a_restart_before_postgres_was_asked(dsn: str, tmp_path: Path) -> None:
    key = key_of(dsn)
    use(dsn, tmp_path, key)
    change_key(dsn, key, "device_id = NULL, role = 'viewer'")

    async def ask(door: Door) -> None:
        assert door.identity.known(text(key)) is None
        assert door.identity.known_keys == 0
        caller = await door.identity.caller(text(key))
        assert (caller.role, caller.device, caller.organisation) == ("viewer", None, "acme")
        assert door.fleet.organisation("acme").slug == "acme"

    at(dsn, tmp_path, ask)


@pytest.mark.parametrize("how", ["revoked", "expired", "other hash"])
def test_a_key_that_ended_while_no_gateway_ran_is_refused(dsn: str, tmp_path: Path, how: str) -> None:
    key = key_of(dsn, expires_at=datetime.now(UTC) + timedelta(hours=1))
    use(dsn, tmp_path, key)
    use(dsn, tmp_path, key)
    if how == "revoked":
        with open_directory(dsn, SYSTEM) as directory:
            directory.keys.revoke(key.prefix)
    elif how == "expired":
        change_key(dsn, key, "expires_at = now() - interval '1 second'")
    else:
        change_key(dsn, key, "secret_hash = %s", SECRETS.hash(new_key_text().secret))
    is_refused(dsn, tmp_path, text(key))


def test_a_key_that_is_revoked_before_it_was_used_again_leaves_the_file(dsn: str, tmp_path: Path) -> None:
    key, other = key_of(dsn), key_of(dsn)
    use(dsn, tmp_path, key, other)
    file = tmp_path / "keys" / "verified"
    assert key.prefix.encode() in file.read_bytes()

    async def revoke(door: Door) -> None:
        with open_directory(dsn, SYSTEM) as directory:
            directory.keys.revoke(key.prefix)
        await becomes(lambda: door.watch.generation > 1, "the change was seen")

    at(dsn, tmp_path, revoke)
    kept = file.read_bytes()
    assert key.prefix.encode() not in kept and other.prefix.encode() in kept


@pytest.mark.parametrize(("kind", "retired"), [("device", "bread-1"), ("organisation", "bread")])
def test_a_key_whose_owner_was_retired_meanwhile_is_refused_and_comes_back_with_it(
    dsn: str, tmp_path: Path, kind: str, retired: str
) -> None:
    def set_active(is_active: bool) -> None:
        with open_directory(dsn, SYSTEM) as directory:
            found = directory.entities.get(kind, retired).id
            directory.entities.update(found, EntityUpdate(is_active=is_active))

    key = key_of(dsn, "bread-1")
    use(dsn, tmp_path, key)
    set_active(False)
    try:
        is_refused(dsn, tmp_path, text(key))
    finally:
        set_active(True)
    use(dsn, tmp_path, key)


def test_a_key_with_another_hash_is_verified_again(dsn: str, tmp_path: Path, hashed: list[str]) -> None:
    key = key_of(dsn)
    use(dsn, tmp_path, key)
    parts = parse_key_text(key.secret)
    assert parts is not None
    change_key(dsn, key, "secret_hash = %s", SECRETS.hash(parts.secret))
    use(dsn, tmp_path, key)
    assert hashed == [parts.secret] * 2
    use(dsn, tmp_path, key)
    assert hashed == [parts.secret] * 2


def test_a_wrong_secret_of_a_verified_key_is_hashed_and_refused_and_forgets_nothing(
    dsn: str, tmp_path: Path, hashed: list[str]
) -> None:
    key = key_of(dsn)
    use(dsn, tmp_path, key)
    is_refused(dsn, tmp_path, f"wr_{key.prefix}_{new_key_text().secret}".encode())
    assert len(hashed) == 2
    use(dsn, tmp_path, key)
    assert len(hashed) == 2


def test_a_file_that_others_may_read_is_worth_nothing(
    dsn: str, tmp_path: Path, hashed: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    key = key_of(dsn)
    use(dsn, tmp_path, key)
    (tmp_path / "keys" / "verified").chmod(0o644)
    use(dsn, tmp_path, key)
    assert len(hashed) == 2
    assert "others may read or write it" in caplog.text


def test_a_key_of_the_file_gets_503_while_postgres_is_away_from_the_start(
    dsn: str, tmp_path: Path, hashed: list[str]
) -> None:
    key = key_of(dsn)
    use(dsn, tmp_path, key)
    parts = conninfo_to_dict(dsn)

    async def scenario() -> None:
        with TcpProxy(str(parts["host"]), int(str(parts["port"]))) as proxy:
            proxy.set(Fault("refuse"))
            through = make_conninfo(dsn, host="127.0.0.1", port=proxy.port)
            async with door_on(through, data_dir=tmp_path) as door:
                assert (await refused(door.identity.caller(text(key)))).status == 503
                assert door.identity.known(text(key)) is None
                proxy.set(PASS)
                await becomes(lambda: not door.database.is_away, "Postgres is back")
                assert (await door.identity.caller(text(key))).device == "acme-1"

    asyncio.run(scenario())
    assert len(hashed) == 1


def test_a_thousand_verified_keys_are_back_in_seconds(dsn: str, tmp_path: Path, hashed: list[str]) -> None:
    """Hashing them takes ten, and three quarters of them would be refused because too many wait."""
    first = key_of(dsn)
    parts = parse_key_text(first.secret)
    assert parts is not None
    keys = [f"wr_{new_key_text().prefix}_{parts.secret}".encode() for _ in range(1_000)]
    with psycopg.connect(dsn) as conn:
        conn.execute(
            """INSERT INTO api_keys (prefix, secret_hash, role, organisation_id, device_id)
            SELECT p, secret_hash, role, organisation_id, device_id FROM api_keys, unnest(%s::text[]) p
            WHERE prefix = %s""",
            [[each[3:15].decode() for each in keys], first.prefix],
        )
        found = conn.execute("SELECT secret_hash FROM api_keys WHERE prefix = %s", [first.prefix]).fetchone()
    assert found is not None

    async def verify(door: Door) -> None:
        proofs = door.identity._proofs
        for each in keys:
            proofs.remember(proofs.proof(proofs.digest(each), each[3:15], found[0]))

    async def admit(door: Door) -> int:
        async with asyncio.timeout(5):
            return len(set(await asyncio.gather(*map(door.identity.caller, keys))))

    at(dsn, tmp_path, verify)
    assert at(dsn, tmp_path, admit) == 1_000
    assert hashed == []
