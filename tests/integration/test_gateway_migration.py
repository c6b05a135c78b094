"""What the gateway added to the metadata: the way up and down, also where somebody has described the same before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from connectors.entities.actor import SYSTEM
from connectors.entities.definition import parse
from connectors.entities.directory import open_directory
from connectors.entities.evolution import breaks
from connectors.entities.models import EntityCreate, SchemaCreate
from connectors.postgres import migrate as postgres
from tests.one_server import postgres_database
from tests.stack_under_test import StackUnderTest

BEFORE = 9
TYPES = ("device", "device.esp32", "equipment", "organisation")


@pytest.fixture
def before(stack: StackUnderTest) -> Iterator[str]:
    """The database of a Weir without a gateway."""
    with postgres_database(stack) as dsn:
        postgres.rollback(dsn, BEFORE)
        yield dsn


def definitions(dsn: str, entity_type: str) -> dict[int, dict[str, Any]]:
    """The shared versions of a type."""
    with psycopg.connect(dsn) as conn:
        rows = conn.execute(
            "SELECT version, definition FROM schemas WHERE entity_type = %s AND organisation_id IS NULL ORDER BY 1",
            [entity_type],
        )
        return dict(rows.fetchall())


def test_the_built_in_types_grow_by_limits_and_accept_what_they_accepted(before: str) -> None:
    assert {each: list(definitions(before, each)) for each in TYPES} == dict.fromkeys(TYPES, [1])
    postgres.apply(before)
    for each in TYPES:
        found = definitions(before, each)
        assert found[2].keys() - found[1].keys() == {"quotas", "sampling"}
        assert list(breaks(parse(found[1]), parse(found[2]))) == []
    assert list(definitions(before, "sensor")) == [1]
    organisation = parse(definitions(before, "organisation")[2]).properties["quotas"].properties
    device = parse(definitions(before, "device")[2]).properties["quotas"].properties
    assert organisation.keys() - device.keys() == {"devices", "new_values_a_day"}
    assert organisation["devices"].properties == device


def test_what_somebody_described_before_stays_and_grows_by_the_rest(before: str) -> None:
    own = {"quotas": {"type": "string"}, "colour": {"type": "string"}}
    with open_directory(before, SYSTEM) as directory:
        for entity_type in ("device", "equipment"):
            definition = dict(directory.schemas.get(entity_type).definition) | own
            directory.schemas.add(SchemaCreate(entity_type=entity_type, definition=definition))
        directory.entities.create(EntityCreate(entity_type="organisation", key="acme"))
        made = EntityCreate(entity_type="device", key="d", organisation="acme", properties={"quotas": "plenty"})
        directory.entities.create(made)
    postgres.apply(before)
    found = definitions(before, "device")
    assert list(found) == [1, 2, 3]
    assert found[3]["quotas"] == {"type": "string"} and found[3]["colour"] == {"type": "string"}
    assert found[3]["sampling"]["type"] == "object"
    assert list(breaks(parse(found[2]), parse(found[3]))) == []


def test_the_way_down_and_up_leaves_one_version_and_keeps_one_that_is_in_use(before: str) -> None:
    postgres.apply(before)
    with open_directory(before, SYSTEM) as directory:
        directory.entities.create(EntityCreate(entity_type="organisation", key="acme"))
    postgres.rollback(before, BEFORE)
    assert list(definitions(before, "device")) == [1]
    assert list(definitions(before, "organisation")) == [1, 2]
    with psycopg.connect(before) as conn:
        columns = conn.execute("SELECT column_name FROM information_schema.columns WHERE table_name = 'api_keys'")
        assert ("changed_in",) not in columns.fetchall()
    postgres.apply(before)
    assert list(definitions(before, "device")) == [1, 2]
    assert list(definitions(before, "organisation")) == [1, 2]
