"""Every entity, relationship and event type that the seeds name, through the service; see ``docs/seeds.md``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from connectors.entities.actor import SYSTEM, Actor
from connectors.entities.command_models import CommandCreate
from connectors.entities.directory import Directory, open_directory
from connectors.entities.errors import InvalidError
from connectors.entities.key_models import KeyCreate
from connectors.entities.metric_models import MetricCreate, MetricUpdate
from connectors.entities.models import Entity, EntityCreate, EntityUpdate, RelationshipCreate, SchemaCreate
from connectors.entities.process_models import ProcessCreate
from connectors.entities.user_models import UserCreate
from connectors.postgres.alert_events import record_alerts
from sinks.clickhouse.tables import tables
from tests.one_server import postgres_database
from tests.stack_under_test import StackUnderTest, environment_of, plain_environment
from tests.weir_command import weir
from weir.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "seeds.md").read_text()
ORG, PROJECT, DEVICE, OVEN, USER = "seed-labs", "seed-project", "seed-node", "seed-oven", "user@example.com"
PASSWORD = "correct horse battery staple"

NODE: dict[str, Any] = {
    "location": "Lab A",
    "firmware": {"version": "1.0.0", "lastUpdate": "2024-03-20T10:00:00Z"},
    "hardware": {
        "model": "ESP32-WROOM-32",
        "macAddress": "24:6F:28:XX:XX:XX",
        "sensors": [{"type": "temperature", "unit": "celsius", "range": {"min": -40, "max": 125}}],
    },
    "config": {"readingInterval": 300, "alertThresholds": {"temperature": {"min": 15, "max": 30}}},
}
ORGANISATION: dict[str, Any] = {
    "contact_email": "info@org.com",
    "contact_phone": "+1-555-1234",
    "website": "https://org.com",
    "address": "123 Main St",
    "city": "City",
    "state": "State",
    "country": "Country",
    "timezone": "UTC",
    "member_count": 25,
}
RESEARCH: dict[str, Any] = {
    "start_date": "2024-01-15",
    "end_date": "2024-06-15",
    "budget": "$50,000",
    "progress_percentage": 25,
    "priority": "high",
    "tags": ["optimization", "bioreactor"],
    "settings": {"data_retention_days": 365, "alert_thresholds": {"temperature": {"min": 20, "max": 30}}},
}
PERSON: dict[str, Any] = {"user_type": "standard", "department": "Development"}
SCHEMA: dict[str, Any] = {
    "name": {"type": "string", "required": True},
    "status": {"type": "string", "enum": ["online", "offline", "maintenance", "error"], "default": "offline"},
    "hardware": {
        "model": {"type": "string", "required": True},
        "sensors": {"type": "array", "items": {"type": "object"}},
    },
}
"""The seed's schema device.esp32.v1."""

VERSIONS = {"organisation": 2, "device": 2, "equipment": 2}
"""The version of the schema of each kind that a fresh database has, where that is not the first."""

ENTITY_TYPES = {
    "user": EntityCreate(entity_type="user", key="second@example.com", properties=PERSON, organisation=ORG),
    "organisation": EntityCreate(entity_type="organisation", key="second-labs", properties=ORGANISATION),
    "device.esp32": EntityCreate(
        entity_type="device.esp32",
        key="second-node",
        name="ESP32 Device",
        status="online",
        properties=NODE,
        organisation=ORG,
        project=PROJECT,
    ),
    "project": EntityCreate(entity_type="project", key="second-project", properties=RESEARCH, organisation=ORG),
    "device": EntityCreate(entity_type="device", key="plain-device", organisation=ORG),
    "sensor": EntityCreate(
        entity_type="sensor", key="humidity", properties={"metric": "seed.temperature", "max_value": 99}, parent=DEVICE
    ),
    "equipment.oven": EntityCreate(entity_type="equipment.oven", key="second-oven", organisation=ORG),
}
"""By type; the properties are the seed's examples, word for word. The seed has no sensors and ovens of their own."""

RELATIONSHIPS = {
    "monitors": (("device", DEVICE), ("equipment", OVEN)),
    "belongs_to": (("user", USER), ("organisation", "other-labs")),
    "manages": (("user", USER), ("project", PROJECT)),
    "participates_in": (("user", USER), ("project", PROJECT)),
    "contains": (("project", PROJECT), ("equipment", OVEN)),
    "part_of": (("device", DEVICE), ("equipment", OVEN)),
}


NAMED_BY_THE_SEED = {
    "Entity types": "user organization device.esp32 project",
    "Relationship types": "monitors belongs_to owns manages participates_in",
    "Event types": "user.created user.updated user.deleted device.created device.updated device.status_changed "
    "organization.created organization.updated sensor.reading alert.triggered command.sent process.started "
    "process.completed user.login user.logout data.exported data.imported settings.changed",
}
"""By the table of the page that answers it."""

TRIED_APART = {"owns", "sensor.reading", "alert.triggered", "data.exported", "data.imported"}


@pytest.fixture(scope="module")
def dsn(stack: StackUnderTest) -> Iterator[str]:
    """A database with an organisation, and one of each that others need."""
    with postgres_database(stack) as fresh:
        with open_directory(fresh, SYSTEM) as directory:
            make = directory.entities.create
            make(EntityCreate(entity_type="organisation", key=ORG, name="Seed Labs", properties=ORGANISATION))
            make(EntityCreate(entity_type="organisation", key="other-labs"))
            make(EntityCreate(entity_type="project", key=PROJECT, properties=RESEARCH, organisation=ORG))
            make(EntityCreate(entity_type="device.esp32", key=DEVICE, name="N", properties=NODE, organisation=ORG))
            make(EntityCreate(entity_type="equipment.oven", key=OVEN, organisation=ORG))
            directory.metrics.define(MetricCreate(name="seed.temperature", unit="celsius"))
            directory.processes.define(
                ProcessCreate(name="Bake", version="1", process_type="recipe", definition={}, organisation=ORG)
            )
            directory.users.create(
                UserCreate(email=USER, organisation=ORG, role="admin", password=SecretStr(PASSWORD), properties=PERSON)
            )
        yield fresh


@pytest.mark.parametrize("entity_type", ENTITY_TYPES)
def test_every_entity_type_is_made_found_and_logged(dsn: str, entity_type: str) -> None:
    wanted = ENTITY_TYPES[entity_type]
    kind = entity_type.split(".")[0]
    with open_directory(dsn, SYSTEM) as directory:
        made = directory.entities.create(wanted)
    with open_directory(dsn, SYSTEM) as directory:
        assert directory.entities.get(kind, wanted.key, parent=wanted.parent) == made
        assert made.entity_type == entity_type
        assert made.properties == wanted.properties
        assert made.schema_version == VERSIONS.get(kind, 1)
        assert made in directory.entities.list(entity_type=entity_type, organisation=made.organisation).items
        (event,) = directory.events.list(entity_id=made.id, event_type=f"{kind}.created").items
        assert (event.entity_type, event.entity_key, event.organisation) == (entity_type, wanted.key, made.organisation)
        assert event.data.get("properties", {}) == wanted.properties


def test_a_type_that_a_user_adds_by_a_schema_works_like_any_other(dsn: str) -> None:
    order = {
        "status": {"type": "string", "enum": ["pending", "shipped"], "default": "pending"},
        "total": {"type": "number"},
    }
    ada = Actor(USER, "admin", ORG)
    with open_directory(dsn, ada) as directory:
        directory.schemas.add(SchemaCreate(entity_type="order", definition=order))
        made = directory.entities.create(EntityCreate(entity_type="order", key="42", properties={"total": 12.5}))
        part = directory.entities.create(EntityCreate(entity_type="order.line_item", key="42-1"))
        directory.relationships.connect(
            RelationshipCreate(relationship_type="part_of", from_entity=part.id, to_entity=made.id)
        )
    with open_directory(dsn, ada) as directory:
        found = directory.entities.list(entity_type="order", status="pending", contains={"total": 12.5}).items
        assert [each.key for each in found] == ["42"]
        assert [each.entity.id for each in directory.relationships.descendants(part.id)] == [made.id]
        assert directory.events.list(entity_id=made.id, event_type="order").items[0].event_type == "order.created"
    with pytest.raises(InvalidError, match="shipped"), open_directory(dsn, ada) as directory:
        directory.entities.update(made.id, EntityUpdate(status="lost"))


def test_the_schema_of_the_seed_is_accepted_word_for_word(dsn: str) -> None:
    with open_directory(dsn, SYSTEM) as directory:
        directory.schemas.add(SchemaCreate(entity_type="device.as_in_the_seed", definition=SCHEMA))
        made = directory.entities.create(
            EntityCreate(
                entity_type="device.as_in_the_seed",
                key="as-in-the-seed",
                name="ESP32 Device",
                properties=NODE,
                organisation=ORG,
            )
        )
        assert (made.status, made.schema_version) == ("offline", 1)
    with pytest.raises(InvalidError, match="hardware.model"), open_directory(dsn, SYSTEM) as directory:
        directory.schemas.check("device.as_in_the_seed", {"name": "no hardware"})


@pytest.mark.parametrize("relationship_type", RELATIONSHIPS)
def test_every_relationship_type_connects_and_is_logged(dsn: str, relationship_type: str) -> None:
    begins, ends = RELATIONSHIPS[relationship_type]
    with open_directory(dsn, SYSTEM) as directory:
        one, other = directory.entities.get(*begins), directory.entities.get(*ends)
        properties = {"role": "viewer"} if relationship_type == "belongs_to" else {"since": "2024"}
        made = directory.relationships.connect(
            RelationshipCreate(
                relationship_type=relationship_type, from_entity=one.id, to_entity=other.id, properties=properties
            )
        )
    with open_directory(dsn, SYSTEM) as directory:
        for end in (one, other):
            assert made in directory.relationships.of(end.id, relationship_type=relationship_type).items
        reached = directory.relationships.descendants(one.id, relationship_types=[relationship_type])
        assert other.id in [each.entity.id for each in reached]
        told = directory.events.list(event_type="relationship.created").items
        assert [each.entity_id for each in told if each.data["id"] == made.id] == [other.id]


def test_what_an_organisation_owns_is_a_link_like_any_other(dsn: str) -> None:
    with open_directory(dsn, SYSTEM) as directory:
        organisation = directory.entities.get("organisation", ORG)
        owned = directory.relationships.descendants(organisation.id, relationship_types=["owns"])
        assert {DEVICE, OVEN, PROJECT} <= {each.entity.key for each in owned if each.depth == 1}


def entity(directory: Directory, kind: str, key: str) -> Entity:
    return directory.entities.get(kind, key)


def changed(kind: str, key: str, **fields: Any) -> Callable[[Directory], object]:
    """Change an entity."""
    return lambda directory: directory.entities.update(entity(directory, kind, key).id, EntityUpdate(**fields))


def made(kind: str, key: str, **fields: Any) -> Callable[[Directory], object]:
    """Make an entity."""
    return lambda directory: directory.entities.create(EntityCreate(entity_type=kind, key=key, **fields))


def instance_that(ends: str) -> Callable[[Directory], object]:
    """Start a process, and end it."""
    return lambda d: getattr(d.processes, ends)(d.processes.start("Bake", organisation=ORG, batch_id=ends).id)


def command_that(ends: str) -> Callable[[Directory], object]:
    """Send a command, deliver it, and end it."""

    def happen(directory: Directory) -> None:
        sent = directory.commands.send(DEVICE, CommandCreate(command="restart"))
        directory.commands.waiting(DEVICE)
        if ends == "answer":
            directory.commands.answer(sent.id, {"ok": True})
        else:
            directory.commands.cancel(sent.id)

    return happen


def key_that(ends: str) -> Callable[[Directory], object]:
    """Make a key, and end it."""
    return lambda d: getattr(d.keys, ends)(d.keys.create(KeyCreate(device=DEVICE)).prefix)


ANOTHER = {"organisation": ORG}
EVENTS: dict[str, Callable[[Directory], object]] = {
    "user.created": lambda d: d.users.create(UserCreate(email="third@example.com", organisation=ORG)),
    "user.updated": changed("user", USER, merge={"department": "Research"}),
    "user.deleted": lambda d: d.users.retire(d.users.create(UserCreate(email="fourth@example.com", **ANOTHER)).key),
    "user.login": lambda d: d.users.login(USER, PASSWORD),
    "user.login_failed": lambda d: d.users.login(USER, "not the password"),
    "user.logout": lambda d: d.users.logout(USER),
    "device.created": made("device", "third-node", **ANOTHER),
    "device.updated": changed("device", DEVICE, merge={"location": "Lab B"}),
    "device.status_changed": changed("device", DEVICE, status="maintenance"),
    "device.deleted": lambda d: d.entities.retire(
        d.entities.create(EntityCreate(entity_type="device", key="x", **ANOTHER)).id
    ),
    "organisation.created": made("organisation", "third-labs"),
    "organisation.updated": changed("organisation", ORG, merge={"member_count": 26}),
    "settings.changed": changed("device", DEVICE, merge={"config": {"readingInterval": 60}}),
    "command.sent": lambda d: d.commands.send(DEVICE, CommandCreate(command="restart")),
    "command.delivered": command_that("cancel"),
    "command.answered": command_that("answer"),
    "command.cancelled": command_that("cancel"),
    "process.defined": lambda d: d.processes.define(
        ProcessCreate(name="Brew", version="1", process_type="recipe", definition={"steps": []}, organisation=ORG)
    ),
    "process.started": lambda d: d.processes.start("Bake", organisation=ORG, batch_id="batch-1"),
    "process.completed": instance_that("complete"),
    "process.failed": instance_that("fail"),
    "process.cancelled": instance_that("cancel"),
    "relationship.ended": lambda d: d.relationships.end(
        d.relationships.connect(
            RelationshipCreate(
                relationship_type="manages",
                from_entity=entity(d, "user", USER).id,
                to_entity=d.entities.create(EntityCreate(entity_type="project", key="third", **ANOTHER)).id,
            )
        ).id
    ),
    "schema.added": lambda d: d.schemas.add(SchemaCreate(entity_type="recipe", definition={}, organisation=ORG)),
    "metric.created": lambda d: d.metrics.define(MetricCreate(name="seed.humidity", unit="percent")),
    "metric.updated": lambda d: d.metrics.update("seed.temperature", MetricUpdate(max_value=60)),
    "key.created": lambda d: d.keys.create(KeyCreate(device=DEVICE)),
    "key.rotated": key_that("rotate"),
    "key.revoked": key_that("revoke"),
}


@pytest.mark.parametrize("event_type", EVENTS)
def test_every_event_type_is_written_when_it_happens(dsn: str, event_type: str) -> None:
    with open_directory(dsn, SYSTEM) as directory:
        before = directory.events.list(event_type=event_type).items
        EVENTS[event_type](directory)
        happened = directory.events.list(event_type=event_type).items[: -len(before) or None]
        assert happened, event_type
        assert {each.event_type for each in happened} == {event_type}
        assert all(each.actor in (SYSTEM.name, USER) and each.source.startswith("weir") for each in happened)
        assert PASSWORD not in json.dumps([each.data for each in happened])


@pytest.mark.parametrize(
    ("kind", "state", "event_type"),
    [
        ("above", "triggered", "alert.triggered"),
        ("above", "resolved", "alert.resolved"),
        ("silent", "triggered", "device.silent"),
    ],
)
def test_an_alert_is_an_event_of_its_device_once(dsn: str, kind: str, state: str, event_type: str) -> None:
    alert = {"id": f"alert-{kind}", "kind": kind, "state": state, "device_id": DEVICE, "sensor": "temperature"}
    assert [record_alerts(dsn, [alert]), record_alerts(dsn, [alert])] == [1, 0]
    with open_directory(dsn, SYSTEM) as directory:
        (event,) = directory.events.list(event_type=event_type).items
        assert (event.entity_key, event.organisation, event.data["sensor"]) == (DEVICE, ORG, "temperature")


def test_data_that_is_exported_and_imported_is_logged_for_its_organisation(stack: StackUnderTest, dsn: str) -> None:
    environment = plain_environment() | environment_of(stack.settings) | {"WEIR_POSTGRES__DSN": dsn}
    exported = weir(environment, "devices", "export", "--org", ORG)
    assert exported.code == 0, exported.err
    row = "device_id,sensor,metric\nimported-node,temperature,seed.temperature\n"
    imported = weir(environment, "devices", "import", "-", "--org", ORG, "--format", "csv", stdin=row)
    assert imported.code == 0, imported.err
    with open_directory(dsn, SYSTEM) as directory:
        for event_type in ("data.exported", "data.imported"):
            told = directory.events.list(event_type=event_type).items
            assert {(each.entity_type, each.entity_key) for each in told} == {("organisation", ORG)}, event_type


def test_an_event_has_the_parts_that_the_seed_names(dsn: str) -> None:
    with open_directory(dsn, SYSTEM) as directory:
        device = entity(directory, "device", DEVICE)
        metadata = {"source": "esp32-device-001", "sequence": 12345}
        number = directory.events.record("device.updated", device.id, {"x": 25.5}, metadata=metadata)
        (event,) = [each for each in directory.events.list(entity_id=device.id).items if each.id == number]
    assert (event.entity_id, event.entity_type, event.event_type) == (device.id, "device.esp32", "device.updated")
    assert (event.data, event.metadata) == ({"x": 25.5}, metadata)
    assert event.ts.tzinfo is not None
    assert event.source.startswith("weir@")


@pytest.mark.parametrize("statement", ["UPDATE events SET data = '{}'", "DELETE FROM events", "TRUNCATE events"])
def test_nothing_that_happened_can_be_unsaid(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn) as conn, pytest.raises(psycopg.errors.RestrictViolation, match="immutable"):
        conn.execute(statement.encode())


def test_a_reading_has_the_parts_that_the_seed_names() -> None:
    contract = json.loads((ROOT / "schemas" / "avro" / "Reading.avsc").read_text())
    sent = {field["name"] for field in contract["fields"]}
    assert {"ts", "sensor", "value", "unit", "quality", "battery_level", "source", "seq"} <= sent
    assert {"str_value", "status_code", "fw_ver"} <= sent
    (raw,) = [table for table in tables(Settings()) if table.name == "raw_readings"]
    stored = {column.name for column in raw.columns}
    assert {"org_id", "project_id", "device_id", "sensor", "fw_ver", "unit", "source"} <= stored
    assert {"value", "str_value", "status_code", "ts"} <= stored


def named_tests() -> list[tuple[str, str]]:
    """File and function of every test that the page names; '' for a whole file."""
    return sorted({(file, name or "") for file, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)})


@pytest.mark.parametrize(("file", "name"), named_tests())
def test_every_test_that_the_page_names_exists(file: str, name: str) -> None:
    text = (ROOT / file).read_text()
    assert re.search(rf"^(async )?def {name or 'test_'}", text, re.MULTILINE), name


@pytest.mark.parametrize("seed", ["000", "001", "002", "003", "004"])
def test_every_row_of_the_page_says_where_or_why_not(seed: str) -> None:
    section = PAGE.split(f"\n## {seed}: ")[1].split("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if re.match(r"\| (?!the seed asks)", line)]
    assert len(rows) >= 6
    for asked, where, test in rows:
        assert asked.strip() and where.strip()
        unbuilt = re.search(r"not built|not telemetry", where)
        assert "`tests/" in test or unbuilt, asked


@pytest.mark.parametrize("table", NAMED_BY_THE_SEED)
def test_the_page_lists_what_the_seed_names_and_all_of_it_is_tried_here(table: str) -> None:
    section = PAGE.split(f"\n### {table}\n")[1].split("\n##")[0]
    asked = " ".join(line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `"))
    named = NAMED_BY_THE_SEED[table].split()
    assert re.findall(r"`([\w.]+)`", asked) == named
    tried = {*ENTITY_TYPES, *RELATIONSHIPS, *EVENTS, *TRIED_APART}
    assert {name.replace("organization", "organisation") for name in named} <= tried
