"""Two organisations with one of everything, and keys for each role: what the tests of the API are about."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import httpx
from pydantic import SecretStr

from connectors.entities.actor import SYSTEM
from connectors.entities.command_models import CommandCreate
from connectors.entities.directory import Directory, open_directory
from connectors.entities.key_models import KeyCreate, KeyRole
from connectors.entities.metric_models import MetricCreate
from connectors.entities.models import EntityCreate, RelationshipCreate, SchemaCreate
from connectors.entities.process_models import ProcessCreate
from connectors.entities.user_models import MemberRole, UserCreate
from tests.stack_under_test import settings_from
from tests.waiting import patient
from weir.cli.api import make_server
from weir.listening import listening
from weir.settings import Settings

PASSWORD = "correct horse battery"
METRIC = "hall.temperature"


@dataclass(frozen=True)
class Tenant:
    """One organisation; ``marker`` stands in every text of its rows, ``keys`` are the texts of its keys by role."""

    slug: str
    marker: str
    id: UUID
    project: str
    project_id: UUID
    device: str
    device_id: UUID
    spare: str
    sensor: str
    thing_id: UUID
    thing_type: str
    email: str
    key_prefix: str
    relationship: int
    process: str
    instance: UUID
    command: UUID
    keys: dict[str, str]

    def headers(self, role: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[role]}"}


def settings_for(dsn: str, **api: object) -> Settings:
    return settings_from({"postgres": {"dsn": dsn}, "api": api})


@contextmanager
def client_for(dsn: str, **api: object) -> Iterator[httpx.Client]:
    """A client of the API on a database; the server is a thread of this process."""
    server = make_server(settings_for(dsn, **api))
    with listening("127.0.0.1", 0, "The API", "WEIR_API__PORT") as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        running = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        running.start()
        try:
            with httpx.Client(base_url=address, timeout=patient(30)) as client:
                yield client
        finally:
            server.should_exit = True
            running.join()


def two_tenants(dsn: str) -> tuple[Tenant, Tenant]:
    """``acme`` and ``birch`` with the same shape and different names."""
    with open_directory(dsn, SYSTEM) as directory:
        directory.metrics.define(MetricCreate(name=METRIC, unit="celsius"))
        return _tenant(directory, "acme", "otter5521"), _tenant(directory, "birch", "zebra7734")


def superuser(dsn: str) -> str:
    """E-mail address of a superuser with :data:`PASSWORD`."""
    with open_directory(dsn, SYSTEM) as directory:
        directory.entities.create(EntityCreate(entity_type="organisation", key="operations"))
        wanted = UserCreate(
            email="root@operations.example",
            organisation="operations",
            role="admin",
            password=SecretStr(PASSWORD),
            is_superuser=True,
        )
        return directory.users.create(wanted).key


def _tenant(directory: Directory, slug: str, marker: str) -> Tenant:
    make = directory.entities.create
    texts = {"name": f"name {marker}", "description": f"about {marker}", "properties": {"note": marker}}
    organisation = make(EntityCreate(entity_type="organisation", key=slug, **texts))
    mine = {"organisation": slug, **texts}
    project = make(EntityCreate(entity_type="project", key=f"{slug}-hall", **mine))
    device = make(EntityCreate(entity_type="device", key=f"{slug}/probe 1", project=project.key, **mine))
    spare = make(EntityCreate(entity_type="device", key=f"{slug}-spare", **mine))
    sensor = EntityCreate(
        entity_type="sensor", key=f"t {slug}", parent=device.key, properties={"metric": METRIC, "note": marker}
    )
    make(sensor)
    thing_type = f"oven_{slug}"
    definition = {"note": {"type": "string", "description": marker}}
    directory.schemas.add(SchemaCreate(entity_type=thing_type, definition=definition, organisation=slug))
    thing = make(EntityCreate(entity_type=thing_type, key="oven 1", **mine))
    relationship = directory.relationships.connect(
        RelationshipCreate(
            relationship_type="monitors", from_entity=device.id, to_entity=thing.id, properties={"note": marker}
        )
    )
    process = ProcessCreate(
        name=f"bread {slug}", version="1", process_type="recipe", definition={"note": marker}, organisation=slug
    )
    directory.processes.define(process)
    instance = directory.processes.start(process.name, parameters={"note": marker}, organisation=slug)
    command = directory.commands.send(device.key, CommandCreate(command="restart", parameters={"note": marker}))
    for role in ("admin", "editor", "viewer"):
        _user(directory, slug, role, marker)
    keys = {role: _key(directory, slug, role, marker) for role in ("viewer", "editor", "admin")}
    spare_key = _key(directory, slug, "viewer", marker)
    keys["device"] = directory.keys.create(KeyCreate(device=device.key, name=marker)).secret
    keys["gateway"] = _key(directory, slug, "device", marker)
    return Tenant(
        slug=slug,
        marker=marker,
        id=organisation.id,
        project=project.key,
        project_id=project.id,
        device=device.key,
        device_id=device.id,
        spare=spare.key,
        sensor=f"t {slug}",
        thing_id=thing.id,
        thing_type=thing_type,
        email=f"viewer@{slug}.example",
        key_prefix=spare_key.split("_")[1],
        relationship=relationship.id,
        process=process.name,
        instance=instance.id,
        command=command.id,
        keys=keys,
    )


def _user(directory: Directory, slug: str, role: MemberRole, marker: str) -> None:
    wanted = UserCreate(email=f"{role}@{slug}.example", name=f"name {marker}", organisation=slug, role=role)
    directory.users.create(wanted.model_copy(update={"password": SecretStr(PASSWORD)} if role != "viewer" else {}))


def _key(directory: Directory, slug: str, role: KeyRole, marker: str) -> str:
    return directory.keys.create(KeyCreate(role=role, organisation=slug, name=marker)).secret
