from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from argon2 import PasswordHasher
from pydantic import SecretStr

from connectors.entities.actor import SYSTEM, Actor
from connectors.entities.directory import Directory, open_directory
from connectors.entities.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from connectors.entities.models import EntityCreate, EntityUpdate, RelationshipCreate
from connectors.entities.passwords import Passwords
from connectors.entities.user_models import LoggedIn, MemberRole, UserCreate
from connectors.entities.users import MOST_FAILURES, Users
from tests.stack_under_test import StackUnderTest
from tests.two_tenants import acting, two_tenants, users_of

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def dsn(stack: StackUnderTest) -> Iterator[str]:
    with two_tenants(stack) as fresh:
        yield fresh


def create(
    dsn: str,
    email: str,
    *,
    slug: str = "acme",
    role: MemberRole = "viewer",
    password: str = PASSWORD,
    by: Actor = SYSTEM,
) -> None:
    with open_directory(dsn, by) as directory:
        users_of(directory).create(UserCreate(email=email, organisation=slug, role=role, password=SecretStr(password)))


def login(dsn: str, email: str, password: str = PASSWORD, organisation: str | None = None) -> LoggedIn | None:
    with open_directory(dsn, SYSTEM) as directory:
        return users_of(directory).login(email, password, organisation)


def told(dsn: str, email: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Type, actor and data of the events about a user, the oldest first."""
    with psycopg.connect(dsn) as conn:
        return conn.execute(
            "SELECT event_type, actor, data FROM events WHERE entity_key = %s ORDER BY id", [email]
        ).fetchall()


def test_a_user_logs_in_as_what_it_is_in_its_organisation(dsn: str) -> None:
    create(dsn, "Ada@Acme.example", role="editor", by=acting("acme", "admin"))
    found = login(dsn, " ada@acme.EXAMPLE ")
    assert found is not None
    assert found.actor == Actor("ada@acme.example", "editor", "acme")
    assert found.roles == {"acme": "editor"}
    assert [(kind, actor) for kind, actor, _ in told(dsn, "ada@acme.example")] == [
        ("user.created", "admin@acme.example"),
        ("user.login", "ada@acme.example"),
    ]


def test_nothing_that_anybody_can_read_holds_a_password_or_its_hash(dsn: str) -> None:
    create(dsn, "secret@acme.example")
    login(dsn, "secret@acme.example", "a wrong password")
    with psycopg.connect(dsn) as conn:
        kept = conn.execute(
            "SELECT c.password_hash FROM user_credentials c JOIN entities u ON u.id = c.user_id WHERE u.key = %s",
            ["secret@acme.example"],
        ).fetchone()
        assert kept is not None and kept[0].startswith("$argon2id$")
        readable = conn.execute("SELECT u::text FROM entities u UNION ALL SELECT e::text FROM events e").fetchall()
    assert not [row for (row,) in readable if PASSWORD in row or "argon2" in row or "a wrong password" in row]
    with open_directory(dsn, SYSTEM) as directory:
        assert "argon2" not in str(users_of(directory).list())


@pytest.mark.parametrize(
    ("password", "why"),
    [("nine char", "9 characters; it takes at least 10"), ("é" * 501, "longer than 1,000 bytes"), ("", "0 characters")],
)
def test_a_password_that_is_too_short_or_too_long_makes_no_user(dsn: str, password: str, why: str) -> None:
    with pytest.raises(InvalidError, match=why):
        create(dsn, "hasty@acme.example", password=password)
    with open_directory(dsn, SYSTEM) as directory, pytest.raises(NotFoundError):
        users_of(directory).get("hasty@acme.example")


@pytest.mark.parametrize("email", ["", "ada", "@acme", "ada@", "a b@acme.example", "a@b@c", "ada@acme\x00.example"])
def test_what_is_no_address_makes_no_user(dsn: str, email: str) -> None:
    with pytest.raises(InvalidError, match="is no e-mail address"):
        create(dsn, email)


def test_another_spelling_of_an_address_is_no_second_account(dsn: str) -> None:
    create(dsn, "grace@acme.example")
    with pytest.raises(ConflictError):
        create(dsn, "GRACE@acme.example")


def test_a_wrong_password_is_kept_in_the_log_and_lets_nobody_in(dsn: str) -> None:
    create(dsn, "joan@acme.example")
    assert login(dsn, "joan@acme.example", PASSWORD + " ") is None
    assert told(dsn, "joan@acme.example")[-1] == (
        "user.login_failed",
        "weir",
        {"reason": "wrong password", "failures": 1, "locked_until": None},
    )


def test_ten_failures_lock_the_account_for_15_minutes_even_for_the_right_password(dsn: str) -> None:
    create(dsn, "locked@acme.example")
    for _ in range(MOST_FAILURES - 1):
        assert login(dsn, "locked@acme.example", "a wrong password") is None
    assert login(dsn, "locked@acme.example") is not None  # the tenth in a row has not come
    for _ in range(MOST_FAILURES):
        assert login(dsn, "locked@acme.example", "a wrong password") is None
    assert login(dsn, "locked@acme.example") is None
    with psycopg.connect(dsn) as conn:
        minutes = conn.execute(
            "SELECT extract(epoch FROM c.locked_until - now()) / 60 FROM user_credentials c"
            " JOIN entities u ON u.id = c.user_id WHERE u.key = 'locked@acme.example'"
        ).fetchone()
        assert minutes is not None and 14 < minutes[0] <= 15
        conn.execute(
            "UPDATE user_credentials SET locked_until = now() - interval '1 second' WHERE locked_until > now()"
        )
    assert login(dsn, "locked@acme.example", "a wrong password") is None
    assert login(dsn, "locked@acme.example") is not None  # one failure since then is no lock


def test_attempts_on_a_locked_account_do_not_fill_the_log(dsn: str) -> None:
    create(dsn, "flooded@acme.example")
    for _ in range(MOST_FAILURES + 20):
        login(dsn, "flooded@acme.example", "a wrong password")
    failures = [kind for kind, _, _ in told(dsn, "flooded@acme.example") if kind == "user.login_failed"]
    assert len(failures) == MOST_FAILURES


def test_attempts_at_the_same_time_are_counted_one_by_one(dsn: str) -> None:
    create(dsn, "raced@acme.example")
    attempts = [
        threading.Thread(target=login, args=(dsn, "raced@acme.example", "a wrong password"))
        for _ in range(MOST_FAILURES + 5)
    ]
    for attempt in attempts:
        attempt.start()
    for attempt in attempts:
        attempt.join()
    failures = [data["failures"] for kind, _, data in told(dsn, "raced@acme.example") if kind == "user.login_failed"]
    assert failures == list(range(1, MOST_FAILURES + 1))
    assert login(dsn, "raced@acme.example") is None


def test_a_lock_that_falls_while_a_right_password_is_checked_wins(dsn: str) -> None:
    create(dsn, "late@acme.example")

    class Slow(Passwords):
        """Locks the account before it says that the password is right."""

        def matches(self, kept: str | None, password: str) -> bool:
            right = super().matches(kept, password)
            with psycopg.connect(dsn) as conn:
                conn.execute("UPDATE user_credentials SET locked_until = now() + interval '1 hour'")
            return right

    with open_directory(dsn, SYSTEM) as directory:
        quick = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
        assert Users(directory, Slow(quick)).login("late@acme.example", PASSWORD) is None
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE user_credentials SET locked_until = NULL")
    assert login(dsn, "late@acme.example") is not None


def test_an_address_that_nobody_has_takes_as_long_as_a_wrong_password(dsn: str) -> None:
    slow = Passwords(PasswordHasher(time_cost=2, memory_cost=16_384, parallelism=1))
    with open_directory(dsn, SYSTEM) as directory:
        Users(directory, slow).create(
            UserCreate(email="timed@acme.example", organisation="acme", password=SecretStr(PASSWORD))
        )

    def seconds(email: str) -> float:
        with open_directory(dsn, SYSTEM) as directory:
            began = time.process_time()
            assert Users(directory, slow).login(email, "a wrong password") is None
            return time.process_time() - began

    known = min(seconds("timed@acme.example") for _ in range(3))
    unknown = min(seconds("nobody@acme.example") for _ in range(3))
    assert known > 0.01  # else there would be nothing to compare
    assert 0.6 < unknown / known < 1.7


def test_a_login_renews_a_hash_that_was_made_with_weaker_parameters(dsn: str) -> None:
    create(dsn, "old@acme.example")
    stronger = Passwords(PasswordHasher(time_cost=2, memory_cost=128, parallelism=1))
    with open_directory(dsn, SYSTEM) as directory:
        assert Users(directory, stronger).login("old@acme.example", PASSWORD) is not None
    with psycopg.connect(dsn) as conn:
        kept = conn.execute(
            "SELECT c.password_hash FROM user_credentials c JOIN entities u ON u.id = c.user_id WHERE u.key = %s",
            ["old@acme.example"],
        ).fetchone()
    assert kept is not None and "$m=128,t=2,p=1$" in kept[0]
    assert login(dsn, "old@acme.example") is not None


def test_a_retired_user_and_one_of_a_retired_organisation_are_not_let_in(dsn: str) -> None:
    with open_directory(dsn, SYSTEM) as directory:
        gone = directory.entities.create(EntityCreate(entity_type="organisation", key="gone", name="Gone"))
    create(dsn, "stays@gone.example", slug="gone", role="admin")
    create(dsn, "leaves@acme.example")
    with open_directory(dsn, SYSTEM) as directory:
        users_of(directory).retire("leaves@acme.example")
        directory.entities.retire(gone.id)
    assert login(dsn, "leaves@acme.example") is None
    assert login(dsn, "stays@gone.example") is None
    assert [kind for kind, _, _ in told(dsn, "leaves@acme.example")][1:] == ["user.deleted", "user.login_failed"]
    assert told(dsn, "leaves@acme.example")[-1][2] == {"reason": "retired or without a role"}


def test_a_user_without_a_password_is_not_let_in_by_any(dsn: str) -> None:
    with open_directory(dsn, SYSTEM) as directory:
        users_of(directory).create(UserCreate(email="empty@acme.example", organisation="acme"))
    assert login(dsn, "empty@acme.example", "") is None
    assert login(dsn, "empty@acme.example", "None") is None


def test_another_role_counts_from_the_next_login_and_the_old_one_stays_in_history(dsn: str) -> None:
    create(dsn, "climber@acme.example")
    with open_directory(dsn, acting("acme", "admin")) as directory:
        assert users_of(directory).set_role("climber@acme.example", "acme", "admin").roles == {"acme": "admin"}
    found = login(dsn, "climber@acme.example")
    assert found is not None and found.actor.role == "admin"
    with open_directory(dsn, acting("acme", "admin")) as directory:
        assert users_of(directory).set_role("climber@acme.example", "acme", None).roles == {}
    assert login(dsn, "climber@acme.example") is None
    with psycopg.connect(dsn) as conn:
        held = conn.execute(
            "SELECT r.properties ->> 'role', r.valid_to IS NULL FROM relationships r"
            " JOIN entities u ON u.id = r.from_entity WHERE u.key = 'climber@acme.example' ORDER BY r.valid_from"
        ).fetchall()
    assert held == [("viewer", False), ("admin", False)]


def test_with_several_roles_a_login_says_in_which_organisation(dsn: str) -> None:
    create(dsn, "both@acme.example", role="viewer")
    with open_directory(dsn, SYSTEM) as directory:
        users_of(directory).set_role("both@acme.example", "bread", "admin")
    own, other = login(dsn, "both@acme.example"), login(dsn, "both@acme.example", organisation="bread")
    assert own is not None and (own.actor.organisation, own.actor.role) == ("acme", "viewer")
    assert other is not None and (other.actor.organisation, other.actor.role) == ("bread", "admin")
    assert login(dsn, "both@acme.example", organisation="nowhere") is None


def test_an_admin_does_not_take_over_whoever_may_do_more(dsn: str) -> None:
    create(dsn, "guest@acme.example")
    with open_directory(dsn, SYSTEM) as directory:
        users = users_of(directory)
        users.set_role("guest@acme.example", "bread", "admin")
        users.create(
            UserCreate(email="root@acme.example", organisation="acme", password=SecretStr(PASSWORD), is_superuser=True)
        )
    for target in ("guest@acme.example", "root@acme.example"):
        with (
            open_directory(dsn, acting("acme", "admin")) as directory,
            pytest.raises(ForbiddenError, match="may do more than admin@acme.example"),
        ):
            users_of(directory).set_password(target, "mine from now on")
        assert login(dsn, target) is not None
    root = login(dsn, "root@acme.example")
    assert root is not None and root.actor == Actor("root@acme.example", "superuser")


def test_only_a_superuser_makes_superusers(dsn: str) -> None:
    with open_directory(dsn, acting("acme", "admin")) as directory, pytest.raises(ForbiddenError, match="superuser"):
        users_of(directory).create(
            UserCreate(email="coup@acme.example", password=SecretStr(PASSWORD), is_superuser=True)
        )


def test_users_change_their_own_password_and_nobody_elses(dsn: str) -> None:
    create(dsn, "mira@acme.example")
    create(dsn, "noor@acme.example")
    mira = login(dsn, "mira@acme.example")
    assert mira is not None
    with open_directory(dsn, mira.actor) as directory:
        users_of(directory).set_password("mira@acme.example", "another password")
    with open_directory(dsn, mira.actor) as directory, pytest.raises(ForbiddenError):
        users_of(directory).set_password("noor@acme.example", "another password")
    assert login(dsn, "mira@acme.example") is None
    assert login(dsn, "mira@acme.example", "another password") is not None
    assert login(dsn, "noor@acme.example") is not None
    assert ("user.updated", "mira@acme.example", {"password": "changed"}) in told(dsn, "mira@acme.example")


def test_another_password_ends_a_lock(dsn: str) -> None:
    create(dsn, "freed@acme.example")
    for _ in range(MOST_FAILURES):
        login(dsn, "freed@acme.example", "a wrong password")
    with open_directory(dsn, acting("acme", "admin")) as directory:
        users_of(directory).set_password("freed@acme.example", "another password")
    assert login(dsn, "freed@acme.example", "another password") is not None


def test_an_admin_sees_and_changes_no_user_of_another_organisation(dsn: str) -> None:
    create(dsn, "theirs@bread.example", slug="bread")
    with open_directory(dsn, acting("acme", "admin")) as directory:
        users = users_of(directory)
        assert all(user.organisation == "acme" for user in users.list().items)
        assert set().union(*(user.roles for user in users.list().items)) == {"acme"}
        with pytest.raises(NotFoundError, match="There is no user 'theirs@bread.example'"):
            users.get("theirs@bread.example")
        with pytest.raises(NotFoundError, match="There is no user 'nobody@bread.example'"):
            users.get("nobody@bread.example")
        for attempt in (
            lambda: users.set_password("theirs@bread.example", "mine from now on"),
            lambda: users.set_role("theirs@bread.example", "acme", "viewer"),
            lambda: users.set_role("theirs@bread.example", "bread", "admin"),
            lambda: users.retire("theirs@bread.example"),
            lambda: users.logout("theirs@bread.example"),
            lambda: users.list(organisation="bread"),
            lambda: users.create(UserCreate(email="spy@bread.example", organisation="bread")),
        ):
            with pytest.raises(NotFoundError):
                attempt()


@pytest.mark.parametrize("role", ["editor", "viewer", "device"])
def test_less_than_an_admin_changes_no_user(dsn: str, role: Any) -> None:
    with open_directory(dsn, acting("acme", role)) as directory:
        users = users_of(directory)
        for attempt in (
            lambda: users.create(UserCreate(email="more@acme.example")),
            lambda: users.set_role("ada@acme.example", "acme", "admin"),
            lambda: users.retire("ada@acme.example"),
            lambda: users.login("ada@acme.example", PASSWORD),
            users.list,
        ):
            with pytest.raises(ForbiddenError):
                attempt()


def test_an_editor_does_not_become_admin_by_a_relationship_or_by_reviving_an_account(dsn: str) -> None:
    create(dsn, "sly@acme.example", role="editor")
    create(dsn, "asleep@acme.example", role="admin")
    with open_directory(dsn, SYSTEM) as directory:
        asleep = users_of(directory).retire("asleep@acme.example")
        sly, acme = users_of(directory).get("sly@acme.example"), directory.organisation_id("acme")
        assert acme is not None
    held = RelationshipCreate(
        relationship_type="belongs_to", from_entity=sly.id, to_entity=acme, properties={"role": "admin"}
    )
    attempts: list[Callable[[Directory], object]] = [
        lambda directory: directory.relationships.connect(held),
        lambda directory: directory.entities.update(asleep.id, EntityUpdate(is_active=True)),
        lambda directory: directory.entities.create(EntityCreate(entity_type="user", key="new@acme.example")),
    ]
    for attempt in attempts:
        with open_directory(dsn, acting("acme", "editor")) as directory, pytest.raises(ForbiddenError):
            attempt(directory)


def test_a_logout_is_in_the_log(dsn: str) -> None:
    create(dsn, "leaver@acme.example")
    with open_directory(dsn, Actor("leaver@acme.example", "viewer", "acme")) as directory:
        users_of(directory).logout("leaver@acme.example")
    assert told(dsn, "leaver@acme.example")[-1] == ("user.logout", "leaver@acme.example", {})


def test_pages_of_users_hold_each_once_while_others_come(dsn: str) -> None:
    for number in range(5):
        create(dsn, f"page-{number}@bread.example", slug="bread")
    with open_directory(dsn, acting("bread", "admin")) as directory:
        first = users_of(directory).list(limit=3)
    create(dsn, "page-late@bread.example", slug="bread")
    seen = [user.email for user in first.items]
    cursor = first.next_cursor
    while cursor:
        with open_directory(dsn, acting("bread", "admin")) as directory:
            page = users_of(directory).list(limit=2, cursor=cursor)
        seen += [user.email for user in page.items]
        cursor = page.next_cursor
    assert len(seen) == len(set(seen))
    assert {f"page-{number}@bread.example" for number in range(5)} <= set(seen)
