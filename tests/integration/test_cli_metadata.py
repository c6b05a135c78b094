"""The commands of metadata on a real database: what they print, what they change, what they refuse."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from connectors.entities import inventory
from connectors.entities.actor import SYSTEM
from connectors.entities.directory import open_directory
from tests.one_server import postgres_database
from tests.stack_under_test import StackUnderTest
from tests.waiting import patient
from tests.weir_command import Ended, weir
from weir.cli.main import program
from weir.errors import WeirError

HEADER = "device_id,sensor,metric,unit,min_value,max_value,device_type"


@dataclass(frozen=True)
class Shell:
    """Runs commands on one database: in this process, which is fast, or as a process of its own."""

    dsn: str

    def __call__(self, *arguments: str, stdin: str = "", code: int = 0) -> Ended:
        """Run a command that ends with ``code``."""
        done = CliRunner().invoke(program, arguments, input=stdin)
        ended = Ended(done.exit_code, done.stdout, done.stderr)
        if isinstance(done.exception, WeirError):
            ended = Ended(done.exception.exit_code, done.stdout, f"{done.stderr}weir: {done.exception}\n")
        elif done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert ended.code == code, f"{arguments}\n{ended.out}\n{ended.err}"
        return ended

    @property
    def environment(self) -> dict[str, str]:
        """For a process of its own."""
        return os.environ | {"WEIR_POSTGRES__DSN": self.dsn}

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What the database says itself."""
        with psycopg.connect(self.dsn) as conn:
            return conn.execute(query, values).fetchall()

    def version(self) -> int:
        """Grows with every change of the metadata."""
        return int(self.rows("SELECT version FROM metadata_version")[0][0])

    def events(self, event_type: str, key: str) -> list[dict[str, Any]]:
        """Data of the events about an entity, oldest first."""
        return [
            row[0]
            for row in self.rows(
                "SELECT data FROM events WHERE event_type = %s AND entity_key = %s ORDER BY id", event_type, key
            )
        ]


@pytest.fixture(scope="module")
def database(stack: StackUnderTest) -> Iterator[str]:
    """Two organisations, two projects and two metrics."""
    with postgres_database(stack) as dsn, pytest.MonkeyPatch.context() as patch:
        patch.setenv("WEIR_POSTGRES__DSN", dsn)
        shell = Shell(dsn)
        shell("orgs", "add", "lab", "--name", "The Lab", "--property", "country=UK")
        shell("orgs", "add", "rival", "--property", "country=FR")
        shell("projects", "add", "ales", "--org", "lab")
        shell("projects", "add", "lagers", "--org", "lab", "--property", "settings.data_retention_days=30")
        shell("metrics", "add", "air.temperature", "--unit", "celsius", "--min", "-40", "--max", "125")
        shell("metrics", "add", "kiln.state", "--type", "enum", "--enum", "idle", "--enum", "firing")
        yield dsn


@pytest.fixture
def shell(database: str, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Commands on that database."""
    monkeypatch.setenv("WEIR_POSTGRES__DSN", database)
    return Shell(database)


def keys(ended: Ended) -> list[str]:
    return [json.loads(line)["key"] for line in ended.out.splitlines()]


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


def test_good_rows_are_imported_and_bad_ones_told_by_line_and_column(shell: Shell, tmp_path: Path) -> None:
    shell("devices", "add", "foreign", "--org", "rival")
    file, report = tmp_path / "fleet.csv", tmp_path / "bad.jsonl"
    file.write_text(
        f"{HEADER}\n"
        "i1,t,air.temperature,,,,device.esp32\n"
        "i1,h,air.humidity,percent,0,100,device.esp32\n"
        "i2,t,air.temperature,furlong,,,\n"
        'i3,"t,air.temperature,,,,\n'
        "i4,t,air.temperature,,warm,,\n"
        "foreign,t,air.temperature,,,,\n"
        "i5,t\n"
        "i6,state,kiln.state,,,,equipment.kiln\n",
        encoding="utf-8",
    )
    ended = shell("devices", "import", str(file), "--org", "lab", "--report", str(report), code=1)
    assert ended.out == "3 of 8 rows imported (2 devices and 3 sensors changed); 5 bad.\n"
    faults = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    assert [(fault["line"], fault["column"]) for fault in faults] == [
        (4, "unit"),
        (5, ""),
        (6, "min_value"),
        (7, "device_id"),
        (8, ""),
    ]
    assert "fleet.csv:4: unit: 'furlong' cannot be converted to celsius, the unit of air.temperature" in ended.err
    assert shell.rows("SELECT key, entity_type FROM entities WHERE key ~ '^i[0-9]$' ORDER BY key") == [
        ("i1", "device.esp32"),
        ("i6", "equipment.kiln"),
    ]
    assert shell.rows("SELECT value_type, unit FROM metrics WHERE name = 'air.humidity'") == [("float", "percent")]
    told = shell.events("data.imported", "lab")[-1]
    assert told == {"file": "fleet.csv", "rows": 8, "imported": 3, "bad": 5, "devices": 2, "sensors": 3}


def test_a_device_without_sensors_is_imported_renamed_and_moved_by_its_row(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "bare.csv"
    header = "device_id,sensor,device_type,device_name,project\n"
    counts = []
    for row in ("bare,,device,One,ales", "bare,,device,Two,lagers", "bare,,device,Two,lagers"):
        file.write_text(f"{header}{row}\n", encoding="utf-8")
        counts.append(shell("devices", "import", str(file), "--org", "lab", "--json").json()["devices"])
    assert counts == [1, 1, 0]
    assert shell.rows("SELECT name, project_id FROM devices WHERE id = 'bare'") == [("Two", "lagers")]
    file.write_text(f"{header}bare,,equipment,Two,lagers\n", encoding="utf-8")
    told = shell("devices", "import", str(file), "--org", "lab", code=1).err
    assert "bare.csv:2: bare is a device; only a row with a sensor makes it something else" in told


def test_a_dry_run_tells_the_same_and_writes_nothing(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "fleet.jsonl"
    file.write_text(
        '{"device_id": "dry", "sensor": "t", "metric": "dry.metric"}\n{"device_id": "dry", "sensor": 5}\n',
        encoding="utf-8",
    )
    before = shell.version(), shell.rows("SELECT count(*) FROM events")
    ended = shell("devices", "import", str(file), "--org", "lab", "--dry-run", "--json", code=1)
    assert ended.json() == {"dry_run": True, "rows": 2, "imported": 1, "bad": 1, "devices": 0, "sensors": 0}
    assert "fleet.jsonl:2: sensor: " in ended.err
    assert (shell.version(), shell.rows("SELECT count(*) FROM events")) == before


def test_an_export_imported_again_changes_nothing_and_what_left_is_in_the_log(shell: Shell, tmp_path: Path) -> None:
    shell("devices", "add", "e1", "--org", "lab", "--project", "lagers", "--name", "Näme, with comma")
    shell("sensors", "add", "e1", "t", "--metric", "air.temperature", "--unit", "kelvin", "--property", "min_value=0")
    shell("sensors", "add", "e1", "state", "--metric", "kiln.state")
    shell("devices", "add", "e2", "--org", "lab", "--type", "equipment")
    exported = shell("devices", "export", "--project", "lagers", "--org", "lab")
    assert [row for row in csv.reader(io.StringIO(exported.out)) if row[2] == "e1"] == [
        ["lab", "lagers", "e1", "device", "Näme, with comma", "state", "kiln.state", "", "", "", "enum"],
        ["lab", "lagers", "e1", "device", "Näme, with comma", "t", "air.temperature", "kelvin", "0.0", "", "float"],
    ]
    told = shell.events("data.exported", "lab")[-1]
    assert told["rows"] == len(exported.out.splitlines()) - 1
    assert told["filter"] == {"organisation": "lab", "project": "lagers", "format": "csv"}
    before = shell.version()
    assert ",e2,equipment,,,,,,,\n" in shell("devices", "export", "--org", "lab").out
    for form in ("csv", "jsonl"):
        file = tmp_path / f"fleet.{form}"
        rows = shell("devices", "export", "--org", "lab", "--format", form).out
        file.write_text(rows, encoding="utf-8")
        assert "(0 devices and 0 sensors changed)" in shell("devices", "import", str(file)).out
    assert shell.version() == before


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_an_export_is_the_same_in_pages_of_any_size(shell: Shell, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = shell("devices", "export").out
    assert len(whole.splitlines()) > 6
    monkeypatch.setattr(inventory, "PAGE_ROWS", rows)
    assert shell("devices", "export").out == whole


def test_a_pipe_of_an_export_into_an_import_works_as_processes(shell: Shell) -> None:
    out = weir(shell.environment, "devices", "export", "--project", "lagers")
    assert out.code == 0, out.err
    again = weir(shell.environment, "devices", "import", "-", "--format", "csv", "--dry-run", stdin=out.out)
    assert again.out.endswith(" rows would be imported.\n"), again.err
    assert again.code == 0


def test_batches_are_imported_whole_and_a_wrong_place_is_told_once(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "fleet.csv"
    lines = [f"b{number},t,air.temperature,,,," for number in range(1_500)]
    lines[1_200] = "b1200,t,air.temperature,,5,4,"
    file.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    assert "There is no organisation 'nobody'" in shell("devices", "import", str(file), "--org", "nobody", code=2).err
    ended = shell("devices", "import", str(file), "--org", "lab", "--project", "ales", code=1)
    assert ended.out == "1,499 of 1,500 rows imported (1,499 devices and 1,499 sensors changed); 1 bad.\n"
    assert "fleet.csv:1202: min_value: 5 is above max_value 4" in ended.err
    assert len(keys(shell("devices", "list", "--project", "ales", "--jsonl"))) == 1_499 + len(
        shell.rows("SELECT FROM devices WHERE project_id = 'ales' AND id !~ '^b[0-9]+$'")
    )
    listed = keys(shell("devices", "list", "--org", "lab", "--jsonl"))
    assert len(set(listed)) == len(listed) >= 1_499
    ended = shell("devices", "import", str(file), "--org", "lab", "--project", "ales", "--json", code=1)
    assert ended.json()["devices"] == ended.json()["sensors"] == 0


def test_metrics_are_searched_by_pattern_exported_and_imported(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    file.write_text(
        "name,value_type,unit,min_value,max_value,enum_values\n"
        "greenhouse.climate.co2,float,ppm,0,5000,\n"
        'greenhouse.climate.lamp,enum,,,,"[""on"", ""off""]"\n'
        "greenhouse.climate.odd,enum,,,,\n"
        "greenhouse.soil.ph,float,bananas,0,14,\n",
        encoding="utf-8",
    )
    ended = shell("metrics", "import", str(file), code=1)
    assert ended.out == "2 of 4 metrics imported; 2 bad.\n"
    assert "metrics.csv:4: greenhouse.climate.odd is enum" in ended.err
    assert "metrics.csv:5: 'bananas', the unit of greenhouse.soil.ph, is not known" in ended.err
    found = shell("metrics", "list", "--regex", r"^greenhouse\.climate\.", "--jsonl").out.splitlines()
    assert [json.loads(line)["name"] for line in found] == ["greenhouse.climate.co2", "greenhouse.climate.lamp"]
    shell("metrics", "set", "greenhouse.climate.co2", "--bounds", "mark", "--clear", "min_value")
    shown = shell("metrics", "show", "greenhouse.climate.co2", "--json").json()
    assert (shown["bounds_action"], shown["min_value"], shown["max_value"]) == ("mark", None, 5000)
    before = shell.version()
    for form in ("csv", "jsonl"):
        again = tmp_path / f"again.{form}"
        again.write_text(shell("metrics", "export", "--format", form).out, encoding="utf-8")
        shell("metrics", "import", str(again))
    assert shell.version() == before
    dry = tmp_path / "dry.csv"
    dry.write_text("name\ndry.metric\n", encoding="utf-8")
    shell("metrics", "import", str(dry), "--dry-run")
    shell("metrics", "show", "dry.metric", code=2)


def test_a_refused_metric_leaves_those_before_and_behind_it(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text(
        '{"name": "kept.before"}\n'
        '{"name": "kept.not", "value_type": "json", "json_schema": {"title": "\\ud800"}}\n'
        '{"name": "kept.behind"}\n',
        encoding="utf-8",
    )
    ended = shell("metrics", "import", str(file), code=1)
    assert ended.out == "2 of 3 metrics imported; 1 bad.\n"
    assert ended.err.startswith("metrics.jsonl:2: ")
    names = [each["name"] for each in shell("metrics", "list", "--regex", r"^kept\.", "--json").json()]
    assert names == ["kept.before", "kept.behind"]


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
