from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from connectors.entities.actor import SYSTEM, Actor
from connectors.entities.api_key_text import ALPHABET
from connectors.entities.directory import open_directory
from connectors.entities.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from connectors.entities.key_models import KeyCreate, NewKey
from connectors.entities.models import EntityCreate, EntityUpdate
from tests.stack_under_test import StackUnderTest
from tests.two_tenants import acting, two_tenants

ADMIN = acting("acme", "admin")


@pytest.fixture(scope="module")
def dsn(stack: StackUnderTest) -> Iterator[str]:
    with two_tenants(stack) as fresh:
        yield fresh


def create(dsn: str, *, by: Actor = ADMIN, **wanted: Any) -> NewKey:
    with open_directory(dsn, by) as directory:
        return directory.keys.create(KeyCreate(**wanted))


def verify(dsn: str, text: str) -> Actor | None:
    with open_directory(dsn, SYSTEM) as directory:
        return directory.keys.verify(text)


def change(dsn: str, statement: str, *values: object) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute(statement.encode(), values)


def told(dsn: str, prefix: str) -> list[tuple[str, str, str]]:
    """Type, actor and entity of the events that name a key."""
    with psycopg.connect(dsn) as conn:
        return conn.execute(
            "SELECT event_type, actor, entity_key FROM events WHERE data ->> 'prefix' = %s ORDER BY id", [prefix]
        ).fetchall()


def test_a_key_acts_as_what_it_was_made_for(dsn: str) -> None:
    of_device = create(dsn, device="acme-1")
    of_all = create(dsn, role="device")
    editor = create(dsn, role="editor", name="nightly job")
    with open_directory(dsn, SYSTEM) as directory:
        device = directory.entities.get("device", "acme-1").id
    assert verify(dsn, of_device.secret) == Actor(f"key:{of_device.prefix}", "device", "acme", device)
    assert verify(dsn, of_all.secret) == Actor(f"key:{of_all.prefix}", "device", "acme", None)
    assert verify(dsn, editor.secret) == Actor(f"key:{editor.prefix}", "editor", "acme", None)


def test_the_log_tells_of_a_key_on_its_device_or_organisation(dsn: str) -> None:
    of_device, of_all = create(dsn, device="acme-1"), create(dsn, role="viewer")
    assert told(dsn, of_device.prefix) == [("key.created", "admin@acme.example", "acme-1")]
    assert told(dsn, of_all.prefix) == [("key.created", "admin@acme.example", "acme")]


def test_nothing_that_is_kept_or_listed_holds_the_secret(dsn: str) -> None:
    key = create(dsn, role="admin")
    secret = key.secret.rsplit("_", 1)[1]
    with open_directory(dsn, ADMIN) as directory:
        rotated = directory.keys.rotate(key.prefix)
        listed = directory.keys.list(include_revoked=True)
    with psycopg.connect(dsn) as conn:
        kept = conn.execute("SELECT k::text FROM api_keys k UNION ALL SELECT e::text FROM events e").fetchall()
    assert secret not in f"{listed} {kept} {key!r}"
    assert rotated.secret.rsplit("_", 1)[1] not in f"{listed} {kept} {rotated!r}"
    assert "argon2" not in str(listed)


def test_a_key_that_differs_in_one_letter_opens_nothing(dsn: str) -> None:
    key = create(dsn, role="viewer")
    for place in (3, 14, 16, len(key.secret) - 1):
        letter = next(other for other in ALPHABET if other != key.secret[place])
        assert verify(dsn, key.secret[:place] + letter + key.secret[place + 1 :]) is None
    other = create(dsn, role="viewer")
    assert verify(dsn, f"wr_{key.prefix}_{other.secret.rsplit('_', 1)[1]}") is None
    assert verify(dsn, key.secret) is not None


@pytest.mark.parametrize("text", ["", "wr_", "' OR true --", "wr_%_%", "\x00", "\ud800", "x" * 100_000])
def test_what_is_no_key_opens_nothing_and_breaks_nothing(dsn: str, text: str) -> None:
    assert verify(dsn, text) is None


def test_a_key_ends_at_its_time(dsn: str) -> None:
    key = create(dsn, role="viewer", expires_at=datetime.now(UTC) + timedelta(hours=1))
    assert verify(dsn, key.secret) is not None
    change(dsn, "UPDATE api_keys SET expires_at = now() WHERE prefix = %s", key.prefix)
    assert verify(dsn, key.secret) is None
    with pytest.raises(InvalidError, match="is of no use: that is over"):
        create(dsn, role="viewer", expires_at=datetime.now(UTC) - timedelta(seconds=1))


def test_a_revoked_key_opens_nothing_and_stays_in_the_list_of_all(dsn: str) -> None:
    key = create(dsn, role="viewer")
    with open_directory(dsn, ADMIN) as directory:
        revoked = directory.keys.revoke(key.prefix)
    with open_directory(dsn, ADMIN) as directory:
        assert directory.keys.revoke(key.prefix) == revoked  # again changes nothing
        assert key.prefix not in {found.prefix for found in directory.keys.list().items}
        assert key.prefix in {found.prefix for found in directory.keys.list(include_revoked=True).items}
    assert verify(dsn, key.secret) is None
    assert [kind for kind, _, _ in told(dsn, key.prefix)] == ["key.created", "key.revoked"]


def test_a_retired_device_or_organisation_closes_its_keys_until_it_is_back(dsn: str) -> None:
    key, other = create(dsn, device="acme-2"), create(dsn, device="acme-1")
    with open_directory(dsn, SYSTEM) as directory:
        device = directory.entities.get("device", "acme-2").id
        directory.entities.retire(device)
    assert verify(dsn, key.secret) is None
    assert verify(dsn, other.secret) is not None
    with pytest.raises(ConflictError, match="Device acme-2 is retired"):
        create(dsn, device="acme-2")
    with open_directory(dsn, SYSTEM) as directory:
        directory.entities.update(device, EntityUpdate(is_active=True))
        acme = directory.entities.get("organisation", "acme").id
        directory.entities.retire(acme)
    try:
        assert verify(dsn, key.secret) is None
    finally:
        with open_directory(dsn, SYSTEM) as directory:
            directory.entities.update(acme, EntityUpdate(is_active=True))
    assert verify(dsn, key.secret) is not None


def test_the_keys_of_a_retired_device_can_still_be_revoked(dsn: str) -> None:
    with open_directory(dsn, ADMIN) as directory:
        device = directory.entities.create(EntityCreate(entity_type="device", key="acme-gone", name="Gone"))
    key = create(dsn, device="acme-gone")
    with open_directory(dsn, ADMIN) as directory:
        directory.entities.retire(device.id)
        assert directory.keys.revoke(key.prefix).revoked_at is not None


def test_a_rotation_ends_the_old_key_at_once_or_after_its_grace(dsn: str) -> None:
    ends = datetime.now(UTC) + timedelta(days=1)
    old = create(dsn, device="acme-1", name="probe", expires_at=ends)
    with open_directory(dsn, ADMIN) as directory:
        new = directory.keys.rotate(old.prefix)
    assert (new.role, new.device, new.name, new.expires_at) == ("device", "acme-1", "probe", ends)
    assert verify(dsn, old.secret) is None
    found = verify(dsn, new.secret)
    assert found is not None and found.device is not None
    with open_directory(dsn, ADMIN) as directory:
        newer = directory.keys.rotate(new.prefix, grace=timedelta(minutes=5))
    assert verify(dsn, new.secret) is not None
    assert verify(dsn, newer.secret) is not None
    change(dsn, "UPDATE api_keys SET revoked_at = now() WHERE prefix = %s", new.prefix)
    assert verify(dsn, new.secret) is None
    assert [kind for kind, _, _ in told(dsn, old.prefix)] == ["key.created", "key.rotated"]


def test_a_revocation_ends_the_grace_of_a_rotation(dsn: str) -> None:
    old = create(dsn, role="viewer")
    with open_directory(dsn, ADMIN) as directory:
        directory.keys.rotate(old.prefix, grace=timedelta(days=1))
    with open_directory(dsn, ADMIN) as directory:
        directory.keys.revoke(old.prefix)
    assert verify(dsn, old.secret) is None


def test_a_key_that_has_ended_is_not_rotated(dsn: str) -> None:
    key = create(dsn, role="viewer")
    with open_directory(dsn, ADMIN) as directory:
        directory.keys.rotate(key.prefix, grace=timedelta(hours=1))
    with open_directory(dsn, ADMIN) as directory, pytest.raises(ConflictError, match="make a new one"):
        directory.keys.rotate(key.prefix)
    fresh = create(dsn, role="viewer")
    with open_directory(dsn, ADMIN) as directory, pytest.raises(InvalidError, match="between 0 and 30 days"):
        directory.keys.rotate(fresh.prefix, grace=timedelta(days=31))
    assert verify(dsn, fresh.secret) is not None


def used_at(dsn: str, prefix: str) -> datetime | None:
    with open_directory(dsn, ADMIN) as directory:
        return directory.keys.get(prefix).last_used_at


def test_the_last_use_is_noted_at_most_once_a_minute(dsn: str) -> None:
    key = create(dsn, role="viewer")
    assert used_at(dsn, key.prefix) is None
    verify(dsn, key.secret)
    first = used_at(dsn, key.prefix)
    assert first is not None
    verify(dsn, key.secret)
    assert used_at(dsn, key.prefix) == first
    change(dsn, "UPDATE api_keys SET last_used_at = now() - interval '61 seconds' WHERE prefix = %s", key.prefix)
    verify(dsn, key.secret)
    again = used_at(dsn, key.prefix)
    assert again is not None and again > first


def test_checking_a_key_waits_for_nobody_who_changes_metadata(dsn: str) -> None:
    key = create(dsn, role="viewer")
    with psycopg.connect(dsn) as conn:
        conn.execute("SELECT version FROM metadata_version FOR UPDATE")
        conn.execute("SELECT id FROM api_keys FOR UPDATE")
        with open_directory(dsn, SYSTEM) as directory:
            directory.conn.execute("SET LOCAL lock_timeout = '2s'")
            assert directory.keys.verify(key.secret) is not None


def test_an_admin_neither_makes_nor_sees_nor_ends_keys_of_another_organisation(dsn: str) -> None:
    theirs = create(dsn, device="bread-1", by=acting("bread", "admin"))
    with open_directory(dsn, ADMIN) as directory:
        keys = directory.keys
        assert {key.organisation for key in keys.list(include_revoked=True).items} == {"acme"}
        assert keys.list(device="bread-1").items == []
        for attempt in (
            lambda: keys.get(theirs.prefix),
            lambda: keys.revoke(theirs.prefix),
            lambda: keys.rotate(theirs.prefix),
            lambda: keys.create(KeyCreate(role="viewer", organisation="bread")),
            lambda: keys.create(KeyCreate(device="bread-1")),
            lambda: keys.create(KeyCreate(device="bread-1", organisation="acme")),
            lambda: keys.list(organisation="bread"),
        ):
            with pytest.raises(NotFoundError):
                attempt()
    assert verify(dsn, theirs.secret) is not None


def test_a_superuser_says_whose_a_key_is(dsn: str) -> None:
    with pytest.raises(InvalidError, match="Say which organisation"):
        create(dsn, by=SYSTEM, role="viewer")
    assert create(dsn, by=SYSTEM, role="viewer", organisation="bread").organisation == "bread"
    assert create(dsn, by=SYSTEM, device="bread-1").organisation == "bread"
    with pytest.raises(NotFoundError):
        create(dsn, by=SYSTEM, device="bread-1", organisation="acme")


@pytest.mark.parametrize("role", ["editor", "viewer", "device"])
def test_less_than_an_admin_neither_makes_nor_sees_keys(dsn: str, role: Any) -> None:
    with open_directory(dsn, acting("acme", role)) as directory:
        keys = directory.keys
        for attempt in (
            lambda: keys.create(KeyCreate(role="viewer")),
            lambda: keys.revoke("aaaaaaaaaaaa"),
            lambda: keys.rotate("aaaaaaaaaaaa"),
            lambda: keys.get("aaaaaaaaaaaa"),
            keys.list,
        ):
            with pytest.raises(ForbiddenError):
                attempt()


def test_a_key_of_one_device_has_no_wider_role(dsn: str) -> None:
    with pytest.raises(InvalidError, match="has the role device, not admin"):
        create(dsn, device="acme-1", role="admin")


@pytest.mark.parametrize(
    "page", [{"limit": 0}, {"limit": -1}, {"limit": 1001}, {"cursor": "abc"}, {"cursor": "WyJhIl0"}]
)
def test_a_page_that_there_cannot_be_is_refused(dsn: str, page: dict[str, Any]) -> None:
    with open_directory(dsn, ADMIN) as directory, pytest.raises(InvalidError):
        directory.keys.list(**page)


def test_pages_of_keys_hold_each_once_while_others_come(dsn: str) -> None:
    made = [create(dsn, device="bread-2", by=acting("bread", "admin")).prefix for _ in range(5)]
    seen: list[str] = []
    cursor = None
    while not seen or cursor:
        with open_directory(dsn, acting("bread", "admin")) as directory:
            page = directory.keys.list(device="bread-2", limit=2, cursor=cursor)
        if not seen:
            made.append(create(dsn, device="bread-2", by=acting("bread", "admin")).prefix)
        seen += [key.prefix for key in page.items]
        cursor = page.next_cursor
    assert seen == made
