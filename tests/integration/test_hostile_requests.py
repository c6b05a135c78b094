"""What a hostile or an unlucky caller of the metadata service found once, and must not find again."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import polars as pl
import psycopg
import pytest
from psycopg import sql

from connectors.entities.actor import SYSTEM
from connectors.entities.directory import Directory, open_directory
from connectors.entities.errors import ConflictError, ForbiddenError, InvalidError
from connectors.entities.key_models import KeyCreate
from connectors.entities.metric_models import MetricCreate, MetricUpdate
from connectors.entities.models import Entity, EntityCreate, EntityUpdate, RelationshipCreate, SchemaCreate
from connectors.entities.pages import position_of
from connectors.entities.process_models import ProcessCreate
from connectors.entities.tenants import grant_role, revoke_role
from connectors.entities.user_models import UserCreate
from connectors.postgres.devices import register
from tests.stack_under_test import StackUnderTest
from tests.two_tenants import acting, two_tenants, users_of
from tests.waiting import patient

ADMIN = acting("acme", "admin")


@pytest.fixture(scope="module")
def dsn(stack: StackUnderTest) -> Iterator[str]:
    with two_tenants(stack) as fresh:
        yield fresh


def while_uncommitted(dsn: str, first: Callable[[Directory], Any], second: Callable[[Directory], Any]) -> Any:
    """Do ``second`` while ``first`` is done and has not committed; give its result or its error."""
    results: list[Any] = []

    def other() -> None:
        try:
            with open_directory(dsn, SYSTEM) as directory:
                results.append(second(directory))
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=other)
    with open_directory(dsn, SYSTEM) as directory:
        first(directory)
        thread.start()
        with psycopg.connect(dsn, autocommit=True) as conn:
            deadline = time.monotonic() + patient(10)
            while not results and time.monotonic() < deadline and not _waits(conn):
                time.sleep(0.02)
    thread.join()
    return results[0]


def _waits(conn: psycopg.Connection) -> bool:
    found = conn.execute(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ).fetchall()
    return bool(found)


def test_two_changes_of_different_fields_of_a_metric_both_last(dsn: str) -> None:
    with open_directory(dsn, SYSTEM) as directory:
        directory.metrics.define(MetricCreate(name="both.change"))
    while_uncommitted(
        dsn,
        lambda directory: directory.metrics.update("both.change", MetricUpdate(min_value=1)),
        lambda directory: directory.metrics.update("both.change", MetricUpdate(max_value=9)),
    )
    with open_directory(dsn, SYSTEM) as directory:
        metric = directory.metrics.get("both.change")
    assert (metric.min_value, metric.max_value) == (1, 9)


def test_a_key_that_is_being_revoked_does_not_live_on_in_another(dsn: str) -> None:
    with open_directory(dsn, SYSTEM) as directory:
        key = directory.keys.create(KeyCreate(role="admin", organisation="acme"))
    rotated = while_uncommitted(
        dsn,
        lambda directory: directory.keys.revoke(key.prefix),
        lambda directory: directory.keys.rotate(key.prefix),
    )
    assert isinstance(rotated, ConflictError)


def test_a_process_that_is_being_retired_is_not_started(dsn: str) -> None:
    with open_directory(dsn, SYSTEM) as directory:
        directory.processes.define(
            ProcessCreate(name="stout", version="1", process_type="recipe", definition={}, organisation="acme")
        )
    started = while_uncommitted(
        dsn,
        lambda directory: directory.processes.retire("stout", "1", organisation="acme"),
        lambda directory: directory.processes.start("stout", "1", organisation="acme"),
    )
    assert isinstance(started, ConflictError)


def test_a_project_that_is_being_retired_takes_no_device_in(dsn: str) -> None:
    with open_directory(dsn, SYSTEM) as directory:
        project = directory.entities.create(EntityCreate(entity_type="project", key="closing", organisation="acme"))
        device = directory.entities.create(EntityCreate(entity_type="device", key="late", organisation="acme"))
    wanted = RelationshipCreate(relationship_type="contains", from_entity=project.id, to_entity=device.id)
    connected = while_uncommitted(
        dsn,
        lambda directory: directory.entities.retire(project.id),
        lambda directory: directory.relationships.connect(wanted),
    )
    assert isinstance(connected, ConflictError)


@pytest.mark.parametrize("path", [("on",), ("config", "on"), ("list",)])
def test_true_is_another_value_than_one(dsn: str, path: tuple[str, ...]) -> None:
    def patch(value: Any) -> dict[str, Any]:
        held: Any = [value] if path[-1] == "list" else value
        for name in reversed(path):
            held = {name: held}
        return dict(held)

    with open_directory(dsn, ADMIN) as directory:
        device = directory.entities.get("device", "acme-1")
        directory.entities.update(device.id, EntityUpdate(merge=patch(1)))
        before = directory.events.list(entity_id=device.id).items[0].id
        changed: Entity = directory.entities.update(device.id, EntityUpdate(merge=patch(True)))
        events = [event for event in directory.events.list(entity_id=device.id).items if event.id > before]
    held: Any = changed.properties
    for name in path:
        held = held[name]
    assert (held[0] if isinstance(held, list) else held) is True
    updated = next(event for event in events if event.event_type == "device.updated")
    assert path[0] in updated.data["properties"]["new"]


@pytest.mark.parametrize("key", ["weir", "key:abcdefghijkl", "cli:root", "Ada@acme.example", " ada@acme.example"])
def test_no_user_is_called_like_somebody_else_in_the_log(dsn: str, key: str) -> None:
    with pytest.raises(InvalidError), open_directory(dsn, ADMIN) as directory:
        directory.entities.create(EntityCreate(entity_type="user", key=key))


def test_an_admin_does_not_take_in_the_unknown_devices_of_everybody(dsn: str) -> None:
    policy = {"unknown_devices": {"policy": "register", "prefix": "bread-"}}
    with open_directory(dsn, SYSTEM) as directory:
        acme = directory.entities.get("organisation", "acme").id
    with pytest.raises(ForbiddenError), open_directory(dsn, ADMIN) as directory:
        directory.entities.update(acme, EntityUpdate(merge=policy))
    with open_directory(dsn, SYSTEM) as directory:
        directory.entities.update(acme, EntityUpdate(merge=policy))
    with open_directory(dsn, ADMIN) as directory:
        directory.entities.update(acme, EntityUpdate(merge={"country": "USA"}))
        left = directory.entities.update(acme, EntityUpdate(merge={"unknown_devices": None}))
    assert "unknown_devices" not in left.properties


def test_the_role_in_a_retired_organisation_guards_a_password_too(dsn: str) -> None:
    with open_directory(dsn, SYSTEM) as directory:
        directory.entities.create(EntityCreate(entity_type="organisation", key="asleep"))
        users_of(directory).create(UserCreate(email="both@acme.example", organisation="acme"))
        users_of(directory).set_role("both@acme.example", "asleep", "admin")
        directory.entities.retire(directory.entities.get("organisation", "asleep").id)
    with pytest.raises(ForbiddenError), open_directory(dsn, ADMIN) as directory:
        users_of(directory).set_password("both@acme.example", "a password of the admin")


def test_a_role_that_would_end_later_is_taken_away_now(dsn: str) -> None:
    with open_directory(dsn, ADMIN) as directory:
        user = users_of(directory).create(UserCreate(email="guest@acme.example"))
        users_of(directory).set_role(user.key, "acme", None)
        acme = directory.entities.get("organisation", "acme").id
        directory.relationships.connect(
            RelationshipCreate(
                relationship_type="belongs_to",
                from_entity=user.id,
                to_entity=acme,
                properties={"role": "admin"},
                valid_to=datetime.now(UTC) + timedelta(days=9),
            )
        )
    with open_directory(dsn, ADMIN) as directory:
        assert users_of(directory).set_role(user.key, "acme", None).roles == {}


def test_a_registration_that_waited_for_another_writer_comes_at_the_end_of_lists(dsn: str) -> None:
    sensors = pl.DataFrame({"device_id": ["waited"], "sensor": ["t"], "metric": ["room.temperature"]})
    registration = threading.Thread(target=register, args=(dsn, "acme", None, sensors))
    with open_directory(dsn, SYSTEM) as directory:
        directory.write("SELECT 1")
        registration.start()
        with psycopg.connect(dsn, autocommit=True) as conn:
            while not _waits(conn):
                time.sleep(0.02)
        directory.entities.create(EntityCreate(entity_type="device", key="went first", organisation="acme"))
    registration.join()
    with open_directory(dsn, ADMIN) as directory:
        listed = [device.key for device in directory.entities.list(entity_type="device").items]
    assert listed[-2:] == ["went first", "waited"]


def test_no_key_holds_what_stands_for_a_slash_in_paths(dsn: str) -> None:
    with pytest.raises(InvalidError), open_directory(dsn, ADMIN) as directory:
        directory.entities.create(EntityCreate(entity_type="device", key="hall\ue0002"))


def test_a_property_that_would_become_a_column_stops_a_new_version(dsn: str) -> None:
    with open_directory(dsn, ADMIN) as directory:
        directory.schemas.add(SchemaCreate(entity_type="vat", definition={"litres": {"type": "number"}}))
        vat = directory.entities.create(EntityCreate(entity_type="vat", key="1", properties={"name": "inner"}))
        with pytest.raises(ConflictError, match="name"):
            directory.schemas.add(
                SchemaCreate(entity_type="vat", definition={"litres": {"type": "number"}, "name": {"type": "string"}})
            )
        directory.entities.update(vat.id, EntityUpdate(merge={"litres": 2}))


@pytest.mark.parametrize(
    "parts", ["[Infinity]", "[1e400]", "[" * 1400, "[5]", "[[1]]", "[true]", '[{"a": 1}]', "[null]", "{}", "5"]
)
def test_a_cursor_that_no_list_gave_out_is_refused_and_no_failure(parts: str) -> None:
    cursor = base64.urlsafe_b64encode(parts.encode()).decode().rstrip("=")
    with pytest.raises(InvalidError, match="cursor"):
        position_of(cursor, UUID)


def test_infinity_in_a_cursor_is_no_position() -> None:
    for parts in (b"[Infinity]", b"[1e400]"):
        with pytest.raises(InvalidError, match="cursor"):
            position_of(base64.urlsafe_b64encode(parts).decode(), int)


@pytest.mark.parametrize("database", [None, "postgres"], ids=["here", "in another database"])
def test_a_database_role_that_owns_something_loses_its_rights_all_the_same(dsn: str, database: str | None) -> None:
    with open_directory(dsn, SYSTEM) as directory:
        role = grant_role(directory, "acme", password="a password of an analyst")
    name = sql.Identifier(role)
    where = psycopg.conninfo.make_conninfo(dsn, **({"dbname": database} if database else {}))
    with psycopg.connect(where) as conn:
        conn.execute(sql.SQL("SET ROLE {}").format(name))
        conn.execute("SELECT lo_create(0)")
    try:
        with open_directory(dsn, SYSTEM) as directory:
            revoke_role(directory, "acme")
        with psycopg.connect(dsn) as conn:
            assert conn.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", [role]).fetchall() == [(False,)]
            conn.execute(sql.SQL("SET ROLE {}").format(name))
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute("SELECT FROM entities")
    finally:
        with psycopg.connect(where) as conn:
            conn.execute(sql.SQL("DROP OWNED BY {}").format(name))
            conn.execute(sql.SQL("DROP ROLE {}").format(name))
