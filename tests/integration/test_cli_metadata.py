"""The commands of metadata, one thing at a time: what they print, what they change, what they refuse."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from connectors.entities.actor import SYSTEM
from connectors.entities.directory import open_directory
from tests.metadata_shell import Shell, keys, metadata_shell
from tests.stack_under_test import StackUnderTest
from tests.waiting import patient
from tests.weir_command import weir


@pytest.fixture(scope="module")
def shell(stack: StackUnderTest) -> Iterator[Shell]:
    with metadata_shell(stack) as ready:
        yield ready


def test_a_device_is_added_shown_changed_and_retired_and_the_log_says_by_whom(shell: Shell) -> None:
    shell("devices", "add", "d1", "--org", "lab", "--project", "ales", "--property", "location=Cellar 2")
    shell("sensors", "add", "d1", "t", "--metric", "air.temperature", "--min", "-10", "--max", "45")
    shell("sensors", "set", "d1", "t", "--max", "50", "--property", "min_value=null")
    shell("devices", "set", "d1", "--status", "maintenance", "--property", "config.readingInterval=60")
    shown = shell("devices", "show", "d1", "--json").json()
    assert (shown["key"], shown["project"], shown["status"]) == ("d1", "ales", "maintenance")
    assert shown["properties"] == {"location": "Cellar 2", "config": {"readingInterval": 60}}
    assert shown["sensors"] == {"t": {"metric": "air.temperature", "max_value": 50}}
    shell("devices", "retire", "d1")
    shell("devices", "retire", "d1")
    assert "d1" not in keys(shell("devices", "list", "--jsonl"))
    assert "maintenance, retired" in shell("devices", "list", "--retired").out
    shell("devices", "set", "d1", "--reactivate")
    assert "d1" in keys(shell("devices", "list", "--jsonl"))
    found = shell("events", "--entity", "d1", "--jsonl").out.splitlines()
    events = [json.loads(line) for line in found][::-1]
    assert [event["event_type"] for event in events if event["event_type"] != "device.updated"] == [
        "device.created",
        "relationship.created",
        "device.status_changed",
        "settings.changed",
        "device.deleted",
    ]
    assert {event["actor"].partition(":")[0] for event in events} == {"cli"}
    assert shell.rows("SELECT count(*) FROM events WHERE event_type = 'sensor.created' AND entity_key = 't'") == [(1,)]


def test_a_person_reads_fields_and_a_table(shell: Shell) -> None:
    shown = shell("orgs", "show", "lab").out.splitlines()
    assert "           key  lab" in shown
    assert "          name  The Lab" in shown
    table = shell("metrics", "list").out.splitlines()
    assert table[0].split() == ["metric", "type", "unit", "min", "max", "out", "of", "bounds", "description"]
    assert table[2].split() == ["air.temperature", "float", "celsius", "-40", "125", "reject"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["orgs", "add", "lab"], "'lab' exists already"),
        (["orgs", "show", "nobody"], "There is no organisation 'nobody'"),
        (["projects", "add", "P P", "--org", "lab"], "'P P' is no key of projects"),
        (["devices", "add", "d9", "--org", "nobody"], "There is no organisation 'nobody'"),
        (["devices", "add", "d9", "--org", "lab", "--type", "toaster"], "Unknown type toaster"),
        (["devices", "add", "d9", "--org", "lab", "--type", "device.esp32"], "This is no device.esp32"),
        (["devices", "set", "nothing"], "Say what to change"),
        (["devices", "list", "--contains", "[]"], "--contains takes a JSON object"),
        (["devices", "list", "--project", "ales", "--org", "lab"], "leave the other filters out"),
        (["devices", "move", "nothing"], "Say --project ID, or --none"),
        (["sensors", "add", "nothing", "t", "--metric", "air.temperature"], "There is no device 'nothing'"),
        (["metrics", "add", "air.temperature", "--unit", "kelvin"], "defined otherwise"),
        (["metrics", "add", "No Name"], "'No Name' is no name of a metric"),
        (["metrics", "list", "--regex", "("], "regular expression"),
        (["metrics", "set", "air.temperature"], "say what to change"),
        (["metrics", "set", "air.temperature", "--min", "1", "--clear", "min_value"], "set and cleared at once"),
        (["schemas", "show", "nothing"], "There is no schema of nothing"),
        (["keys", "revoke", "nothing"], "There is no key 'nothing'"),
        (["keys", "add", "--org", "lab", "--expires", "2020-01-01"], "is of no use"),
        (["users", "password", "nobody@lab.example"], "There is no password on standard input"),
        (["users", "add", "no-address", "--org", "lab"], "is no e-mail address"),
        (["events", "--entity", "nothing"], "There is no device, project, organisation or user 'nothing'"),
        (["events", "--follow", "--csv"], "--follow shows what happens from now on"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_refusal_is_one_sentence_with_exit_code_2_and_changes_nothing(
    shell: Shell, arguments: list[str], told: str
) -> None:
    before = shell.version(), shell.rows("SELECT count(*) FROM events")
    sentence = shell(*arguments, code=2).sentence()
    assert told in sentence
    assert (shell.version(), shell.rows("SELECT count(*) FROM events")) == before


def test_a_server_that_is_away_is_exit_code_1(shell: Shell) -> None:
    ended = weir(shell.environment | {"WEIR_POSTGRES__DSN": "postgresql://x@127.0.0.1:1/x"}, "orgs", "list")
    assert ended.code == 1
    assert "cannot be reached" in ended.sentence()


def test_devices_are_found_by_what_their_properties_contain_and_by_ranges(shell: Shell) -> None:
    for number, seconds in enumerate((30, 60, 90)):
        shell("devices", "add", f"r{number}", "--org", "rival", "--property", f"config.readingInterval={seconds}")
    found = shell("devices", "list", "--org", "rival", "--range", "config.readingInterval:60:", "--jsonl")
    assert keys(found) == ["r1", "r2"]
    found = shell("devices", "list", "--contains", '{"config": {"readingInterval": 90}}', "--jsonl")
    assert keys(found) == ["r2"]
    assert keys(shell("orgs", "list", "--contains", '{"country": "FR"}', "--jsonl")) == ["rival"]
    assert keys(shell("projects", "list", "--range", "settings.data_retention_days::30", "--jsonl")) == ["lagers"]
    assert keys(shell("devices", "list", "--org", "rival", "--limit", "2", "--jsonl")) == ["r0", "r1"]
    assert [each["key"] for each in shell("devices", "list", "--org", "rival", "--json").json()] == ["r0", "r1", "r2"]
    table = list(csv.DictReader(io.StringIO(shell("devices", "list", "--org", "rival", "--csv").out)))
    assert json.loads(table[2]["properties"]) == {"config": {"readingInterval": 90}}


def test_a_device_that_moved_keeps_its_old_project_for_what_it_sent_before(shell: Shell) -> None:
    shell("devices", "add", "mover", "--org", "lab", "--project", "ales")
    at = datetime(2026, 11, 1, 8, tzinfo=UTC)
    shell("devices", "move", "mover", "--project", "lagers", "--at", "2026-11-01T08:00")
    held = shell.rows(
        "SELECT p.key, r.valid_to FROM relationships r JOIN entities p ON p.id = r.from_entity"
        " JOIN entities d ON d.id = r.to_entity WHERE d.key = 'mover' ORDER BY r.valid_from"
    )
    assert held == [("ales", at), ("lagers", None)]
    assert keys(shell("devices", "list", "--project", "lagers", "--jsonl")) == ["mover"]
    shell("devices", "move", "mover", "--none")
    assert shell("devices", "show", "mover", "--json").json()["project"] is None


def test_a_schema_makes_a_type_and_only_what_keeps_old_data_valid_follows(shell: Shell, tmp_path: Path) -> None:
    first, second, broken = tmp_path / "1.json", tmp_path / "2.json", tmp_path / "3.json"
    first.write_text('{"litres": {"type": "number", "min": 0, "required": true}}', encoding="utf-8")
    second.write_text('{"litres": {"type": "number", "required": true}, "lid": {"type": "boolean", "default": true}}')
    broken.write_text('{"litres": {"type": "string", "required": true}}', encoding="utf-8")
    assert shell("schemas", "add", "tank", str(first)).out == "Schema of tank added as version 1.\n"
    assert "litres must be at least 0" in shell("schemas", "check", "tank", "-", stdin='{"litres": -1}', code=2).err
    shell("schemas", "add", "tank", str(second), "--description", "Lids")
    shell("schemas", "add", "tank", str(broken), code=2)
    assert shell("schemas", "check", "tank", "-", stdin='{"litres": -1}').json() == {"litres": -1, "lid": True}
    listed = shell("schemas", "list", "--type", "tank", "--json").json()
    assert [(each["version"], each["description"]) for each in listed] == [(1, ""), (2, "Lids")]
    assert shell("schemas", "show", "tank", "--version", "1", "--json").json()["definition"]["litres"]["min"] == 0


def test_a_key_is_shown_once_on_stdout_and_works_until_it_is_rotated_or_revoked(shell: Shell) -> None:
    def role_of(text: str) -> str | None:
        with open_directory(shell.dsn, SYSTEM) as metadata:
            actor = metadata.keys.verify(text)
            return actor.role if actor else None

    made = shell("keys", "add", "--org", "lab", "--role", "viewer", "--name", "dashboard", "--expires", "90d")
    text = made.out.strip()
    prefix = text.split("_")[1]
    assert made.err == f"Keep it: the text of key {prefix} is not shown again.\n"
    assert role_of(text) == "viewer"
    listed = shell("keys", "list", "--org", "lab", "--json")
    assert [key["prefix"] for key in listed.json()] == [prefix]
    secret = text.split("_")[2]
    assert secret not in listed.out
    new = shell("keys", "rotate", prefix, "--json").json()["secret"]
    assert (role_of(text), role_of(new)) == (None, "viewer")
    shell("keys", "revoke", new.split("_")[1])
    shell("keys", "revoke", new.split("_")[1])
    assert role_of(new) is None
    assert shell("keys", "list", "--org", "lab", "--json").json() == []
    assert len(shell("keys", "list", "--org", "lab", "--revoked", "--json").json()) == 2
    logged = shell.rows("SELECT data::text FROM events WHERE starts_with(event_type, 'key.')")
    assert len(logged) == 3
    assert [row for row in logged if secret in row[0] or new.split("_")[2] in row[0]] == []


def test_a_password_comes_from_standard_input_and_lets_the_user_in(shell: Shell) -> None:
    shell("users", "add", "ada@lab.example", "--org", "lab", "--role", "editor", "--name", "Ada")
    assert shell("users", "show", "ada@lab.example", "--json").json()["has_password"] is False
    assert "10" in shell("users", "password", "ada@lab.example", stdin="short\n", code=2).sentence()
    shell("users", "password", "ada@lab.example", stdin="correct horse battery\n")
    with open_directory(shell.dsn, SYSTEM) as metadata:
        entered = metadata.users.login("ada@lab.example", "correct horse battery")
    assert entered is not None and entered.actor.role == "editor"
    assert shell("users", "role", "ada@lab.example", "viewer", "--org", "lab").out == (
        "ada@lab.example is viewer in lab.\n"
    )
    assert shell("users", "list", "--org", "lab", "--json").json()[0]["roles"] == {"lab": "viewer"}
    shell("users", "role", "ada@lab.example", "none", "--org", "lab")
    shell("users", "retire", "ada@lab.example")
    assert shell("users", "list", "--org", "lab", "--json").json() == []
    assert shell.rows("SELECT FROM events WHERE data::text LIKE '%%correct horse%%'") == []


def test_a_command_waits_for_its_device_until_it_is_cancelled(shell: Shell) -> None:
    shell("devices", "add", "told", "--org", "lab")
    sent = shell(
        "devices", "commands", "send", "told", "calibrate", "--parameter", "offset=-0.5", "--expires", "1h", "--json"
    ).json()
    assert (sent["command"], sent["parameters"], sent["status"]) == ("calibrate", {"offset": -0.5}, "pending")
    assert "calibrate" in shell("devices", "commands", "list", "told").out
    shell("devices", "commands", "cancel", sent["id"])
    assert shell("devices", "commands", "list", "told", "--json").json()[0]["status"] == "cancelled"


def test_the_database_role_of_an_organisation_reads_its_rows_only(shell: Shell) -> None:
    role = shell("orgs", "role", "lab").out.strip()
    try:
        with psycopg.connect(shell.dsn) as conn:
            conn.execute(f'SET ROLE "{role}"'.encode())
            assert conn.execute("SELECT DISTINCT organisation_id FROM devices").fetchall() == [("lab",)]
    finally:
        shell("orgs", "role", "lab", "--revoke")
    assert shell.rows("SELECT FROM pg_roles WHERE rolname = %s", role) == []


def test_events_are_chosen_by_family_and_time(shell: Shell) -> None:
    shell("projects", "add", "porters", "--org", "lab")
    shell("projects", "set", "porters", "--property", "settings.data_retention_days=7")
    types = [
        json.loads(line)["event_type"]
        for line in shell("events", "--entity", "project/porters", "--jsonl").out.splitlines()
    ]
    assert sorted(types) == ["project.created", "project.updated", "settings.changed"]
    chosen = shell("events", "--entity", "project/porters", "--type", "settings", "--since", "1h", "--json").json()
    assert [event["data"]["new"] for event in chosen] == [{"data_retention_days": 7}]
    assert shell("events", "--entity", "porters", "--until", "1h", "--json").json() == []
    shell("devices", "add", "rack/1", "--org", "lab")
    shell("sensors", "add", "rack/1", "t", "--metric", "air.temperature")
    assert len(shell("events", "--entity", "rack/1", "--json").json()) == 1
    assert len(shell("events", "--entity", "device/rack/1", "--json").json()) == 1


def test_follow_shows_what_happens_from_now_on_once_and_misses_no_slow_transaction(shell: Shell) -> None:
    happen = (
        "INSERT INTO events (event_type, entity_id, entity_type, entity_key, organisation_id)"
        " SELECT %s, id, entity_type, key, id FROM entities WHERE key = 'lab'"
    )
    arguments = ["events", "--follow", "--jsonl", "--limit", "3", "--type", "test"]
    with psycopg.connect(shell.dsn) as slow, psycopg.connect(shell.dsn, autocommit=True) as quick:
        slow.execute(happen, ["test.slow"])
        following = subprocess.Popen(
            [sys.executable, "-m", "weir", *arguments],
            env=shell.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert "Following" in (following.stderr.readline() if following.stderr else "")
            quick.execute(happen, ["test.quick"])
            first = json.loads(following.stdout.readline() if following.stdout else "")
            slow.commit()
            quick.execute(happen, ["test.last"])
            out, _ = following.communicate(timeout=patient(20))
        finally:
            following.kill()
            following.communicate()
    assert first["event_type"] == "test.quick"
    assert [json.loads(line)["event_type"] for line in out.splitlines()] == ["test.slow", "test.last"]
