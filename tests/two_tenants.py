"""Two organisations that must know nothing of each other, acme and bread, and people who act in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from argon2 import PasswordHasher

from connectors.entities.actor import SYSTEM, Actor, Role
from connectors.entities.directory import Directory, open_directory
from connectors.entities.models import EntityCreate
from connectors.entities.passwords import Passwords
from connectors.entities.users import Users
from tests.one_server import postgres_database
from tests.stack_under_test import StackUnderTest

TENANTS = ("acme", "bread")

QUICK = Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
"""A hash that takes no time: how slow the real one is has tests of its own."""


@contextmanager
def two_tenants(stack: StackUnderTest) -> Iterator[str]:
    """The DSN of a database in which each of them has a project, two devices and a sensor, named after it."""
    with postgres_database(stack) as dsn:
        with psycopg.connect(dsn) as conn:
            conn.execute("INSERT INTO metrics (name, unit) VALUES ('room.temperature', 'celsius')")
        with open_directory(dsn, SYSTEM) as directory:
            for slug in TENANTS:
                furnish(directory, slug)
        yield dsn


def furnish(directory: Directory, slug: str) -> None:
    """Make an organisation and what is in it."""
    made = directory.entities
    made.create(EntityCreate(entity_type="organisation", key=slug, name=slug.title()))
    made.create(EntityCreate(entity_type="project", key=f"{slug}-project", name="Project", organisation=slug))
    for number in (1, 2):
        device = f"{slug}-{number}"
        made.create(
            EntityCreate(entity_type="device", key=device, name=device, organisation=slug, project=f"{slug}-project")
        )
    made.create(
        EntityCreate(entity_type="sensor", key="t", parent=f"{slug}-1", properties={"metric": "room.temperature"})
    )


def acting(slug: str, role: Role) -> Actor:
    """Somebody with a role in one of them."""
    return Actor(f"{role}@{slug}.example", role, slug)


def users_of(directory: Directory) -> Users:
    """The users of a directory, with passwords that are hashed at once."""
    return Users(directory, QUICK)
