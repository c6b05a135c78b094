"""The world of the examples: as rich as the documents that Weir was begun from, and never in the way of its users."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from connectors.entities.actor import SYSTEM
from connectors.entities.directory import open_directory
from connectors.postgres.migrate import load_sample
from tests.filled_metadata import contents
from tests.one_server import postgres_database
from tests.stack_under_test import StackUnderTest


@pytest.fixture
def dsn(stack: StackUnderTest) -> Iterator[str]:
    with postgres_database(stack) as fresh:
        yield fresh


@pytest.fixture(scope="module")
def sample(stack: StackUnderTest) -> Iterator[str]:
    """A database with the sample world, which no test of this file changes."""
    with postgres_database(stack) as fresh:
        load_sample(fresh)
        yield fresh


def rows(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as conn:
        return conn.execute(query.encode()).fetchall()


@pytest.mark.parametrize(
    ("key", "paths"),
    [
        (
            "acme-research-labs",
            "contact_email contact_phone website address city state country timezone member_count",
        ),
        (
            "biotech-innovations",
            "contact_email contact_phone website address city state country timezone member_count",
        ),
        (
            "bioreactor-optimization",
            "start_date end_date budget progress_percentage priority tags settings.data_retention_days "
            "settings.alert_thresholds",
        ),
        (
            "fermentation-development",
            "start_date end_date budget progress_percentage priority tags settings.data_retention_days "
            "settings.alert_thresholds",
        ),
        (
            "acme-esp32-001",
            "location firmware.version firmware.lastUpdate hardware.model hardware.macAddress hardware.sensors.0.type "
            "hardware.sensors.0.unit hardware.sensors.0.range.min hardware.sensors.0.range.max config.readingInterval "
            "config.alertThresholds.temperature.min config.alertThresholds.temperature.max",
        ),
        ("test@acme.example", "user_type department"),
    ],
)
def test_the_sample_has_every_property_of_its_type(sample: str, key: str, paths: str) -> None:
    with psycopg.connect(sample) as conn:
        for path in paths.split():
            query = "SELECT properties #> %s FROM entities WHERE key = %s"
            found = conn.execute(query, [path.split("."), key]).fetchone()
            assert found and found[0] is not None, path


def test_the_sample_is_connected_as_the_relationship_types_mean_it(sample: str) -> None:
    used = "SELECT DISTINCT relationship_type FROM links ORDER BY 1"
    assert [name for (name,) in rows(sample, used)] == [
        "belongs_to",
        "contains",
        "has_sensor",
        "manages",
        "monitors",
        "owns",
        "participates_in",
    ]


def test_every_row_of_the_sample_is_explained_by_one_event(sample: str) -> None:
    created = "SELECT entity_id::text FROM events WHERE event_type LIKE '%.created' AND event_type NOT LIKE 'relation%'"
    assert sorted(rows(sample, created)) == sorted(rows(sample, "SELECT id::text FROM entities"))
    connected = "SELECT (data ->> 'id')::bigint FROM events WHERE event_type = 'relationship.created'"
    assert sorted(rows(sample, connected)) == sorted(rows(sample, "SELECT id FROM relationships"))
    defined = "SELECT data ->> 'name' FROM events WHERE event_type = 'process.defined'"
    assert sorted(rows(sample, defined)) == sorted(rows(sample, "SELECT name FROM processes"))


def test_the_sample_brings_no_secret(sample: str) -> None:
    assert rows(sample, "SELECT count(*) FROM user_credentials") == [(0,)]
    assert rows(sample, "SELECT count(*) FROM api_keys") == [(0,)]


def test_every_entity_of_the_sample_fits_the_schema_of_its_type(sample: str) -> None:
    with open_directory(sample, SYSTEM) as directory:
        for entity_type, name, status, properties in rows(
            sample, "SELECT entity_type, name, status, properties FROM entities"
        ):
            definition = directory.schemas.applying(entity_type).definition
            columns = {key: each for key, each in (("name", name), ("status", status)) if key in definition and each}
            assert directory.schemas.check(entity_type, properties | columns) == properties | columns


EDITS = """
    UPDATE entities SET name = 'Acme', properties = '{}' WHERE key = 'acme-research-labs';
    UPDATE entities SET is_active = false WHERE key IN ('biotech-esp32-001', 'operator@acme.example');
    UPDATE entities SET is_active = false WHERE entity_type = 'sensor' AND key = 'temperature';
    UPDATE entities SET properties = '{"metric": "bioreactor.ph"}' WHERE key = 'co2';
    INSERT INTO entities (entity_type, key, organisation_id)
    SELECT 'project', 'elsewhere', organisation_id FROM entities WHERE key = 'acme-esp32-001';
    UPDATE relationships SET valid_to = now();
    INSERT INTO relationships (from_entity, to_entity, relationship_type, organisation_id)
    SELECT p.id, d.id, 'contains', p.organisation_id FROM entities p, entities d
    WHERE p.key = 'elsewhere' AND d.key IN ('acme-esp32-001', 'acme-oven-001');
    UPDATE metrics SET max_value = 60 WHERE name = 'environment.temperature';
    UPDATE processes SET status = 'retired';
"""


def test_a_second_run_undoes_no_edit(dsn: str) -> None:
    load_sample(dsn)
    with psycopg.connect(dsn) as conn:
        conn.execute(EDITS.encode())
    edited = contents(dsn, stamps=True)
    assert load_sample(dsn).action == "unchanged"
    assert contents(dsn, stamps=True) == edited


def test_an_organisation_that_has_the_slug_already_is_left_as_it_is(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute(
            "INSERT INTO entities (id, entity_type, key, name, organisation_id) SELECT id, 'organisation', "
            "'acme-research-labs', 'Ours', id FROM (SELECT gen_random_uuid() AS id) o"
        )
    load_sample(dsn)
    named = (
        "SELECT o.name, d.key FROM entities d JOIN entities o ON o.id = d.organisation_id WHERE d.key LIKE 'acme-e%'"
    )
    assert {name for name, _ in rows(dsn, named)} == {"Ours"}
    assert load_sample(dsn).action == "unchanged"
    told = "SELECT count(*) FROM events WHERE entity_key = 'acme-research-labs' AND event_type = 'organisation.created'"
    assert rows(dsn, told) == [(0,)]
