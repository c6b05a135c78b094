"""A directory of entities with two organisations, acme and biotech, and people who act in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from connectors.entities.actor import SYSTEM, Actor
from connectors.entities.directory import Directory, open_directory
from connectors.entities.models import EntityCreate
from connectors.postgres.connection import connection
from tests.one_server import postgres_database
from tests.stack_under_test import StackUnderTest

ACME = Actor("ada@acme.example", "admin", "acme")
OTHER = Actor("bob@biotech.example", "admin", "biotech")

ESP32 = {"firmware": {"version": "1.0.0"}, "hardware": {"model": "ESP32-WROOM-32"}, "config": {"readingInterval": 300}}
"""Properties that its schema accepts."""


@contextmanager
def two_organisations(stack: StackUnderTest) -> Iterator[str]:
    """The DSN of a database with two organisations, a project each and one metric."""
    with postgres_database(stack) as dsn:
        with open_directory(dsn, SYSTEM) as directory:
            for slug in ("acme", "biotech"):
                directory.entities.create(EntityCreate(entity_type="organisation", key=slug, name=slug.title()))
                directory.entities.create(EntityCreate(entity_type="project", key=f"{slug}-one", organisation=slug))
            directory.conn.execute("INSERT INTO metrics (name, value_type) VALUES ('air.temperature', 'float')")
        yield dsn


@contextmanager
def rolled_back(dsn: str) -> Iterator[Directory]:
    """A directory of acme's administrator whose changes are rolled back afterwards."""
    with connection(dsn) as conn:
        yield Directory(conn, ACME)
        conn.rollback()


def as_actor(directory: Directory, actor: Actor) -> Directory:
    """The same transaction on behalf of somebody else."""
    return Directory(directory.conn, actor)


def device(key: str = "d1", **fields: Any) -> EntityCreate:
    """A device that is yet to be made."""
    return EntityCreate(entity_type="device", key=key, **fields)


def told(directory: Directory, event_type: str) -> list[dict[str, Any]]:
    """Data of the events of a type, the newest first."""
    return [event.data for event in directory.events.list(event_type=event_type).items]
