"""Entities in their directory: made, found, changed and retired, by whom that may be done, and what the log tells."""

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
from tests.directory_world import ACME, ESP32, OTHER, as_actor, device, rolled_back, told, two_organisations
from tests.stack_under_test import StackUnderTest

EDITOR = Actor("eve@acme.example", "editor", "acme")
VIEWER = Actor("vic@acme.example", "viewer", "acme")


@pytest.fixture(scope="module")
def filled(stack: StackUnderTest) -> Iterator[str]:
    with two_organisations(stack) as dsn:
        yield dsn


@pytest.fixture
def acme(filled: str) -> Iterator[Directory]:
    with rolled_back(filled) as directory:
        yield directory


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


def test_two_who_make_the_same_device_at_once_get_one_device(filled: str) -> None:
    with open_directory(filled, ACME) as first:
        first.entities.create(device("race"))
        with psycopg.connect(filled) as conn, pytest.raises(psycopg.errors.LockNotAvailable):
            conn.execute("SET lock_timeout = '100ms'")
            Directory(conn, ACME).entities.create(device("race"))
    with pytest.raises(ConflictError, match="exists already"), open_directory(filled, ACME) as second:
        second.entities.create(device("race"))


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
