"""Metadata that change while readings flow, and between a kill and the restart."""

from __future__ import annotations

from pathlib import Path

import psycopg

from connectors.postgres.metadata import metadata_version
from tests.fault.retold import take_stock, unexplained
from tests.fault.scenario import Scenario, scenario_on
from tests.stack_under_test import StackUnderTest
from tests.stored import dead_letters
from tests.waiting import wait_until
from tests.worker_process import WorkerProcess

SEED = 25

SENSORS_OF = "FROM entities d WHERE d.id = s.parent_id AND d.kind = 'device'"
NARROWER = (
    'UPDATE entities s SET properties = s.properties || \'{"min_value": 18, "max_value": 22}\' '
    f"{SENSORS_OF} AND d.key IN ('device-1', 'device-3')"
)
"""The load's values are spread by 5 about 20, so about a third of them is still within."""

MOVED = (
    "INSERT INTO entities (entity_type, key, name, organisation_id) "
    "SELECT 'project', 'orchard', 'Orchard', id FROM entities WHERE entity_type = 'organisation' AND key = 'acme' "
    "ON CONFLICT DO NOTHING;"
    "INSERT INTO relationships (from_entity, to_entity, relationship_type, valid_from, organisation_id) "
    "SELECT p.id, d.id, 'contains', '-infinity', p.organisation_id FROM entities p, entities d "
    "WHERE p.entity_type = 'project' AND p.key = 'orchard' AND d.kind = 'device' AND d.key = 'device-2'"
)
"""Its first project, which holds for all event times: what is read after the change is in it."""

CHANGES = (
    f"UPDATE entities s SET properties = s.properties || '{{\"unit\": \"K\"}}' {SENSORS_OF} AND d.key = 'device-0'",
    NARROWER,
    MOVED,
    "UPDATE entities SET is_active = false WHERE key = 'device-4'",
    "UPDATE entities SET is_active = true WHERE key = 'device-4'",
    'UPDATE entities SET properties = properties || \'{"min_value": -1000, "max_value": 1000}\' '
    "WHERE entity_type = 'sensor'",
)

PLANNED_AND_JUDGED_AGAIN = (("raw_readings", "doubled"), ("dead letters", "never sent"))


def change(scenario: Scenario, statement: str) -> str:
    """Change the metadata; returns what a worker says once it has them."""
    with psycopg.connect(scenario.world.dsn, autocommit=True) as connection:
        connection.execute(statement.encode())
    return f"metadata version {metadata_version(scenario.world.dsn)} is in force"


def refused(scenario: Scenario, reason: str) -> int:
    """Dead letters with this reason."""
    return sum(letter.headers["reason"] == reason for letter in dead_letters(scenario.world.settings))


def test_metadata_that_change_while_readings_flow_lose_nothing_and_hold_from_then_on(
    stack: StackUnderTest, tmp_path: Path
) -> None:
    with scenario_on(stack, tmp_path, SEED) as scenario:
        world = scenario.world
        worker = world.start_worker()
        scenario.load.send(5)
        world.wait(scenario.settled, "something is stored under the first metadata")
        for statement in CHANGES:
            scenario.load.send(10)
            words = change(scenario, statement)
            scenario.load.send(10)
            world.wait(lambda words=words: words in worker.log, words)  # type: ignore[misc]
            scenario.load.send(3)
        world.wait(scenario.settled, "everything is stored or refused")
        assert refused(scenario, "out_of_bounds") > 20
        assert take_stock(scenario) == []
        result = scenario.outcome("metadata change", SEED)
        assert result.differences == [], result.words()
        units = world.query("SELECT DISTINCT toString(unit) FROM readings WHERE device_id = 'device-0'")
        projects = world.query("SELECT DISTINCT toString(project_id) FROM readings WHERE device_id = 'device-2'")
        assert set(units) == {("",), ("K",)}
        assert set(projects) == {("",), ("orchard",)}


def test_metadata_that_change_between_a_kill_and_the_restart_leave_windows_equal_to_what_is_stored(
    stack: StackUnderTest, tmp_path: Path
) -> None:
    with scenario_on(stack, tmp_path, SEED) as scenario:
        world = scenario.world
        for statement, letters in ((NARROWER, 0), (CHANGES[-1], 21)):
            killed_in_the_midst(scenario, world.start_worker(), letters)
            change(scenario, statement)
        world.start_worker()
        scenario.load.send(30)
        world.wait(scenario.settled, "everything is stored or refused")
        assert refused(scenario, "out_of_bounds") > 20
        assert take_stock(scenario) == []
        result = scenario.outcome("metadata change between a kill and the restart", SEED)
        # A block that was planned, and may be stored, is another block under other metadata: its rows come once more
        # and replace themselves, or are refused as well. Nothing else may be there twice.
        assert unexplained(scenario, result.differences, PLANNED_AND_JUDGED_AGAIN, plans=2) == [], result.words()


def killed_in_the_midst(scenario: Scenario, worker: WorkerProcess, letters: int) -> None:
    """Send, and kill the worker after its first flush, so that windows are open and a block may be planned.

    Not before ``letters`` were written: they come after the rows of their flush.
    """
    rows = "SELECT count() FROM raw_readings"
    enough = scenario.world.value(rows) + scenario.world.settings.stream.flush_rows
    scenario.load.send(60)
    wait_until(lambda: scenario.world.value(rows) > enough, "it has stored more than a flush", poll=0.01)
    wait_until(lambda: not letters or refused(scenario, "out_of_bounds") >= letters, "it has refused as much")
    worker.kill()
