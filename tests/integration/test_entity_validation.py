"""What an entity may be and hold: the checks of its type, key and properties, and the versions of the schema behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from connectors.entities.actor import SYSTEM
from connectors.entities.directory import Directory, open_directory
from connectors.entities.errors import ConflictError, InvalidError, NotFoundError
from connectors.entities.models import EntityCreate, EntityUpdate, SchemaCreate
from tests.directory_world import ACME, ESP32, OTHER, as_actor, device, rolled_back, told, two_organisations
from tests.stack_under_test import StackUnderTest


@pytest.fixture(scope="module")
def filled(stack: StackUnderTest) -> Iterator[str]:
    with two_organisations(stack) as dsn:
        yield dsn


@pytest.fixture
def acme(filled: str) -> Iterator[Directory]:
    with rolled_back(filled) as directory:
        yield directory


def counts(directory: Directory) -> list[int]:
    tables = ("entities", "relationships", "events", "schemas")
    return [directory.conn.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()[0] for table in tables]  # type: ignore[index]


def test_a_sensor_of_an_unknown_metric_is_refused_and_its_device_is_not_made_either(filled: str) -> None:
    sensors = [{"type": "salinity", "metric": "sea.salinity"}]
    with (
        pytest.raises(InvalidError, match="no metric 'sea.salinity'; define it first"),
        open_directory(filled, ACME) as directory,
    ):
        directory.entities.create(device("boat", properties={"hardware": {"sensors": sensors}}))
    with open_directory(filled, ACME) as directory, pytest.raises(NotFoundError):
        directory.entities.get("device", "boat")


def test_a_type_that_a_user_adds_needs_a_schema_and_no_code(acme: Directory) -> None:
    with pytest.raises(InvalidError, match=r"Unknown type vessel\.tank: no schema describes it"):
        acme.entities.create(EntityCreate(entity_type="vessel.tank", key="t1"))
    acme.schemas.add(
        SchemaCreate(
            entity_type="vessel",
            definition={
                "litres": {"type": "number", "required": True},
                "material": {"type": "string", "default": "steel"},
            },
        )
    )
    made = acme.entities.create(EntityCreate(entity_type="vessel.tank", key="t1", properties={"litres": 40}))
    assert (made.properties, made.status) == ({"litres": 40, "material": "steel"}, "active")
    assert acme.entities.get("vessel", "t1").id == made.id
    assert [each.key for each in acme.entities.list(entity_type="vessel").items] == ["t1"]
    assert told(acme, "vessel.created")[0]["properties"]["litres"] == 40
    with pytest.raises(InvalidError, match="Unknown type vessel"):
        as_actor(acme, OTHER).entities.create(EntityCreate(entity_type="vessel", key="t2", properties={"litres": 1}))


@pytest.mark.parametrize(
    ("entity", "words"),
    [
        ({"entity_type": "gizmo", "key": "g"}, "Unknown type gizmo"),
        ({"entity_type": "Device; DROP TABLE", "key": "g"}, "is no entity type"),
        ({"entity_type": "project.x", "key": "g"}, "project has no subtypes"),
        ({"entity_type": "device.esp32", "key": "g", "name": "G"}, "hardware.model is required and missing"),
        ({"entity_type": "device.esp32", "key": "g", "properties": ESP32}, "name is required and missing"),
        ({"entity_type": "device", "key": "g", "status": "exploded"}, "status must be one of online, offline"),
        ({"entity_type": "equipment", "key": "g", "status": "On Fire"}, "'On Fire' is no status"),
        ({"entity_type": "device", "key": "g", "properties": {"config": {"readingInterval": "5"}}}, "must be a number"),
        ({"entity_type": "project", "key": "g", "properties": {"priority": "asap"}}, "priority must be one of low"),
        ({"entity_type": "project", "key": "g", "properties": {"start_date": "soon"}}, "start_date must match"),
        ({"entity_type": "project", "key": "Not A Slug"}, "is no key of projects"),
        ({"entity_type": "device", "key": ""}, "neither begins nor ends with a space"),
        ({"entity_type": "device", "key": "a\0b"}, r"holds U\+0000"),
        ({"entity_type": "device", "key": "a\u202eb"}, r"holds U\+202E"),
        ({"entity_type": "device", "key": "a\ud800"}, r"holds U\+D800"),
        ({"entity_type": "device", "key": "x" * 201}, "has 201 bytes; at most 200"),
        ({"entity_type": "device", "key": "g", "name": "a\0"}, "no text with NUL"),
        ({"entity_type": "device", "key": "g", "properties": {"a": ["\0"]}}, "no text with NUL"),
        ({"entity_type": "device", "key": "g", "properties": {"a": float("nan")}}, "beyond what a double holds"),
        ({"entity_type": "device", "key": "g", "properties": {"a": 10**400}}, "beyond what a double holds"),
        ({"entity_type": "device", "key": "g", "properties": {"a": "x" * 10_000_000}}, "are 10.0 MB; at most 1 MiB"),
        (
            {
                "entity_type": "device",
                "key": "g",
                "properties": {"hardware": {"sensors": [{"metric": "air.temperature"}]}},
            },
            "names a metric, but neither its name nor type",
        ),
        (
            {
                "entity_type": "device",
                "key": "g",
                "properties": {"hardware": {"sensors": [{"type": "t", "metric": 5}]}},
            },
            "metric must be a text, not 5",
        ),
        ({"entity_type": "device", "key": "g", "organisation": "a\ud800"}, "half of a surrogate pair"),
        ({"entity_type": "device", "key": "g", "organisation": "a\0"}, "NUL"),
        ({"entity_type": "device", "key": "g", "project": "nowhere"}, "There is no project 'nowhere'"),
        ({"entity_type": "device", "key": "g", "project": "biotech-one"}, "There is no project 'biotech-one'"),
        ({"entity_type": "device", "key": "g", "parent": "acme"}, "Only sensors have a parent"),
        ({"entity_type": "device", "key": "g", "organisation": "biotech"}, "There is no organisation 'biotech'"),
        ({"entity_type": "sensor", "key": "g", "properties": {"metric": "air.temperature"}}, "needs the device"),
        ({"entity_type": "sensor", "key": "g", "parent": "nobody"}, "There is no device 'nobody'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_refused_in_one_sentence_and_writes_nothing(
    acme: Directory, entity: dict[str, Any], words: str
) -> None:
    before = counts(acme)
    with pytest.raises((InvalidError, NotFoundError), match=words) as refusal, acme.conn.transaction():
        acme.entities.create(EntityCreate(**entity))
    assert len(str(refusal.value)) < 400
    assert counts(acme) == before


def test_properties_nested_beyond_reason_are_refused_before_anything_chokes_on_them(acme: Directory) -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(InvalidError, match="nest more than 64 levels deep"):
        acme.entities.create(device(properties=deep))


@pytest.mark.parametrize(
    "key", ["'; DROP TABLE entities; --", "../../etc/passwd", "%(id)s {} $1 \\", 'pump, "7"', "ünit-8 🌡", "NULL"]
)
def test_a_hostile_key_is_a_key_like_any_other(acme: Directory, key: str) -> None:
    made = acme.entities.create(device(key, properties={key: {key: key}}))
    assert made.key == key
    assert acme.entities.get("device", key) == made
    assert acme.entities.list(contains={key: {key: key}}).items == [made]


def test_an_update_must_fit_and_what_did_not_fit_before_is_no_obstacle(acme: Directory) -> None:
    made = acme.entities.create(device())
    with pytest.raises(InvalidError, match=r"config\.readingInterval must be at least 0, not -1"):
        acme.entities.update(made.id, EntityUpdate(merge={"config": {"readingInterval": -1}}))
    acme.conn.execute(
        "UPDATE entities SET entity_type = 'device.esp32', schema_version = NULL WHERE id = %s", [made.id]
    )
    online = acme.entities.update(made.id, EntityUpdate(status="online"))
    assert (online.status, online.schema_version) == ("online", None)
    with pytest.raises(InvalidError, match="readingInterval"):
        acme.entities.update(made.id, EntityUpdate(merge={"config": {"readingInterval": -1}}))
    mended = acme.entities.update(made.id, EntityUpdate(name="Node", merge=ESP32))
    assert mended.schema_version == 2


def test_a_sensor_belongs_to_its_device_and_its_bounds_are_in_order(acme: Directory) -> None:
    acme.entities.create(device("one"))
    acme.entities.create(device("two"))
    held = {"metric": "air.temperature", "min_value": None}
    for parent in ("one", "two"):
        acme.entities.create(EntityCreate(entity_type="sensor", key="t", parent=parent, properties=held))
    sensor = acme.entities.get("sensor", "t", "two")
    assert (sensor.parent, sensor.properties) == ("two", {"metric": "air.temperature"})
    with pytest.raises(InvalidError, match="min_value 9 of the sensor is above max_value 3"):
        acme.entities.update(sensor.id, EntityUpdate(merge={"min_value": 9, "max_value": 3}))
    with pytest.raises(InvalidError, match="no metric 'nope'"):
        acme.entities.update(sensor.id, EntityUpdate(merge={"metric": "nope"}))


def test_a_new_version_of_a_schema_is_for_new_and_changed_entities_and_old_ones_keep_theirs(acme: Directory) -> None:
    first = {"litres": {"type": "integer", "required": True}}
    acme.schemas.add(SchemaCreate(entity_type="vessel", definition=first))
    old = acme.entities.create(EntityCreate(entity_type="vessel", key="v1", properties={"litres": 4}))
    second = {"litres": {"type": "number", "required": True}, "lid": {"type": "boolean", "default": False}}
    added = acme.schemas.add(SchemaCreate(entity_type="vessel", definition=second, description="with a lid"))
    assert (added.version, added.organisation) == (2, "acme")
    assert acme.entities.by_id(old.id).schema_version == 1
    changed = acme.entities.update(old.id, EntityUpdate(merge={"litres": 4.5}))
    assert (changed.schema_version, changed.properties) == (2, {"litres": 4.5, "lid": False})
    assert acme.schemas.get("vessel").version == 2
    assert acme.schemas.get("vessel", 1).definition == first
    with pytest.raises(InvalidError, match="litres must be a whole number"):
        acme.schemas.check("vessel", {"litres": 4.5}, version=1)
    assert acme.schemas.check("vessel", {"litres": 1}) == {"litres": 1, "lid": False}
    assert [each["version"] for each in told(acme, "schema.added")] == [2, 1]
    with pytest.raises(NotFoundError, match="no schema of vessel"):
        as_actor(acme, OTHER).schemas.get("vessel")


def test_a_version_that_refuses_what_the_one_before_accepted_is_refused(acme: Directory) -> None:
    acme.schemas.add(SchemaCreate(entity_type="vessel", definition={"litres": {"type": "number"}}))
    before = counts(acme)
    with pytest.raises(ConflictError, match="litres was of type number and would be integer"):
        acme.schemas.add(SchemaCreate(entity_type="vessel", definition={"litres": {"type": "integer"}}))
    with pytest.raises(ConflictError, match=r"model would be required; give it a default"):
        acme.schemas.add(SchemaCreate(entity_type="device", definition={"model": {"type": "string", "required": True}}))
    assert counts(acme) == before


def test_a_field_that_is_newly_described_must_fit_what_is_stored(acme: Directory) -> None:
    acme.schemas.add(SchemaCreate(entity_type="vessel", definition={}))
    acme.entities.create(EntityCreate(entity_type="vessel.tank", key="v1", properties={"size": {"litres": "many"}}))
    size = {"size": {"type": "object", "properties": {"litres": {"type": "number"}}}}
    with pytest.raises(ConflictError, match=r"v1: size\.litres must be a number, not 'many'"):
        acme.schemas.add(SchemaCreate(entity_type="vessel", definition=size))
    with pytest.raises(ConflictError, match="v1: status must be one of full"):
        status = {"status": {"type": "string", "enum": ["full"]}}
        acme.schemas.add(SchemaCreate(entity_type="vessel", definition=status))
    with pytest.raises(ConflictError, match=r"v1: size\.litres must be a number"):
        acme.schemas.add(SchemaCreate(entity_type="vessel.tank", definition=size))
    vessel = acme.entities.get("vessel", "v1")
    acme.entities.update(vessel.id, EntityUpdate(merge={"size": {"litres": 3}}))
    assert acme.schemas.add(SchemaCreate(entity_type="vessel", definition=size)).version == 2


def test_an_organisations_own_version_of_a_shared_type_is_for_nobody_else(acme: Directory) -> None:
    definition = dict(acme.schemas.get("equipment").definition) | {"colour": {"type": "string", "default": "grey"}}
    own = acme.schemas.add(SchemaCreate(entity_type="equipment", definition=definition))
    assert own.version == 3
    painted = acme.entities.create(EntityCreate(entity_type="equipment.oven", key="o1"))
    plain = as_actor(acme, OTHER).entities.create(EntityCreate(entity_type="equipment.oven", key="o2"))
    assert (painted.properties, painted.schema_version) == ({"colour": "grey"}, 3)
    assert (plain.properties, plain.schema_version) == ({}, 2)


def test_a_superuser_adds_shared_schemas(acme: Directory) -> None:
    added = as_actor(acme, SYSTEM).schemas.add(SchemaCreate(entity_type="greenhouse", definition={}))
    assert added.organisation is None
    made = as_actor(acme, OTHER).entities.create(EntityCreate(entity_type="greenhouse", key="g1"))
    assert made.organisation == "biotech"
    types = [each.entity_type for each in acme.schemas.list().items]
    assert types[:7] == ["organisation", "project", "device", "device.esp32", "equipment", "sensor", "user"]
    assert types[-1] == "greenhouse"
