"""Every index of the entity model is the one that the planner takes for the query it is there for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, LiteralString
from uuid import UUID

import pytest
from psycopg.rows import DictRow

from connectors.entities.actor import SYSTEM, Actor
from connectors.entities.directory import Directory
from connectors.postgres.connection import connection
from tests.one_server import postgres_database
from tests.stack_under_test import StackUnderTest

FILL = """
    SET LOCAL weir.bulk = 'on';
    INSERT INTO schemas (entity_type, version, definition) VALUES ('room', 1, '{}');
    INSERT INTO metrics (name) SELECT 'metric.' || n FROM generate_series(1, 200) n;
    INSERT INTO entities (id, entity_type, key, organisation_id)
    SELECT id, 'organisation', 'org-' || n, id FROM (SELECT gen_random_uuid() AS id, n FROM generate_series(1, 40) n);
    INSERT INTO entities (entity_type, key, organisation_id, properties, created_at)
    SELECT k.kind, k.kind || '-' || n, o.id,
           jsonb_build_object('firmware', jsonb_build_object('version', '1.0.' || n % 200)), now() + n * interval '1 ms'
    FROM generate_series(1, 8000) n
    CROSS JOIN LATERAL (
        SELECT CASE WHEN n % 40 = 0 THEN 'project' WHEN n % 8 = 1 THEN 'room' ELSE 'device.esp32' END) k (kind)
    JOIN entities o ON o.key = 'org-' || (n % 37 + 1);
    INSERT INTO entities (entity_type, key, organisation_id, parent_id, properties)
    SELECT 'sensor', 's' || s, d.organisation_id, d.id,
           jsonb_build_object('metric', 'metric.' || (hashtext(d.key) & 127) + s)
    FROM entities d CROSS JOIN generate_series(1, 2) s WHERE d.entity_type = 'device.esp32';
    INSERT INTO relationships (from_entity, to_entity, relationship_type, valid_from, organisation_id)
    SELECT p.id, d.id, 'contains', '-infinity', d.organisation_id FROM entities d
    JOIN LATERAL (SELECT id FROM entities p WHERE p.entity_type = 'project' AND p.organisation_id = d.organisation_id
                  ORDER BY md5(p.key || d.key) LIMIT 1) p ON true
    WHERE d.entity_type = 'device.esp32';
    INSERT INTO events (ts, event_type, entity_id, entity_type, entity_key, organisation_id, data)
    SELECT now() - (20000 - n) * interval '1 s', CASE WHEN n % 1000 = 0 THEN 'device.silent' ELSE 'device.updated' END,
           d.id, d.entity_type, d.key, d.organisation_id, jsonb_build_object('note', repeat('x', 500))
    FROM generate_series(1, 20000) n JOIN entities d ON d.key = 'device.esp32-' || (n % 7000 + 1);
"""


class ExplainingDirectory(Directory):
    """Asks for the plan of every query before it runs it, and keeps the plans."""

    def __init__(self, directory: Directory) -> None:
        super().__init__(directory.conn, directory.actor)
        self.plans: list[str] = []

    def rows(self, query: LiteralString, parameters: dict[str, Any] | None = None) -> list[DictRow]:
        plan = self.conn.execute(f"EXPLAIN {query}".encode(), parameters).fetchall()
        self.plans.append("\n".join(line for (line,) in plan))
        return super().rows(query, parameters)


@pytest.fixture(scope="module")
def filled(stack: StackUnderTest) -> Iterator[str]:
    """The DSN of a database with about 20,000 entities in 40 organisations."""
    with postgres_database(stack) as dsn:
        with connection(dsn) as conn:
            conn.execute(FILL)
        with connection(dsn, autocommit=True) as conn:
            conn.execute("VACUUM ANALYZE")
        yield dsn


@pytest.fixture
def directory(filled: str) -> Iterator[ExplainingDirectory]:
    with connection(filled) as conn:
        yield ExplainingDirectory(Directory(conn, SYSTEM))


def bound(directory: ExplainingDirectory) -> ExplainingDirectory:
    """The same on behalf of an organisation."""
    tenant = ExplainingDirectory(Directory(directory.conn, Actor("ada", "admin", "org-2")))
    tenant.plans = directory.plans
    return tenant


def first(directory: ExplainingDirectory, entity_type: str) -> UUID:
    found = directory.conn.execute("SELECT id FROM entities WHERE entity_type = %s LIMIT 1", [entity_type]).fetchone()
    assert found is not None
    return UUID(str(found[0]))


def sql(query: LiteralString) -> Callable[[ExplainingDirectory], object]:
    return lambda directory: directory.rows(query)


ASKS: dict[str, Callable[[ExplainingDirectory], object]] = {
    "entities_by_key": lambda d: d.entities.get("project", "project-40"),
    "entities_by_device_id": lambda d: d.entities.get("device", "device.esp32-42"),
    "entities_by_sensor": lambda d: d.entities.get("sensor", "s1", "device.esp32-42"),
    "entities_by_other_key": lambda d: bound(d).entities.get("room", "room-1"),
    "entities_by_organisation": lambda d: bound(d).entities.list(entity_type="device", limit=10),
    "entities_by_type": lambda d: d.entities.list(entity_type="project"),
    "entities_by_properties": lambda d: d.entities.list(
        entity_type="device", contains={"firmware": {"version": "1.0.7"}}
    ),
    "entities_by_metric": sql("SELECT id FROM entities WHERE entity_type = 'sensor' AND metric = 'metric.7'"),
    "entities_by_change": sql(
        "SELECT id FROM entities WHERE changed_in >= '18446744073709551615'::xid8"
    ),
    "relationships_by_from": lambda d: d.relationships.of(first(d, "project"), direction="from"),
    "relationships_by_to": lambda d: d.relationships.of(
        first(d, "device.esp32"), relationship_type="contains", direction="to"
    ),
    "relationships_by_change": sql(
        "SELECT id FROM relationships WHERE changed_in >= '18446744073709551615'::xid8"
    ),
    "relationships_one_project": sql(
        "SELECT d.id, r.from_entity FROM entities d LEFT JOIN relationships r ON r.to_entity = d.id"
        " AND r.relationship_type = 'contains' AND r.valid_to IS NULL"
        " WHERE d.kind IN ('device', 'equipment') AND d.key = 'device.esp32-42'"
    ),
    "events_by_entity": lambda d: d.events.list(entity_id=first(d, "device.esp32")),
    "events_by_organisation": lambda d: bound(d).events.list(limit=100),
    "events_by_type": sql("SELECT id FROM events WHERE event_type = 'device.silent' ORDER BY id DESC LIMIT 100"),
    "events_by_writing": sql(
        "SELECT id FROM events WHERE (written_in, id) > ('18446744073709551615'::xid8, 0::bigint)"
        " ORDER BY written_in, id LIMIT 500"
    ),
    "events_by_time": sql("SELECT count(*) FROM events WHERE ts < now() - interval '19900 seconds'"),
}  # fmt: skip


@pytest.mark.parametrize("index", ASKS)
def test_an_index_is_what_its_query_is_answered_with(directory: ExplainingDirectory, index: str) -> None:
    ASKS[index](directory)
    used = [plan for plan in directory.plans if f" {index} " in plan]
    assert used, "\n\n".join(directory.plans)
    assert not [plan for plan in used if "Seq Scan on entities e " in plan], used


def test_the_graph_is_walked_by_indexes_alone(directory: ExplainingDirectory) -> None:
    reached = directory.relationships.descendants(first(directory, "project"))
    assert {each.depth for each in reached} == {1, 2}
    (plan,) = [plan for plan in directory.plans if "Recursive Union" in plan]
    steps = plan[plan.index("Recursive Union") : plan.index("CTE Scan on reached")]
    assert "relationships_by_from" in steps and "entities_by_sensor" in steps, plan


def test_every_index_of_these_tables_has_a_query(directory: ExplainingDirectory) -> None:
    found = directory.conn.execute(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisprimary"
        " AND indrelid = ANY(ARRAY['entities', 'relationships', 'events']::regclass[])"
        " AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)"
    ).fetchall()
    assert {name for (name,) in found} == set(ASKS)
