from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from connectors.entities.actor import SYSTEM, Actor
from connectors.entities.directory import Directory, open_directory
from connectors.entities.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from connectors.entities.models import EntityCreate, EntityUpdate, PropertyRange, SchemaCreate
from connectors.postgres.connection import connection
from tests.one_server import postgres_database
from tests.stack_under_test import StackUnderTest

ACME = Actor("ada@acme.example", "admin", "acme")
EDITOR = Actor("eve@acme.example", "editor", "acme")
VIEWER = Actor("vic@acme.example", "viewer", "acme")
OTHER = Actor("bob@biotech.example", "admin", "biotech")

ESP32 = {"firmware": {"version": "1.0.0"}, "hardware": {"model": "ESP32-WROOM-32"}, "config": {"readingInterval": 300}}


@pytest.fixture(scope="module")
def filled(stack: StackUnderTest) -> Iterator[str]:
    """The DSN of a database with two organisations, a project each and one metric."""
    with postgres_database(stack) as dsn:
        with open_directory(dsn, SYSTEM) as directory:
            for slug in ("acme", "biotech"):
                directory.entities.create(EntityCreate(entity_type="organisation", key=slug, name=slug.title()))
                directory.entities.create(EntityCreate(entity_type="project", key=f"{slug}-one", organisation=slug))
            directory.conn.execute("INSERT INTO metrics (name, value_type) VALUES ('air.temperature', 'float')")
        yield dsn


@pytest.fixture
def acme(filled: str) -> Iterator[Directory]:
    """A directory of an administrator whose changes are rolled back after the test."""
    with connection(filled) as conn:
        yield Directory(conn, ACME)
        conn.rollback()


def as_actor(directory: Directory, actor: Actor) -> Directory:
    """The same transaction on behalf of somebody else."""
    return Directory(directory.conn, actor)


def device(key: str = "d1", **fields: Any) -> EntityCreate:
    return EntityCreate(entity_type="device", key=key, **fields)


def hardware_with(sensor: dict[str, Any]) -> dict[str, Any]:
    return {"hardware": {"sensors": [sensor]}}


def told(directory: Directory, event_type: str) -> list[dict[str, Any]]:
    return [event.data for event in directory.events.list(event_type=event_type).items]


def counts(directory: Directory) -> list[int]:
    tables = ("entities", "relationships", "events", "schemas")
    return [directory.conn.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()[0] for table in tables]  # type: ignore[index]


def test_a_device_is_made_with_its_project_its_sensors_and_an_event_each(acme: Directory) -> None:
    hardware = {
        "model": "ESP32-WROOM-32",
        "sensors": [
            {"type": "temperature", "metric": "air.temperature", "unit": "celsius", "range": {"min": -40, "max": 125}},
            {"type": "humidity"},
        ],
    }
    made = acme.entities.create(
        EntityCreate(
            entity_type="device.esp32",
            key="esp-1",
            name="Node 1",
            properties={**ESP32, "hardware": hardware},
            project="acme-one",
        )
    )
    assert (made.organisation, made.status, made.schema_version, made.is_active) == ("acme", "offline", 2, True)
    assert made.properties["hardware"] == hardware
    sensors = acme.entities.list(parent="esp-1").items
    assert [(each.key, each.parent, each.properties) for each in sensors] == [
        (
            "temperature",
            "esp-1",
            {"metric": "air.temperature", "unit": "celsius", "min_value": -40, "max_value": 125},
        )
    ]
    held = acme.relationships.of(made.id, direction="to").items
    assert [(each.relationship_type, each.from_key, each.valid_from) for each in held] == [
        ("contains", "acme-one", None)
    ]
    happened = [event.event_type for event in acme.events.list(entity_id=made.id).items]
    assert happened == ["relationship.created", "device.created"]
    assert acme.events.list(event_type="sensor.created").items[0].entity_key == "temperature"


def test_a_sensor_of_an_unknown_metric_is_refused_and_its_device_is_not_made_either(filled: str) -> None:
    sensors = [{"type": "salinity", "metric": "sea.salinity"}]
    with (
        pytest.raises(InvalidError, match="no metric 'sea.salinity'; define it first"),
        open_directory(filled, ACME) as directory,
    ):
        directory.entities.create(device("boat", properties={"hardware": {"sensors": sensors}}))
    with open_directory(filled, ACME) as directory, pytest.raises(NotFoundError):
        directory.entities.get("device", "boat")


def test_the_other_types_of_the_seeds_are_found_by_their_key(acme: Directory) -> None:
    project = {"start_date": "2024-01-15", "budget": "$50,000", "progress_percentage": 25, "priority": "high",
               "tags": ["optimization"], "settings": {"data_retention_days": 365}}  # fmt: skip
    user = {"user_type": "standard", "role": "admin", "department": "Development"}
    for entity_type, key, properties in [
        ("project", "bio", project),
        ("equipment.oven", "oven-1", {"location": "Hall 1"}),
        ("user", "grace@acme.example", user),
    ]:
        made = acme.entities.create(EntityCreate(entity_type=entity_type, key=key, properties=properties))
        assert acme.entities.get(entity_type.split(".")[0], key) == made
        assert acme.entities.by_id(made.id) == made
        assert made.properties == properties
    assert acme.entities.get("device", "oven-1").entity_type == "equipment.oven"
    assert acme.entities.get("organisation", "acme").organisation == "acme"


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


def test_a_key_that_is_taken_is_refused_and_a_retired_one_says_how_to_come_back(acme: Directory) -> None:
    made = acme.entities.create(device())
    with pytest.raises(ConflictError, match="'d1' exists already; choose another key"):
        acme.entities.create(EntityCreate(entity_type="equipment", key="d1"))
    acme.entities.retire(made.id)
    with pytest.raises(ConflictError, match="is retired; set is_active to true to bring it back"):
        acme.entities.create(device())
    assert acme.entities.update(made.id, EntityUpdate(is_active=True)).is_active
    assert told(acme, "device.deleted") == [{}]
    assert told(acme, "device.updated") == [{"is_active": {"old": False, "new": True}}]


def test_a_change_tells_what_was_and_what_is_and_what_changes_nothing_tells_nothing(acme: Directory) -> None:
    made = acme.entities.create(device(name="One", properties={"location": "Lab A", "config": {"readingInterval": 60}}))
    again = acme.entities.update(made.id, EntityUpdate(name="One", merge={"location": "Lab A"}))
    assert again == made
    assert told(acme, "device.updated") == []
    changed = acme.entities.update(
        made.id, EntityUpdate(name="Uno", status="online", merge={"config": {"readingInterval": 30}, "location": None})
    )
    assert changed.properties == {"config": {"readingInterval": 30}}
    assert changed.updated_at > made.updated_at
    assert told(acme, "device.status_changed") == [{"old": "offline", "new": "online"}]
    old, new = {"readingInterval": 60}, {"readingInterval": 30}
    assert told(acme, "settings.changed") == [{"part": "config", "old": old, "new": new}]
    assert told(acme, "device.updated") == [
        {
            "name": {"old": "One", "new": "Uno"},
            "properties": {
                "old": {"config": old, "location": "Lab A"},
                "new": {"config": new, "location": None},
            },
        }
    ]


def test_an_event_holds_no_secret_and_never_more_than_a_topic_takes(acme: Directory) -> None:
    large = {"notes": "x" * 900_000, "wifi": {"password": "hunter2"}}
    made = acme.entities.create(device(properties=large))
    acme.entities.update(made.id, EntityUpdate(merge={"notes": "y" * 900_000, "wifi": {"password": "correct horse"}}))
    assert acme.entities.get("device", "d1").properties["wifi"] == {"password": "correct horse"}
    for event in acme.events.list(entity_id=made.id).items:
        text = json.dumps(event.data)
        assert len(text) <= 256 * 1024
        assert "hunter2" not in text and "correct horse" not in text


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


def test_the_role_decides_who_may_change_what(acme: Directory) -> None:
    made = acme.entities.create(device())
    person = acme.entities.create(EntityCreate(entity_type="user", key="grace@acme.example"))
    editor, viewer = as_actor(acme, EDITOR), as_actor(acme, VIEWER)
    sees_its_device = as_actor(acme, Actor("key:abc", "device", "acme", made.id))
    with pytest.raises(ForbiddenError):
        viewer.entities.update(made.id, EntityUpdate(name="x"))
    with pytest.raises(ForbiddenError):
        sees_its_device.entities.by_id(made.id)
    with pytest.raises(ForbiddenError):
        editor.entities.create(EntityCreate(entity_type="user", key="mallory@acme.example"))
    with pytest.raises(ForbiddenError):
        editor.entities.retire(person.id)
    with pytest.raises(ForbiddenError):
        editor.schemas.add(SchemaCreate(entity_type="x", definition={}))
    with pytest.raises(ForbiddenError):
        acme.entities.create(EntityCreate(entity_type="organisation", key="mine"))
    assert editor.entities.update(made.id, EntityUpdate(name="x")).name == "x"


def test_another_organisations_entities_cannot_be_told_from_those_that_do_not_exist(acme: Directory) -> None:
    made = acme.entities.create(device("secret-device", name="secret"))
    other, absent = as_actor(acme, OTHER), uuid4()
    asked: list[tuple[Callable[[], object], Callable[[], object]]] = [
        (lambda: other.entities.get("device", "secret-device"), lambda: other.entities.get("device", "nothing-here")),
        (lambda: other.entities.by_id(made.id), lambda: other.entities.by_id(absent)),
        (lambda: other.entities.retire(made.id), lambda: other.entities.retire(absent)),
        (lambda: other.entities.list(organisation="acme"), lambda: other.entities.list(organisation="nope")),
        (lambda: other.entities.list(parent="secret-device"), lambda: other.entities.list(parent="nothing-here")),
    ]
    for there, nowhere in asked:
        with pytest.raises(NotFoundError) as one:
            there()
        with pytest.raises(NotFoundError) as two:
            nowhere()
        words = str(one.value).replace("secret-device", "nothing-here").replace("acme", "nope")
        assert words.replace(str(made.id), str(absent)) == str(two.value)
    assert "secret-device" not in {each.key for each in other.entities.list(entity_type="device").items}
    with pytest.raises(ConflictError) as taken:  # device ids are unique everywhere: that it is taken has to be said
        other.entities.create(device("secret-device"))
    assert "acme" not in str(taken.value) and "retired" not in str(taken.value)


def test_pages_stay_stable_while_entities_are_added_and_hold_each_once(acme: Directory) -> None:
    wanted = [acme.entities.create(device(f"p{number:02d}")).key for number in range(25)]
    seen, cursor = [], None
    for turn in range(30):
        page = acme.entities.list(entity_type="device", limit=4, cursor=cursor)
        seen += [each.key for each in page.items]
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
        if turn < 3:
            wanted.append(acme.entities.create(device(f"late{turn}")).key)
    assert seen == wanted
    with pytest.raises(InvalidError, match="not one that a list has given out"):
        acme.entities.list(cursor="bm90IG9uZQ")


def test_entities_are_found_by_what_they_hold_and_by_ranges(acme: Directory) -> None:
    for key, seconds, version in [("a", 60, "1.0.0"), ("b", 300, "1.0.0"), ("c", 60.5, "1.1.0")]:
        properties = {"firmware": {"version": version}, "config": {"readingInterval": seconds}}
        acme.entities.create(device(key, properties=properties))
    acme.entities.create(device("d", properties={"firmware": {"version": 1}}, status="maintenance"))

    def keys(**asked: Any) -> str:
        return "".join(each.key for each in acme.entities.list(entity_type="device", **asked).items)

    interval = "config.readingInterval"
    assert keys(contains={"firmware": {"version": "1.0.0"}}) == "ab"
    assert keys(ranges=[PropertyRange(path=interval, min=60, max=60.5)]) == "ac"
    assert keys(ranges=[PropertyRange(path=interval, min=60.1)]) == "bc"
    assert keys(ranges=[PropertyRange(path=interval, min=60.1), PropertyRange(path=interval, max=100)]) == "c"
    assert keys(ranges=[PropertyRange(path="firmware.version", min=0)]) == "d"
    assert keys(status="maintenance") == "d"
    with pytest.raises(InvalidError, match="is no path"):
        keys(ranges=[PropertyRange(path="config..x", min=0)])


def test_what_is_retired_is_listed_only_when_asked_for(acme: Directory) -> None:
    gone = acme.entities.create(device())
    before = len(acme.entities.list(entity_type="device").items)
    acme.entities.retire(gone.id)
    version = acme.conn.execute("SELECT version FROM metadata_version").fetchone()
    assert acme.entities.retire(gone.id).is_active is False
    assert acme.conn.execute("SELECT version FROM metadata_version").fetchone() == version
    assert len(acme.entities.list(entity_type="device").items) == before - 1
    assert len(acme.entities.list(entity_type="device", include_inactive=True).items) == before


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


def test_two_who_make_the_same_device_at_once_get_one_device(filled: str) -> None:
    with open_directory(filled, ACME) as first:
        first.entities.create(device("race"))
        with psycopg.connect(filled) as conn, pytest.raises(psycopg.errors.LockNotAvailable):
            conn.execute("SET lock_timeout = '100ms'")
            Directory(conn, ACME).entities.create(device("race"))
    with pytest.raises(ConflictError, match="exists already"), open_directory(filled, ACME) as second:
        second.entities.create(device("race"))


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


def test_a_key_of_another_type_is_unique_in_its_organisation_only(acme: Directory) -> None:
    as_actor(acme, SYSTEM).schemas.add(SchemaCreate(entity_type="room", definition={}))
    for actor in (ACME, OTHER):
        as_actor(acme, actor).entities.create(EntityCreate(entity_type="room", key="101"))
    assert acme.entities.get("room", "101").organisation == "acme"
    with pytest.raises(ConflictError, match="say which organisation"):
        as_actor(acme, SYSTEM).entities.get("room", "101")
    assert as_actor(acme, SYSTEM).entities.get("room", "101", organisation="biotech").organisation == "biotech"


@pytest.mark.parametrize(
    "change",
    [
        "key = 'other' WHERE key = 'd1'",
        "entity_type = 'recipe' WHERE key = 'd1'",
        "parent_id = (SELECT id FROM entities WHERE key = 'd2') WHERE key = 't'",
    ],
)
def test_nothing_becomes_another_thing_not_even_by_hand(acme: Directory, change: str) -> None:
    for key in ("d1", "d2"):
        acme.entities.create(device(key))
    acme.entities.create(
        EntityCreate(entity_type="sensor", key="t", parent="d1", properties={"metric": "air.temperature"})
    )
    with pytest.raises(psycopg.errors.RestrictViolation, match="keeps its key, its parent and its kind"):
        acme.conn.execute(f"UPDATE entities SET {change}".encode())


def test_a_page_of_large_entities_is_short_and_none_is_left_out(acme: Directory) -> None:
    for number in range(12):
        acme.entities.create(device(f"large-{number:02}", properties={"notes": "é" * 450_000}))
    seen, cursor = [], None
    while True:
        page = acme.entities.list(entity_type="device", limit=1000, cursor=cursor)
        assert sum(len(str(each.properties).encode()) for each in page.items) < 10_000_000
        seen += [each.key for each in page.items if each.key.startswith("large-")]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == [f"large-{number:02}" for number in range(12)]
