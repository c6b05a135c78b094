from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from connectors.entities.actor import SYSTEM, Actor
from connectors.entities.command_models import Command, CommandCreate
from connectors.entities.commands import MOST_WAITING
from connectors.entities.directory import open_directory
from connectors.entities.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from connectors.entities.models import EntityCreate
from tests.stack_under_test import StackUnderTest
from tests.two_tenants import acting, two_tenants

EDITOR = acting("acme", "editor")


@pytest.fixture(scope="module")
def dsn(stack: StackUnderTest) -> Iterator[str]:
    with two_tenants(stack) as fresh:
        yield fresh


@pytest.fixture
def device(dsn: str) -> str:
    """A device of acme with no commands."""
    key = f"acme-{uuid4().hex[:8]}"
    with open_directory(dsn, EDITOR) as directory:
        directory.entities.create(EntityCreate(entity_type="device", key=key, name=key))
    return key


def itself(dsn: str, device: str) -> Actor:
    """The device itself, as its key would act."""
    with open_directory(dsn, SYSTEM) as directory:
        found = directory.entities.get("device", device)
    return Actor(f"key:{device}", "device", found.organisation, found.id)


def send(dsn: str, device: str, command: str = "restart", by: Actor = EDITOR, **fields: Any) -> Command:
    with open_directory(dsn, by) as directory:
        return directory.commands.send(device, CommandCreate(command=command, **fields))


def waiting(dsn: str, device: str, by: Actor | None = None, deliver: bool = True) -> list[tuple[str, str]]:
    """Name and state of what waits for a device, asked by the device itself."""
    with open_directory(dsn, by or itself(dsn, device)) as directory:
        return [(found.command, found.status) for found in directory.commands.waiting(device, deliver=deliver)]


def answer(dsn: str, device: str, command: UUID, text: dict[str, Any]) -> Command:
    with open_directory(dsn, itself(dsn, device)) as directory:
        return directory.commands.answer(command, text)


def told(dsn: str, device: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Type, actor and data of the events about a device's commands."""
    with psycopg.connect(dsn) as conn:
        return conn.execute(
            "SELECT event_type, actor, data FROM events WHERE entity_key = %s AND event_type LIKE 'command.%%'"
            " ORDER BY id",
            [device],
        ).fetchall()


def make_late(dsn: str, command: UUID) -> None:
    """Let the time of a command be over."""
    with psycopg.connect(dsn) as conn:
        conn.execute(
            "UPDATE commands SET created_at = now() - interval '2 hours', expires_at = now() - interval '1 hour'"
            " WHERE id = %s",
            [command],
        )


def test_a_command_goes_to_its_device_and_its_answer_comes_back(dsn: str, device: str) -> None:
    sent = send(dsn, device, "set_interval", parameters={"seconds": 30})
    assert (sent.status, sent.device, sent.organisation) == ("pending", device, "acme")
    assert waiting(dsn, device) == [("set_interval", "delivered")]
    answered = answer(dsn, device, sent.id, {"ok": True})
    assert (answered.status, answered.answer) == ("answered", {"ok": True})
    assert waiting(dsn, device) == []
    it = {"command_id": str(sent.id), "command": "set_interval"}
    assert told(dsn, device) == [
        ("command.sent", "editor@acme.example", it | {"parameters": {"seconds": 30}, "expires_at": None}),
        ("command.delivered", f"key:{device}", it),
        ("command.answered", f"key:{device}", it | {"answer": {"ok": True}}),
    ]


def test_a_command_is_given_again_until_it_is_answered_and_delivered_once_in_the_log(dsn: str, device: str) -> None:
    for name in ("first", "second", "third"):
        send(dsn, device, name)
    assert [name for name, _ in waiting(dsn, device)] == ["first", "second", "third"]
    assert [name for name, _ in waiting(dsn, device)] == ["first", "second", "third"]
    assert [kind for kind, _, _ in told(dsn, device)].count("command.delivered") == 3


def test_asking_for_nothing_new_writes_nothing(dsn: str, device: str) -> None:
    send(dsn, device)
    waiting(dsn, device)
    with open_directory(dsn, itself(dsn, device)) as directory:
        assert len(directory.commands.waiting(device)) == 1
        assert directory.rows("SELECT pg_current_xact_id_if_assigned() AS id") == [{"id": None}]


def test_looking_without_taking_delivers_nothing(dsn: str, device: str) -> None:
    send(dsn, device)
    assert waiting(dsn, device, acting("acme", "viewer"), deliver=False) == [("restart", "pending")]
    with open_directory(dsn, acting("acme", "viewer")) as directory, pytest.raises(ForbiddenError):
        directory.commands.waiting(device)
    assert [kind for kind, _, _ in told(dsn, device)] == ["command.sent"]


def test_the_same_answer_again_changes_nothing_and_another_is_a_conflict(dsn: str, device: str) -> None:
    sent = send(dsn, device)
    first = answer(dsn, device, sent.id, {"ok": True, "t": 1.0})
    assert answer(dsn, device, sent.id, {"t": 1.0, "ok": True}) == first
    with pytest.raises(ConflictError, match="has another answer already; the answer was not kept"):
        answer(dsn, device, sent.id, {"ok": False})
    with open_directory(dsn, EDITOR) as directory:
        assert directory.commands.get(sent.id).answer == {"ok": True, "t": 1.0}
    assert [kind for kind, _, _ in told(dsn, device)].count("command.answered") == 1


def test_of_two_answers_at_once_one_is_kept(dsn: str, device: str) -> None:
    sent = send(dsn, device)
    outcomes: list[str] = []

    def give(number: int) -> None:
        try:
            answer(dsn, device, sent.id, {"number": number})
            outcomes.append("kept")
        except ConflictError:
            outcomes.append("refused")

    givers = [threading.Thread(target=give, args=(number,)) for number in range(4)]
    for giver in givers:
        giver.start()
    for giver in givers:
        giver.join()
    assert sorted(outcomes) == ["kept", "refused", "refused", "refused"]
    assert [kind for kind, _, _ in told(dsn, device)].count("command.answered") == 1


def test_an_expired_command_is_neither_given_nor_answered_and_the_log_says_so(dsn: str, device: str) -> None:
    sent = send(dsn, device, expires_at=datetime.now(UTC) + timedelta(hours=1))
    make_late(dsn, sent.id)
    with open_directory(dsn, EDITOR) as directory:
        assert directory.commands.get(sent.id).status == "expired"  # before anything has noted it
        assert [found.status for found in directory.commands.list(device).items] == ["expired"]
    with pytest.raises(ConflictError, match="is expired; the answer was not kept"):
        answer(dsn, device, sent.id, {"ok": True})
    with open_directory(dsn, EDITOR) as directory, pytest.raises(ConflictError, match="is expired already"):
        directory.commands.cancel(sent.id)
    assert waiting(dsn, device) == []
    waiting(dsn, device)
    assert [kind for kind, _, _ in told(dsn, device)] == ["command.sent", "command.expired"]


def test_a_cancelled_command_is_neither_given_nor_answered(dsn: str, device: str) -> None:
    sent = send(dsn, device)
    waiting(dsn, device)
    with open_directory(dsn, EDITOR) as directory:
        assert directory.commands.cancel(sent.id).status == "cancelled"
    assert waiting(dsn, device) == []
    with pytest.raises(ConflictError, match="is cancelled"):
        answer(dsn, device, sent.id, {"ok": True})
    with open_directory(dsn, EDITOR) as directory, pytest.raises(ConflictError, match="is cancelled already"):
        directory.commands.cancel(sent.id)
    assert [kind for kind, _, _ in told(dsn, device)][-1] == "command.cancelled"


def test_a_hundred_commands_wait_and_one_more_is_refused_until_one_is_answered(dsn: str, device: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute(
            "INSERT INTO commands (organisation_id, device_id, command) SELECT d.organisation_id, d.id, 'c' || number"
            " FROM entities d, generate_series(1, %s) AS number WHERE d.key = %s",
            [MOST_WAITING - 1, device],
        )
    last = send(dsn, device)
    with pytest.raises(ConflictError, match=f"100 commands wait for {device} already"):
        send(dsn, device)
    answer(dsn, device, last.id, {})
    send(dsn, device)
    with pytest.raises(ConflictError):
        send(dsn, device)
    make_late(dsn, last.id)  # what was answered does not expire
    with psycopg.connect(dsn) as conn:
        conn.execute(
            "UPDATE commands SET created_at = now() - interval '2 hours', expires_at = now() - interval '1 hour'"
            " WHERE command = 'c5' AND device_id = (SELECT id FROM entities WHERE key = %s)",
            [device],
        )
    send(dsn, device, "after_one_expired")
    assert len(waiting(dsn, device)) == MOST_WAITING


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"command": ""}, "'' is no command"),
        ({"command": "Restart"}, "is no command"),
        ({"command": "x" * 101}, "is no command"),
        ({"parameters": {"x": "y" * 70_000}}, "at most 64 KiB"),
        ({"parameters": {"x": float("inf")}}, "parameters of restart"),
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "would never be done"),
    ],
)
def test_a_command_that_cannot_be_kept_is_refused(dsn: str, device: str, fields: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidError, match=f"(?i){why}"):
        send(dsn, device, **fields)
    assert told(dsn, device) == []


def test_an_answer_that_is_too_large_is_refused_and_a_smaller_one_taken(dsn: str, device: str) -> None:
    sent = send(dsn, device)
    with pytest.raises(InvalidError, match="at most 64 KiB"):
        answer(dsn, device, sent.id, {"log": "x" * 70_000})
    assert answer(dsn, device, sent.id, {"log": "x" * 60_000}).status == "answered"


def test_a_retired_device_gets_no_new_commands(dsn: str, device: str) -> None:
    with open_directory(dsn, EDITOR) as directory:
        directory.entities.retire(directory.entities.get("device", device).id)
    with pytest.raises(ConflictError, match=f"Device {device} is retired"):
        send(dsn, device)


def test_a_device_sees_its_own_commands_only(dsn: str, device: str) -> None:
    mine = send(dsn, "acme-1", "mine")
    theirs = send(dsn, device, "theirs")
    with open_directory(dsn, itself(dsn, "acme-1")) as directory:
        commands = directory.commands
        assert mine.id in {found.id for found in commands.waiting("acme-1")}
        for attempt in (
            lambda: commands.waiting(device),
            lambda: commands.waiting(device, deliver=False),
            lambda: commands.list(device),
            lambda: commands.get(theirs.id),
            lambda: commands.answer(theirs.id, {}),
        ):
            with pytest.raises(NotFoundError):
                attempt()
        with pytest.raises(ForbiddenError):
            commands.send("acme-1", CommandCreate(command="restart"))
        with pytest.raises(ForbiddenError):
            commands.cancel(mine.id)


def test_a_key_of_all_devices_fetches_and_answers_for_each_of_its_organisation(dsn: str, device: str) -> None:
    sent = send(dsn, device)
    gateway = Actor("key:gateway", "device", "acme")
    assert waiting(dsn, device, gateway) == [("restart", "delivered")]
    with open_directory(dsn, gateway) as directory:
        assert directory.commands.answer(sent.id, {"ok": 1}).status == "answered"
        with pytest.raises(NotFoundError):
            directory.commands.waiting("bread-1")


@pytest.mark.parametrize("role", ["admin", "editor", "viewer", "device"])
def test_another_organisation_sees_and_changes_no_command(dsn: str, device: str, role: Any) -> None:
    sent = send(dsn, device)
    with open_directory(dsn, acting("bread", role)) as directory:
        commands = directory.commands
        for attempt in (
            lambda: commands.send(device, CommandCreate(command="restart")),
            lambda: commands.waiting(device),
            lambda: commands.waiting(device, deliver=False),
            lambda: commands.list(device),
            lambda: commands.get(sent.id),
            lambda: commands.answer(sent.id, {}),
            lambda: commands.cancel(sent.id),
        ):
            with pytest.raises((NotFoundError, ForbiddenError)) as told_to_them:
                attempt()
            assert "acme" not in str(told_to_them.value).replace(device, "")
    with open_directory(dsn, EDITOR) as directory:
        assert directory.commands.get(sent.id).status == "pending"


def test_pages_hold_every_command_once_while_others_come(dsn: str, device: str) -> None:
    sent = [send(dsn, device, f"c{number}").id for number in range(5)]
    with open_directory(dsn, EDITOR) as directory:
        first = directory.commands.list(device, limit=2)
    send(dsn, device, "late")
    with open_directory(dsn, EDITOR) as directory:
        rest = directory.commands.list(device, cursor=first.next_cursor)
        pending = directory.commands.list(device, status="pending").items
        answered = directory.commands.list(device, status="answered").items
    assert [found.id for found in first.items + rest.items] == sent[::-1]
    assert (len(pending), len(answered)) == (6, 0)


def test_the_log_does_not_keep_what_a_command_must_hide(dsn: str, device: str) -> None:
    sent = send(dsn, device, "set_wifi", parameters={"ssid": "barn", "wifi_password": "hunter2"})
    assert sent.parameters == {"ssid": "barn", "wifi_password": "hunter2"}, "the device needs it"
    assert told(dsn, device)[0][2]["parameters"] == {"ssid": "barn", "wifi_password": "***"}
