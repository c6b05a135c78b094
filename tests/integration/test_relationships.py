from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from connectors.entities.actor import SYSTEM, Actor
from connectors.entities.directory import Directory, open_directory
from connectors.entities.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from connectors.entities.models import Entity, EntityCreate, Relationship, RelationshipCreate, SchemaCreate
from tests.directory_world import OTHER, as_actor, rolled_back
from tests.one_server import postgres_database
from tests.stack_under_test import StackUnderTest

YESTERDAY = datetime.now(UTC) - timedelta(days=1)
Connect = Callable[..., Relationship]


@pytest.fixture(scope="module")
def filled(stack: StackUnderTest) -> Iterator[str]:
    """The DSN of a database with two organisations, projects, devices, an oven, a user and a type of its own."""
    with postgres_database(stack) as dsn:
        with open_directory(dsn, SYSTEM) as directory:
            directory.schemas.add(SchemaCreate(entity_type="room", definition={}))
            directory.conn.execute("INSERT INTO metrics (name) VALUES ('air.temperature')")
            for slug in ("acme", "biotech"):
                directory.entities.create(EntityCreate(entity_type="organisation", key=slug))
                for entity_type, key in [
                    ("project", "north"), ("project", "south"), ("device", "d1"), ("device", "d2"),
                    ("equipment.oven", "oven"), ("user", "u@x"), ("room", "hall"), ("room", "cell"), ("room", "desk"),
                ]:  # fmt: skip
                    directory.entities.create(
                        EntityCreate(entity_type=entity_type, key=f"{slug}-{key}", organisation=slug)
                    )
        yield dsn


@pytest.fixture
def acme(filled: str) -> Iterator[Directory]:
    """A directory of an administrator whose changes are rolled back after the test."""
    with rolled_back(filled) as directory:
        yield directory


@pytest.fixture
def connect(acme: Directory) -> Connect:
    def connected(relationship_type: str, one: str, other: str, **fields: Any) -> Relationship:
        return acme.relationships.connect(
            RelationshipCreate(
                relationship_type=relationship_type,
                from_entity=named(acme, one).id,
                to_entity=named(acme, other).id,
                **fields,
            )
        )

    return connected


def named(directory: Directory, key: str) -> Entity:
    kinds = {"north": "project", "south": "project", "oven": "equipment", "u@x": "user"}
    last = key.rsplit("-", 1)[-1]
    kind = kinds.get(last, "room" if last in ("hall", "cell", "desk") else "device")
    return directory.entities.get("organisation" if key in ("acme", "biotech") else kind, key)


def projects(directory: Directory, device: str, at: datetime | None = None) -> list[str]:
    held = directory.relationships.of(named(directory, device).id, relationship_type="contains", direction="to", at=at)
    return [each.from_key for each in held.items]


@pytest.mark.parametrize(
    ("relationship_type", "one", "other"),
    [
        ("contains", "acme-north", "acme-d1"),
        ("monitors", "acme-d1", "acme-oven"),
        ("belongs_to", "acme-u@x", "acme"),
        ("manages", "acme-u@x", "acme-north"),
        ("participates_in", "acme-u@x", "acme-north"),
        ("part_of", "acme-desk", "acme-hall"),
    ],
)
def test_every_relationship_of_the_seeds_is_made_found_from_both_ends_and_told(
    acme: Directory, connect: Connect, relationship_type: str, one: str, other: str
) -> None:
    made = connect(relationship_type, one, other, properties={"note": "x"}, strength=Decimal("0.5"))
    assert (made.from_key, made.to_key, made.strength, made.organisation) == (one, other, 0.5, "acme")
    assert (made.properties, made.created_by, made.valid_to) == ({"note": "x"}, "ada@acme.example", None)
    assert acme.relationships.of(named(acme, one).id, direction="from").items == [made]
    assert acme.relationships.of(named(acme, other).id, direction="to").items == [made]
    assert acme.relationships.of(named(acme, one).id, direction="to").items == []
    event = acme.events.list(event_type="relationship.created").items[0]
    assert (event.entity_key, event.data["from_key"], event.data["relationship_type"]) == (
        other,
        one,
        relationship_type,
    )


def test_the_first_project_of_a_device_has_always_held_and_a_later_one_from_the_move_on(acme: Directory) -> None:
    device, south = named(acme, "acme-d1"), named(acme, "acme-south")
    acme.relationships.move(device.id, named(acme, "acme-north").id)
    moved = acme.relationships.move(device.id, south.id, at=YESTERDAY)
    assert moved is not None and moved.valid_from == YESTERDAY
    long_ago = datetime(1980, 1, 1, tzinfo=UTC)
    assert projects(acme, "acme-d1", long_ago) == ["acme-north"]
    assert projects(acme, "acme-d1", YESTERDAY - timedelta(microseconds=1)) == ["acme-north"]
    assert projects(acme, "acme-d1", YESTERDAY) == ["acme-south"]
    assert projects(acme, "acme-d1", datetime.now(UTC)) == ["acme-south"]
    assert acme.relationships.move(device.id, south.id) == moved  # it is there already
    assert [event.event_type for event in acme.events.list(event_type="relationship").items] == [
        "relationship.created",
        "relationship.ended",
        "relationship.created",
    ]


def test_a_device_may_leave_its_project_come_back_and_move_twice_in_one_transaction(acme: Directory) -> None:
    device, north, south = (named(acme, key).id for key in ("acme-d1", "acme-north", "acme-south"))
    acme.relationships.move(device, north)
    assert acme.relationships.move(device, None) is None
    assert projects(acme, "acme-d1", datetime.now(UTC) + timedelta(seconds=5)) == []
    back = acme.relationships.move(device, north)
    assert back is not None and back.valid_from is not None
    acme.relationships.move(device, south)
    assert projects(acme, "acme-d1") == ["acme-north", "acme-north", "acme-south"]
    with pytest.raises(InvalidError, match="it can only end later"):
        acme.relationships.move(device, north, at=YESTERDAY)


def test_a_device_is_in_one_project_at_a_time(acme: Directory, connect: Connect) -> None:
    connect("contains", "acme-north", "acme-d1", valid_from=YESTERDAY)
    for start in (None, YESTERDAY - timedelta(days=1)):
        with pytest.raises(ConflictError, match="already has contains at that time"), acme.conn.transaction():
            connect("contains", "acme-south", "acme-d1", valid_from=start)
    earlier = {"valid_from": YESTERDAY - timedelta(days=2), "valid_to": YESTERDAY}
    assert connect("contains", "acme-south", "acme-d1", **earlier).valid_to == YESTERDAY
    assert len(projects(acme, "acme-d1")) == 2


@pytest.mark.parametrize(
    ("relationship_type", "one", "other", "fields", "words"),
    [
        ("contains", "acme-d1", "acme-north", {}, "contains starts at"),
        ("contains", "acme-north", "acme-u@x", {}, "contains ends at"),
        ("belongs_to", "acme-u@x", "acme", {"properties": {"role": "superuser"}}, "role of a member is admin, editor"),
        ("befriends", "acme-d1", "acme-d2", {}, "no relationship type 'befriends'"),
        ("part_of", "acme-hall", "acme-hall", {}, "connects two entities; acme-hall cannot be both"),
        ("monitors", "acme-d1", "acme-oven", {"strength": Decimal(2)}, "strength of a relationship is from 0 to 1"),
        ("monitors", "acme-d1", "acme-oven", {"valid_from": datetime.fromisoformat("2024-01-01")}, "its time zone"),
        (
            "monitors",
            "acme-d1",
            "acme-oven",
            {"valid_from": YESTERDAY, "valid_to": YESTERDAY},
            "would end before it begins",
        ),
        ("monitors", "acme-d1", "acme-oven", {"properties": {"a": "x" * 200_000}}, "are 0.2 MB; at most 64 KiB"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_relationship_that_makes_no_sense_is_refused_and_writes_nothing(
    acme: Directory, connect: Connect, relationship_type: str, one: str, other: str, fields: dict[str, Any], words: str
) -> None:
    before = acme.conn.execute("SELECT (SELECT count(*) FROM relationships), (SELECT count(*) FROM events)").fetchone()
    with pytest.raises(InvalidError, match=words), acme.conn.transaction():
        connect(relationship_type, one, other, **fields)
    after = acme.conn.execute("SELECT (SELECT count(*) FROM relationships), (SELECT count(*) FROM events)").fetchone()
    assert after == before


def test_a_cycle_is_refused_unless_its_parts_never_hold_together(acme: Directory, connect: Connect) -> None:
    connect("part_of", "acme-desk", "acme-cell", valid_from=YESTERDAY)
    connect("part_of", "acme-cell", "acme-hall", valid_from=YESTERDAY)
    with pytest.raises(InvalidError, match="would be a cycle"), acme.conn.transaction():
        connect("part_of", "acme-hall", "acme-desk")
    earlier = {"valid_from": YESTERDAY - timedelta(days=1), "valid_to": YESTERDAY}
    assert connect("part_of", "acme-hall", "acme-desk", **earlier).valid_to == YESTERDAY


def test_what_has_ended_does_not_end_again_and_can_end_earlier(acme: Directory, connect: Connect) -> None:
    made = connect("monitors", "acme-d1", "acme-oven", valid_from=YESTERDAY)
    ended = acme.relationships.end(made.id)
    assert ended.valid_to is not None and ended.valid_to > YESTERDAY
    with pytest.raises(ConflictError, match="ended already at"):
        acme.relationships.end(made.id)
    noon = YESTERDAY + timedelta(hours=12)
    assert acme.relationships.end(made.id, at=noon).valid_to == noon
    with pytest.raises(InvalidError, match="it can only end later"):
        acme.relationships.end(made.id, at=YESTERDAY)
    told = acme.events.list(event_type="relationship.ended").items
    assert [event.entity_key for event in told] == ["acme-oven", "acme-oven"]


def test_an_editor_cannot_give_a_role_by_writing_a_membership(acme: Directory, connect: Connect) -> None:
    made = connect("belongs_to", "acme-u@x", "acme", properties={"role": "viewer"})
    editor = as_actor(acme, Actor("eve@acme.example", "editor", "acme"))
    with pytest.raises(ForbiddenError):
        editor.relationships.end(made.id)
    with pytest.raises(ForbiddenError):
        editor.relationships.connect(
            RelationshipCreate(
                relationship_type="belongs_to",
                from_entity=named(acme, "acme-u@x").id,
                to_entity=named(acme, "acme").id,
                properties={"role": "admin"},
            )
        )


def test_another_organisations_relationships_and_entities_are_not_there(acme: Directory, connect: Connect) -> None:
    made = connect("contains", "acme-north", "acme-d1")
    other = as_actor(acme, OTHER)
    theirs, ours = named(other, "biotech-d1").id, named(acme, "acme-d1").id
    south = named(other, "biotech-south").id
    for refused in (
        lambda: other.relationships.end(made.id),
        lambda: other.relationships.of(ours),
        lambda: other.relationships.descendants(named(acme, "acme").id),
        lambda: other.relationships.move(ours, south),
        lambda: other.relationships.move(theirs, made.from_entity),
    ):
        with pytest.raises(NotFoundError):
            refused()
    root = as_actor(acme, SYSTEM)
    with pytest.raises(InvalidError, match="are of different organisations"), acme.conn.transaction():
        root.relationships.move(theirs, made.from_entity)


def test_descendants_are_what_is_reached_with_the_nearest_first(acme: Directory, connect: Connect) -> None:
    connect("contains", "acme-north", "acme-d1")
    sensor = {"metric": "air.temperature"}
    acme.entities.create(EntityCreate(entity_type="sensor", key="t", parent="acme-d1", properties=sensor))
    connect("monitors", "acme-d1", "acme-oven")
    found = acme.relationships.descendants(named(acme, "acme-north").id)
    assert [(each.depth, each.entity.key) for each in found] == [(1, "acme-d1"), (2, "acme-oven"), (2, "t")]
    assert found[2].entity.parent == "acme-d1"
    hierarchy = ["contains", "has_sensor"]
    found = acme.relationships.descendants(named(acme, "acme-north").id, relationship_types=hierarchy)
    assert [each.entity.key for each in found] == ["acme-d1", "t"]
    assert [each.depth for each in acme.relationships.descendants(named(acme, "acme-north").id, max_depth=1)] == [1]
    everything = {each.entity.key: each.depth for each in acme.relationships.descendants(named(acme, "acme").id)}
    assert len(everything) == 10 and everything["acme-d1"] == 1 and everything["t"] == 2
    with pytest.raises(InvalidError, match="max_depth must be from 1 to 64"):
        acme.relationships.descendants(named(acme, "acme").id, max_depth=0)


def test_descendants_at_an_earlier_time_are_those_of_that_time(acme: Directory) -> None:
    device, north, south = (named(acme, key).id for key in ("acme-d1", "acme-north", "acme-south"))
    acme.relationships.move(device, north)
    acme.relationships.move(device, south, at=YESTERDAY)
    before = YESTERDAY - timedelta(seconds=1)

    def reached(project: Any, at: datetime | None) -> list[str]:
        found = acme.relationships.descendants(project, relationship_types=["contains"], at=at)
        return [each.entity.key for each in found]

    assert [reached(north, at) for at in (before, YESTERDAY, None)] == [["acme-d1"], [], []]
    assert [reached(south, at) for at in (before, YESTERDAY, None)] == [[], ["acme-d1"], ["acme-d1"]]


def test_descendants_end_where_a_cycle_closes_and_many_ways_give_one_answer(acme: Directory, connect: Connect) -> None:
    acme.conn.execute("INSERT INTO relationship_types (name) VALUES ('feeds')")
    rooms = ["acme-hall", "acme-cell", "acme-desk"]
    for one in rooms:
        for other in rooms:
            if one != other:
                connect("feeds", one, other)
    found = acme.relationships.descendants(named(acme, "acme-hall").id, relationship_types=["feeds"], max_depth=64)
    assert [(each.depth, each.entity.key) for each in found] == [(1, "acme-cell"), (1, "acme-desk")]


def test_relationships_come_in_pages_that_hold_each_once(acme: Directory, connect: Connect) -> None:
    for other in ("acme-d1", "acme-d2"):
        connect("contains", "acme-north", other)
    connect("manages", "acme-u@x", "acme-north")
    project, seen, cursor = named(acme, "acme-north").id, [], None
    while True:
        page = acme.relationships.of(project, limit=1, cursor=cursor)
        seen += [each.relationship_type for each in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == ["contains", "contains", "manages"]
