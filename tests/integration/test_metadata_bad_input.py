"""Whatever is handed to the service: one clear sentence that says which and why, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr, ValidationError

from connectors.entities.actor import SYSTEM, Actor
from connectors.entities.command_models import CommandCreate
from connectors.entities.directory import Directory, open_directory
from connectors.entities.errors import ConflictError, InvalidError, NotFoundError
from connectors.entities.key_models import KeyCreate
from connectors.entities.metric_models import MetricCreate, MetricUpdate
from connectors.entities.models import (
    Entity,
    EntityCreate,
    EntityUpdate,
    PropertyRange,
    RelationshipCreate,
    SchemaCreate,
)
from connectors.entities.process_models import ProcessCreate
from connectors.entities.user_models import UserCreate
from connectors.postgres.migrate import load_sample
from tests.filled_metadata import Contents, contents
from tests.one_server import postgres_database
from tests.stack_under_test import StackUnderTest
from weir.errors import UsageError

ACME, BIOTECH = "acme-research-labs", "biotech-innovations"
DEVICE = "acme-esp32-001"
LARGE = {"blob": "x" * 10_000_000}
DEEP: dict[str, Any] = {}
for _ in range(5_000):
    DEEP = {"deeper": DEEP}
NODE: dict[str, Any] = {"name": "Node", "properties": {"hardware": {"model": "ESP32-WROOM-32"}}}
EARLIER = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Bad:
    """A call that must be refused with every one of ``words`` in the sentence."""

    name: str
    call: Callable[[Directory], object]
    words: tuple[str, ...]
    error: type[UsageError] = InvalidError


def make(entity_type: str, key: str, **fields: Any) -> Callable[[Directory], object]:
    """Make an entity of Acme."""
    given = {"organisation": ACME, **fields}
    return lambda directory: directory.entities.create(EntityCreate(entity_type=entity_type, key=key, **given))


def change(kind: str, key: str, **fields: Any) -> Callable[[Directory], object]:
    """Change an entity of the sample."""
    return lambda directory: directory.entities.update(entity(directory, kind, key).id, EntityUpdate(**fields))


def connect(relationship_type: str, begins: tuple[str, str], ends: tuple[str, str], **fields: Any) -> Any:
    """Connect two entities of the sample."""
    return lambda directory: directory.relationships.connect(
        RelationshipCreate(
            relationship_type=relationship_type,
            from_entity=entity(directory, *begins).id,
            to_entity=entity(directory, *ends).id,
            **fields,
        )
    )


def entity(directory: Directory, kind: str, key: str) -> Entity:
    return directory.entities.get(kind, key, organisation=None)


def describe(definition: dict[str, Any], entity_type: str = "vessel") -> Callable[[Directory], object]:
    """Add a schema for Acme."""
    return lambda directory: directory.schemas.add(
        SchemaCreate(entity_type=entity_type, definition=definition, organisation=ACME)
    )


def define(**fields: Any) -> Callable[[Directory], object]:
    """Define a metric."""
    return lambda directory: directory.metrics.define(MetricCreate(**{"name": "x.y", **fields}))


def process(**fields: Any) -> Callable[[Directory], object]:
    """Define a process of Acme."""
    wanted = {
        "name": "Brew",
        "version": "1",
        "process_type": "recipe",
        "definition": {},
        "organisation": ACME,
        **fields,
    }
    return lambda directory: directory.processes.define(ProcessCreate(**wanted))


def user(**fields: Any) -> Callable[[Directory], object]:
    """Make a user of Acme."""
    return lambda directory: directory.users.create(
        UserCreate(**{"email": "new@acme.example", "organisation": ACME, **fields})
    )


FERMENTER = ("equipment", "biotech-fermenter-001")
OVEN, NODE_1, NODE_2 = ("equipment", "acme-oven-001"), ("device", DEVICE), ("device", "acme-esp32-002")
OPTIMIZATION, FERMENTATION = ("project", "bioreactor-optimization"), ("project", "fermentation-development")

BAD_INPUT = [
    # types
    Bad("unknown type", make("spaceship", "x"), ("spaceship", "no schema")),
    Bad("type in capitals", make("Device.ESP32", "x"), ("Device.ESP32", "lower case")),
    Bad("type with SQL", make("device'; DROP TABLE entities; --", "x"), ("DROP TABLE", "no entity type")),
    Bad("type with a path", make("device/../organisation", "x"), ("device/../organisation",)),
    Bad("empty type", make("", "x"), ("''", "no entity type")),
    Bad("endless type", make("device" + ".x" * 60, "x"), ("no entity type",)),
    Bad("subtype of an organisation", make("organisation.fake", "x"), ("organisation", "no subtypes")),
    # what a schema asks
    Bad("no model", make("device.esp32", "x", name="N", properties={}), ("device.esp32", "hardware.model")),
    Bad("no name", make("device.esp32", "x", properties=NODE["properties"]), ("device.esp32", "name")),
    Bad("no metric", make("sensor", "x", parent=DEVICE), ("sensor", "metric")),
    Bad("no metric left", change("equipment", "acme-oven-001", properties={"config": 7}), ("config", "object")),
    Bad(
        "status not in the enum", make("device.esp32", "x", **NODE, status="exploded"), ("status", "exploded", "online")
    ),
    Bad("status changed to nonsense", change(*NODE_1, status="exploded"), ("status", "exploded", "maintenance")),
    Bad(
        "priority not in the enum", change(*OPTIMIZATION, merge={"priority": "urgent"}), ("priority", "urgent", "high")
    ),
    Bad(
        "text for a number",
        change(*NODE_1, merge={"config": {"readingInterval": "often"}}),
        ("readingInterval", "often"),
    ),
    Bad("list of the wrong things", change(*OPTIMIZATION, merge={"tags": ["a", 7]}), ("tags", "7")),
    Bad("no days", change(*OPTIMIZATION, merge={"settings": {"data_retention_days": 0}}), ("data_retention_days", "1")),
    Bad(
        "half a day", change(*OPTIMIZATION, merge={"settings": {"data_retention_days": 1.5}}), ("data_retention_days",)
    ),
    Bad(
        "unknown policy",
        change("organisation", ACME, merge={"unknown_devices": {"policy": "guess", "prefix": "a"}}),
        ("policy", "guess", "dead_letter"),
    ),
    Bad(
        "metric that nobody defined",
        make("sensor", "x", parent=DEVICE, properties={"metric": "no.such"}),
        ("no.such", "weir metrics"),
    ),
    Bad(
        "bounds the wrong way round",
        make("sensor", "x", parent=DEVICE, properties={"metric": "bioreactor.ph", "min_value": 9, "max_value": 1}),
        ("min_value", "9", "1"),
    ),
    # who and where
    Bad("sensor of nothing", make("sensor", "x", properties={"metric": "bioreactor.ph"}), ("sensor", "device")),
    Bad(
        "sensor of a stranger",
        make("sensor", "x", parent="nobody", properties={"metric": "bioreactor.ph"}),
        ("nobody",),
        NotFoundError,
    ),
    Bad("organisation that is not there", make("device", "x", organisation="nowhere"), ("nowhere",), NotFoundError),
    Bad("no organisation", make("device", "x", organisation=None), ("organisation",)),
    Bad("project that is not there", make("device", "x", project="nowhere"), ("nowhere",), NotFoundError),
    Bad(
        "project of another",
        make("device", "x", project="fermentation-development"),
        ("fermentation-development",),
        NotFoundError,
    ),
    Bad("key that is taken", make("device", DEVICE), (DEVICE, "exists"), ConflictError),
    Bad("key of another's device", make("device", "biotech-esp32-001"), ("biotech-esp32-001", "exists"), ConflictError),
    Bad("key of a retired device", make("device", "acme-esp32-003"), ("retired", "is_active"), ConflictError),
    Bad("unknown id", lambda d: d.entities.retire(UUID(int=7)), (str(UUID(int=7)),), NotFoundError),
    # hostile identifiers
    Bad("empty key", make("device", ""), ("key",)),
    Bad("blank key", make("device", "  "), ("key",)),
    Bad("NUL in a key", make("device", "a\0b"), ("U+0000",)),
    Bad("line break in a key", make("device", "a\nb"), ("U+000A",)),
    Bad("text that runs backwards", make("device", "pump\u202egnp.exe"), ("U+202E",)),
    Bad("nothing to be seen", make("device", "a\u200bb"), ("U+200B",)),
    Bad("half a character", make("device", "a\ud800"), ("U+D800",)),
    Bad("endless key", make("device", "x" * 201), ("201", "200")),
    Bad("endless key in few letters", make("device", "é" * 101), ("202", "200")),
    Bad("slug with SQL", make("project", "a'; DROP TABLE entities; --"), ("DROP TABLE", "key")),
    Bad("slug with a path", make("project", "../../etc/passwd"), ("../../etc/passwd",)),
    Bad("slug in capitals", make("organisation", "Acme", organisation=None), ("Acme", "a-z")),
    Bad("slug that is too long", make("organisation", "a" * 64, organisation=None), ("63",)),
    # properties that nothing holds
    Bad("10 MB of properties", make("device", "x", properties=LARGE), ("10.0 MB", "1 MiB")),
    Bad("numbers that take more room than their text", make("device", "x", properties={"x": [1] * 400_000}), ("MiB",)),
    Bad("10 MB instead", change(*NODE_1, properties={**NODE["properties"], **LARGE}), ("10.0 MB", "1 MiB")),
    Bad("10 MB more", change(*NODE_1, merge=LARGE), ("10.0 MB", "1 MiB")),
    Bad("10 MB of a name", make("device", "x", name="x" * 10_000_000), ("name", "64 KiB")),
    Bad("10 MB of a description", change(*NODE_1, description="x" * 10_000_000), ("description", "64 KiB")),
    Bad("too deep", make("device", "x", properties=DEEP), ("deep",)),
    Bad("NaN", make("device", "x", properties={"x": float("nan")}), ("number",)),
    Bad("infinity", change(*NODE_1, merge={"x": float("inf")}), ("number",)),
    Bad("NUL in a property", make("device", "x", properties={"x": ["\0"]}), ("NUL",)),
    Bad("NUL in the name of a property", make("device", "x", properties={"\0": 1}), ("NUL",)),
    Bad("a set", make("device", "x", properties={"x": {1, 2}}), ("JSON", "set")),
    # relationships
    Bad("cycle of two", connect("part_of", FERMENTER, ("device", "biotech-esp32-001")), ("part_of", "cycle")),
    Bad("cycle of three", connect("part_of", FERMENTATION, ("device", "biotech-esp32-001")), ("part_of", "cycle")),
    Bad("with itself", connect("part_of", OVEN, OVEN), ("acme-oven-001",)),
    Bad("unknown relationship", connect("envies", NODE_1, OVEN), ("envies", "relationship type")),
    Bad("the wrong end", connect("contains", OPTIMIZATION, ("user", "test@acme.example")), ("contains", "user")),
    Bad("the wrong beginning", connect("contains", NODE_1, NODE_2), ("contains", "device")),
    Bad("to another organisation", connect("monitors", NODE_1, FERMENTER), ("different",)),
    Bad("two projects at once", connect("contains", OPTIMIZATION, NODE_1), ("already",), ConflictError),
    Bad("twice the same", connect("monitors", NODE_2, OVEN), ("already",), ConflictError),
    Bad("stronger than strong", connect("monitors", NODE_1, OVEN, strength=2), ("strength", "2")),
    Bad(
        "ends before it begins",
        connect("monitors", NODE_1, OVEN, valid_from=EARLIER, valid_to=EARLIER - timedelta(days=1)),
        ("valid_to",),
    ),
    Bad("no time zone", connect("monitors", NODE_1, OVEN, valid_from=datetime(2024, 1, 1)), ("zone",)),  # noqa: DTZ001
    Bad("10 MB of a relationship", connect("monitors", NODE_1, OVEN, properties=LARGE), ("10.0 MB",)),
    Bad("70 KB of a relationship", connect("monitors", NODE_1, OVEN, properties={"x": [*range(20_000)]}), ("64 KiB",)),
    Bad("with a retired device", connect("monitors", ("device", "acme-esp32-003"), OVEN), ("retired",), ConflictError),
    Bad("end of nothing", lambda d: d.relationships.end(10**9), ("1000000000",), NotFoundError),
    Bad("end before the beginning", lambda d: d.relationships.end(monitoring(d), EARLIER), ("began",)),
    Bad(
        "move to another organisation",
        lambda d: d.relationships.move(entity(d, *NODE_1).id, entity(d, *FERMENTATION).id),
        ("different",),
    ),
    # schemas
    Bad("type of a field", describe({"x": {"type": "colour"}}), ("colour", "string")),
    Bad("default out of range", describe({"x": {"type": "number", "max": 1, "default": 2}}), ("x", "default")),
    Bad("min above max", describe({"x": {"type": "number", "min": 2, "max": 1}}), ("min 2", "max 1")),
    Bad("invalid pattern", describe({"x": {"type": "string", "pattern": "("}}), ("x", "regular expression", "(")),
    Bad("empty enum", describe({"x": {"type": "string", "enum": []}}), ("x", "enum")),
    Bad("10 MB of a definition", describe({"x": {"type": "string", "description": "x" * 10_000_000}}), ("64 KiB",)),
    Bad("endless definition", describe(DEEP), ("deep",)),
    Bad("schema of no type", describe({}, "Not A Type"), ("Not A Type",)),
    Bad(
        "schema that refuses what was valid",
        describe({"metric": {"type": "integer", "required": True}}, "sensor"),
        ("metric",),
        ConflictError,
    ),
    # metrics
    Bad("invalid regular expression", lambda d: d.metrics.list(regex="^greenhouse\\.("), ("position", "greenhouse")),
    Bad("regular expression of Postgres alone", lambda d: d.metrics.list(regex="(?<=a)b"), ("(?<=", "position 0")),
    Bad("endless regular expression", lambda d: d.metrics.list(regex="a" * 501), ("501", "500")),
    Bad("metric in capitals", define(name="Bioreactor.PH"), ("Bioreactor.PH",)),
    Bad("metric with SQL", define(name="a'; DROP TABLE metrics; --"), ("DROP TABLE",)),
    Bad("endless metric", define(name="x" * 256), ("255",)),
    Bad("bounds of a metric", define(min_value=2, max_value=1), ("2", "1")),
    Bad("bounds of a text", define(value_type="string", min_value=1), ("string",)),
    Bad("enum without values", define(value_type="enum"), ("enum",)),
    Bad("JSON schema of a number", define(json_schema={"type": "object"}), ("json",)),
    Bad("JSON schema that is none", define(value_type="json", json_schema={"type": "colour"}), ("colour",)),
    Bad("unit that nobody knows", define(unit="furlongs per fortnite"), ("furlongs per fortnite",)),
    Bad("10 MB of a JSON schema", define(value_type="json", json_schema={"title": "x" * 10_000_000}), ("KiB", "64")),
    Bad("metric defined otherwise", define(name="bioreactor.ph", unit="pH", max_value=3), ("already",), ConflictError),
    Bad(
        "another type for stored values",
        lambda d: d.metrics.update("bioreactor.ph", MetricUpdate(value_type="integer")),
        ("Sensors use bioreactor.ph", "value_type"),
        ConflictError,
    ),
    # users and keys
    Bad("no e-mail address", user(email="nobody"), ("nobody",)),
    Bad("e-mail address with a line break", user(email="a@b\nBcc: c@d"), ("a@b",)),
    Bad("user that exists", user(email="test@acme.example"), ("test@acme.example", "exists"), ConflictError),
    Bad("password that is short", user(password=SecretStr("short")), ("password", "10")),
    Bad("10 MB of a password", user(password=SecretStr("x" * 10_000_000)), ("1,000 bytes",)),
    Bad("superuser without a password", user(is_superuser=True), ("password",)),
    Bad("password of nobody", lambda d: d.users.set_password("no@body", "long enough!"), ("no@body",), NotFoundError),
    Bad("key of a stranger", lambda d: d.keys.create(KeyCreate(device="nobody")), ("nobody",), NotFoundError),
    Bad(
        "key that has expired",
        lambda d: d.keys.create(KeyCreate(device=DEVICE, expires_at=EARLIER)),
        ("2020-01-01",),
    ),
    Bad("key of nobody", lambda d: d.keys.revoke("Nothing12345"), ("Nothing12345",), NotFoundError),
    # processes and commands
    Bad("process without a name", process(name=""), ("''", "process")),
    Bad("process of a strange type", process(process_type="Bäcker"), ("Bäcker",)),
    Bad("10 MB of a process", process(definition=LARGE), ("1,024 KiB",)),
    Bad("process that is too deep", process(definition=DEEP), ("deep",)),
    Bad("unknown process", lambda d: d.processes.start("Nothing", organisation=ACME), ("Nothing",), NotFoundError),
    Bad(
        "10 MB of parameters",
        lambda d: d.processes.start("Sourdough baking", organisation=ACME, parameters=LARGE),
        ("KiB",),
    ),
    Bad("end of no process", lambda d: d.processes.complete(UUID(int=7)), (str(UUID(int=7)),), NotFoundError),
    Bad(
        "command to nobody", lambda d: d.commands.send("nobody", CommandCreate(command="x")), ("nobody",), NotFoundError
    ),
    Bad(
        "command to a retired device",
        lambda d: d.commands.send("acme-esp32-003", CommandCreate(command="x")),
        ("retired",),
        ConflictError,
    ),
    Bad(
        "command with a strange name",
        lambda d: d.commands.send(DEVICE, CommandCreate(command="rm -rf /")),
        ("rm -rf /",),
    ),
    Bad(
        "10 MB of a command",
        lambda d: d.commands.send(DEVICE, CommandCreate(command="x", parameters=LARGE)),
        ("64 KiB",),
    ),
    Bad(
        "command that has expired",
        lambda d: d.commands.send(DEVICE, CommandCreate(command="x", expires_at=EARLIER)),
        ("2020-01-01",),
    ),
    Bad("answer to nothing", lambda d: d.commands.answer(UUID(int=7), {}), (str(UUID(int=7)),), NotFoundError),
    # lists
    Bad("cursor of nobody", lambda d: d.entities.list(cursor="'; DROP TABLE entities; --"), ("cursor",)),
    Bad("cursor of another list", lambda d: d.entities.list(cursor=metric_cursor(d)), ("cursor",)),
    Bad("no rows", lambda d: d.entities.list(limit=0), ("0",)),
    Bad("negative page", lambda d: d.relationships.of(entity(d, *OVEN).id, limit=-1), ("-1",)),
    Bad("range over nothing", lambda d: d.entities.list(ranges=[PropertyRange(path="", min=1)]), ("path",)),
    Bad("endless depth", lambda d: d.relationships.descendants(entity(d, *OVEN).id, max_depth=10**6), ("1000000",)),
]


def monitoring(directory: Directory) -> int:
    """The relationship between the second node and the oven."""
    oven = entity(directory, *OVEN)
    return directory.relationships.of(oven.id, relationship_type="monitors").items[0].id


def metric_cursor(directory: Directory) -> str:
    """A cursor of the list of metrics, which names no entity."""
    return directory.metrics.list(limit=1).next_cursor or ""


@pytest.fixture(scope="module")
def dsn(stack: StackUnderTest) -> Iterator[str]:
    """The sample world, and a node that is part of a fermenter that is part of a project."""
    with postgres_database(stack) as fresh:
        load_sample(fresh)
        with open_directory(fresh, SYSTEM) as directory:
            connect("part_of", ("device", "biotech-esp32-001"), FERMENTER)(directory)
            connect("part_of", FERMENTER, FERMENTATION)(directory)
        yield fresh


@pytest.fixture(scope="module")
def untouched(dsn: str) -> Contents:
    """Every row, and the version of the metadata, as no test of this file may change them."""
    return contents(dsn, stamps=True)


@pytest.mark.parametrize("bad", BAD_INPUT, ids=[bad.name for bad in BAD_INPUT])
def test_bad_input_is_refused_in_one_sentence_and_writes_nothing(dsn: str, untouched: Contents, bad: Bad) -> None:
    with pytest.raises(bad.error) as refused, open_directory(dsn, SYSTEM) as directory:
        bad.call(directory)
    told = str(refused.value)
    assert "\n" not in told
    assert told.endswith(".")
    assert len(told) < 1_000
    for word in bad.words:
        assert word in told
    assert contents(dsn, stamps=True) == untouched


def test_a_refusal_takes_back_what_was_done_before_it_in_the_same_transaction(dsn: str, untouched: Contents) -> None:
    with pytest.raises(InvalidError), open_directory(dsn, SYSTEM) as directory:
        make("device", "made-first")(directory)
        make("spaceship", "made-second")(directory)
    assert contents(dsn, stamps=True) == untouched


@pytest.mark.parametrize(
    "key",
    [
        "'; DROP TABLE entities; --",
        "../../etc/passwd",
        "<script>alert(1)</script>",
        "${jndi:ldap://x}",
        "%s %(key)s {key}",
        'quote " and \\ backslash',
        "größe-Ω-温度-🌡",
        "x" * 200,
        "-1 OR 1=1",
        "null",
    ],
)
def test_a_strange_key_that_can_be_seen_is_kept_word_for_word(dsn: str, key: str) -> None:
    with pytest.raises(ZeroDivisionError), open_directory(dsn, SYSTEM) as directory:
        make("device", key, name=key, properties={key: {key: [key]}})(directory)
        found = directory.entities.get("device", key)
        assert (found.key, found.name, found.properties) == (key, key, {key: {key: [key]}})
        assert [each.key for each in directory.entities.list(contains={key: {key: [key]}}).items] == [key]
        assert directory.events.list(entity_id=found.id).items[0].entity_key == key
        raise ZeroDivisionError  # the next key finds the world as it was


@pytest.mark.parametrize(
    "given",
    [
        {"entity_type": "device", "key": "x", "is_admin": True},
        {"entity_type": "device"},
        {"entity_type": "device", "key": 7},
        {"entity_type": "device", "key": "x", "properties": ["a"]},
    ],
)
def test_a_record_with_an_unknown_missing_or_mistyped_field_is_not_even_made(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EntityCreate(**given)


def test_what_another_organisation_has_is_refused_in_the_words_for_what_does_not_exist(
    dsn: str, untouched: Contents
) -> None:
    told = []
    for key in ("biotech-esp32-001", "no-such-device"):
        with pytest.raises(NotFoundError) as refused, open_directory(dsn, Actor("ada", "admin", ACME)) as directory:
            change("device", key, name="Mine")(directory)
        told.append(str(refused.value).replace(key, "KEY"))
    assert told[0] == told[1]
    assert contents(dsn, stamps=True) == untouched
