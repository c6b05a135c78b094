"""The way up and down of a database that holds rows of every kind."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from connectors.postgres import migrate as postgres
from connectors.postgres.metadata import metadata_version
from tests.filled_metadata import contents, fill
from tests.one_server import nowhere, postgres_database
from tests.stack_under_test import StackUnderTest, environment_of, plain_environment
from tests.waiting import patient
from tests.world import _drop, _drop_postgres

NEWEST = postgres.read_migrations()[-1].number
BEFORE_ENTITIES = 2

OLD_ROWS = """
    INSERT INTO organisations (id, name, properties, is_active, created_at) VALUES
        ('acme', 'Acme', '{"city": "Boston"}', true, '2024-01-01'), ('gone', 'Gone', '{}', false, '2024-01-02');
    INSERT INTO projects (id, organisation_id, name, settings, is_active) VALUES
        ('north', 'acme', 'North', '{"data_retention_days": 30}', true), ('south', 'acme', 'South', '{}', false);
    INSERT INTO metrics (name, value_type, unit, min_value, max_value, description) VALUES
        ('t', 'number', 'celsius', -40, 'Infinity', 'Temperature'), ('state', 'text', '', 0, 1, 'State');
    INSERT INTO devices (id, organisation_id, project_id, device_type, name, status, properties, is_active) VALUES
        ('d1', 'acme', 'north', 'device.esp32', 'One', 'online', '{"location": "Lab"}', true),
        ('d2', 'acme', NULL, 'equipment.oven', '', 'error', '{}', true),
        ('d3', 'acme', 'south', 'device', 'Drei "3"', 'offline', '{}', false),
        ('d;--', 'gone', NULL, 'device.pump', '', 'maintenance', '{}', true);
    INSERT INTO sensors (device_id, name, metric, unit, min_value, max_value, value_type) VALUES
        ('d1', 'temp', 't', NULL, NULL, NULL, 'number'), ('d1', 'temp 2', 't', 'K', 0.1, 1e300, 'number'),
        ('d2', 'state', 'state', '', NULL, NULL, 'text'), ('d;--', 'temp', 't', NULL, -1, NULL, 'number');
"""
SHOWN = {
    "organisations": "id, name, properties, is_active, created_at, updated_at",
    "projects": "id, organisation_id, name, settings, is_active, created_at, updated_at",
    "devices": "id, organisation_id, project_id, device_type, name, status, properties, is_active, created_at, "
    "updated_at",
    "sensors": "device_id, name, metric, unit, min_value, max_value",
    "metrics": "name, unit, description, replace(replace(value_type, 'number', 'float'), 'text', 'string')",
}
"""What the tables of before and the views of today both tell."""

IDENTITIES = "SELECT kind || parent || key, id FROM (SELECT *, coalesce(parent_id::text, '') AS parent FROM entities) e"


def told(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    """Rows of the tables of before, or of the views that stand in their place."""
    with psycopg.connect(dsn) as conn:
        return {
            name: conn.execute(f"SELECT {columns} FROM {name} ORDER BY 1, 2".encode()).fetchall()
            for name, columns in SHOWN.items()
        }


@pytest.fixture
def older(stack: StackUnderTest, tmp_path: Path) -> Iterator[str]:
    """A database that an older Weir made, with nothing in it."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    for number in range(1, BEFORE_ENTITIES + 1):
        for file in postgres.FOLDER.glob(f"{number:03d}_*.sql"):
            shutil.copy(file, folder)
    settings = nowhere(stack)
    dsn = settings.postgres.dsn.get_secret_value()
    try:
        postgres.apply(dsn, folder=folder)
        yield dsn
    finally:
        _drop_postgres(settings)


@pytest.fixture(scope="module")
def filled(stack: StackUnderTest) -> Iterator[str]:
    """A database of today with rows of every kind; the tests of this file leave them as they are."""
    with postgres_database(stack) as dsn:
        fill(dsn)
        yield dsn


def execute(dsn: str, statements: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute(statements.encode())


def column(dsn: str, query: str) -> list[Any]:
    with psycopg.connect(dsn) as conn:
        return [row[0] for row in conn.execute(query.encode())]


def test_what_an_older_weir_knew_is_there_after_the_way_up(older: str) -> None:
    execute(older, OLD_ROWS)
    before = told(older)
    postgres.apply(older)
    assert told(older) == before
    assert [len(rows) for rows in before.values()] == [2, 2, 4, 4, 2]
    contained = "SELECT e.key || ' ' || valid_from FROM relationships r JOIN entities e ON e.id = to_entity ORDER BY 1"
    assert column(older, contained) == ["d1 -infinity", "d3 -infinity"]


@pytest.mark.parametrize(
    ("device_type", "entity_type"),
    [
        ("Device.ESP32", "device.esp32"),
        ("pump.large", "device.pump.large"),
        ("3D printer", "device.t_3d_printer"),
        ("größe-7.", "device.t_gr_e_7"),
        ("", "device"),
        ("'; DROP TABLE devices; --", "device.t_drop_table_devices"),
        ("x" * 300, "device.t_" + "x" * 80),
    ],
)
def test_a_device_type_that_no_entity_may_have_becomes_one_that_says_nearly_the_same(
    older: str, device_type: str, entity_type: str
) -> None:
    execute(older, OLD_ROWS)
    with psycopg.connect(older) as conn:
        conn.execute("UPDATE devices SET device_type = %s WHERE id = 'd1'", [device_type])
    postgres.apply(older)
    assert column(older, "SELECT entity_type FROM entities WHERE key = 'd1'") == [entity_type]


def test_bounds_that_are_no_numbers_become_the_largest_that_are(older: str) -> None:
    execute(older, OLD_ROWS + "UPDATE sensors SET min_value = '-Infinity', max_value = 'NaN' WHERE name = 'temp'")
    postgres.apply(older)
    bounds = "SELECT min_value || ' ' || max_value FROM sensors WHERE device_id = 'd1' AND name = 'temp'"
    assert column(older, bounds) == ["-1.7976931348623157e+308 1.7976931348623157e+308"]


@pytest.mark.parametrize("number", range(NEWEST))
def test_down_to_any_number_and_up_again_loses_nothing(filled: str, number: int) -> None:
    before = contents(filled)
    assert all(before.values()), [name for name, rows in before.items() if not rows]
    removed = postgres.rollback(filled, number)
    assert len(removed) == NEWEST - number
    postgres.apply(filled)
    after = contents(filled)
    assert after.keys() == before.keys()
    for table, rows in before.items():
        assert after[table] == rows, table


def test_the_way_back_shows_an_older_weir_what_it_can_hold(filled: str) -> None:
    before = told(filled)
    postgres.rollback(filled, BEFORE_ENTITIES)
    try:
        shown = told(filled)
    finally:
        postgres.apply(filled)
    assert [row[:4] for row in shown["devices"]] == [row[:4] for row in before["devices"]]
    assert {row[5] for row in shown["devices"]} <= {"online", "offline", "maintenance", "error"}
    active = "SELECT device_id || '/' || name FROM sensors WHERE is_active ORDER BY device_id, name"
    assert [f"{row[0]}/{row[1]}" for row in shown["sensors"]] == column(filled, active)


def test_a_second_run_changes_no_row_and_no_version(filled: str) -> None:
    before, version = contents(filled, stamps=True), metadata_version(filled)
    assert {change.action for change in postgres.apply(filled)} == {"unchanged"}
    assert contents(filled, stamps=True) == before
    assert metadata_version(filled) == version


def test_what_an_older_weir_changed_after_a_rollback_arrives_in_the_entities(older: str) -> None:
    execute(older, OLD_ROWS)
    postgres.apply(older)
    identities = dict(pairs(older, IDENTITIES))
    postgres.rollback(older, BEFORE_ENTITIES)
    execute(
        older,
        """
        INSERT INTO organisations (id, name) VALUES ('new-org', 'New');
        INSERT INTO devices (id, organisation_id, device_type) VALUES ('added', 'new-org', 'device.esp32');
        INSERT INTO sensors (device_id, name, metric) VALUES ('added', 'temp', 't');
        UPDATE projects SET settings = '{"data_retention_days": 7}', is_active = true WHERE id = 'south';
        UPDATE devices SET project_id = 'south', status = 'offline', updated_at = now() WHERE id = 'd1';
        UPDATE sensors SET unit = 'F', max_value = 99.5 WHERE device_id = 'd1' AND name = 'temp 2';
        UPDATE metrics SET name = 'temperature', max_value = 60 WHERE name = 't';
        DELETE FROM sensors WHERE device_id = 'd2';
        DELETE FROM organisations WHERE id = 'gone';
        """,
    )
    before = told(older)
    postgres.apply(older)
    after = told(older)
    after["metrics"].remove(("t", "", "", "float"))  # of the sensor that is retired
    assert active(after) == active(before)
    assert column(older, "SELECT key FROM entities WHERE NOT is_active ORDER BY key") == [
        "d3",
        "d;--",
        "gone",
        "state",
        "temp",
    ]
    now = dict(pairs(older, IDENTITIES))
    assert {name: now[name] for name in identities} == identities
    history = (
        "SELECT p.key, valid_to IS NULL FROM relationships r JOIN entities p ON p.id = from_entity JOIN entities d "
    )
    assert pairs(older, history + "ON d.id = to_entity WHERE d.key = 'd1' ORDER BY valid_from") == [
        ("north", False),
        ("south", True),
    ]
    seamless = "SELECT count(DISTINCT t) FROM (SELECT valid_to t FROM relationships UNION ALL SELECT valid_from FROM "
    assert column(older, seamless + "relationships) x WHERE t > '2000-01-01' AND t < 'infinity'") == [1]


def pairs(dsn: str, query: str) -> list[tuple[Any, Any]]:
    with psycopg.connect(dsn) as conn:
        return [(row[0], row[1]) for row in conn.execute(query.encode())]


def active(shown: dict[str, list[tuple[Any, ...]]]) -> dict[str, list[tuple[Any, ...]]]:
    """Without what is retired: an older Weir deletes instead."""
    gone = {row[0] for row in shown["devices"] if not row[7]} | {"gone"}
    return {
        name: [row for row in rows if row[0] not in gone and (name, row[0]) != ("sensors", "d2")]
        for name, rows in shown.items()
    }


def test_a_move_by_an_older_weir_comes_after_what_was_planned(older: str) -> None:
    execute(older, OLD_ROWS)
    postgres.apply(older)
    execute(older, "UPDATE relationships SET valid_to = now() + interval '1 day'")
    postgres.rollback(older, BEFORE_ENTITIES)
    execute(older, "UPDATE devices SET project_id = 'south' WHERE id = 'd1'")
    postgres.apply(older)
    overlapping = (
        "SELECT count(*) FROM relationships a JOIN relationships b ON a.to_entity = b.to_entity AND a.id < b.id "
        "AND tstzrange(a.valid_from, a.valid_to) && tstzrange(b.valid_from, b.valid_to)"
    )
    assert column(older, overlapping) == [0]
    assert column(older, "SELECT project_id FROM devices WHERE id = 'd1'") == ["south"]


def test_two_processes_that_migrate_at_once_both_end_well(stack: StackUnderTest) -> None:
    settings = nowhere(stack)
    environment = plain_environment() | environment_of(settings)
    command = [sys.executable, "-m", "weir", "migrate", "--sample", "--json"]
    try:
        both = [
            subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        ended = [(process.communicate(timeout=patient(60)), process.returncode) for process in both]
        assert [code for _, code in ended] == [0, 0], [words[1] for words, _ in ended]
        dsn = settings.postgres.dsn.get_secret_value()
        assert column(dsn, "SELECT number FROM weir_migrations ORDER BY number") == list(range(1, NEWEST + 1))
        made = "SELECT count(*) - count(DISTINCT entity_id) FROM events WHERE event_type LIKE '%.created' "
        assert column(dsn, made + "AND event_type <> 'relationship.created'") == [0]
    finally:
        _drop(settings)
