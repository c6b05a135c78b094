"""One transaction on the metadata, on behalf of one actor::

    with open_directory(dsn, actor) as directory:
        acme = directory.entities.create(EntityCreate(entity_type="organisation", key="acme", name="Acme"))
        directory.users.create(UserCreate(email="ada@acme.example", ...))

Everything in the block happens, with its events, or nothing does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import DictRow, dict_row

from connectors.entities.actor import Actor
from connectors.entities.errors import NotFoundError
from connectors.entities.refusals import refused
from connectors.postgres.connection import connection


class Directory:
    """The parts of the service on one connection; each is made when it is first asked for."""

    def __init__(self, conn: psycopg.Connection, actor: Actor) -> None:
        """Act for ``actor`` in the transaction of ``conn``."""
        self.conn = conn
        self.actor = actor

    def rows(self, query: LiteralString, parameters: dict[str, Any] | None = None) -> list[DictRow]:
        """Rows of a query as dictionaries; what the database refuses becomes an error of the service."""
        with refused(), self.conn.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, parameters).fetchall()

    def lock(self) -> None:
        """Wait until nobody else writes: what is read from here on stays as it is until this transaction ends.

        All writers take the row of the metadata version, so that they wait for each other in one place and cannot lock
        each other out.
        """
        self.conn.execute("SELECT version FROM metadata_version FOR NO KEY UPDATE")

    def write(self, query: LiteralString, parameters: dict[str, Any] | None = None) -> list[DictRow]:
        """The same as :meth:`rows` for a statement that changes metadata and returns rows."""
        self.lock()  # each time, because the lock goes with a savepoint that is rolled back
        return self.rows(query, parameters)

    def on_behalf_of(self, actor: Actor) -> Directory:
        """The same transaction for another actor, such as a user whose password has just been checked."""
        return Directory(self.conn, actor)

    def organisation_id(self, slug: str) -> UUID | None:
        """Entity id of an organisation, None when there is none or the actor does not see it."""
        found = self.rows(
            "SELECT id FROM entities WHERE entity_type = 'organisation' AND kind = 'organisation' AND key = %(key)s",
            {"key": slug},
        )
        return found[0]["id"] if found and self.actor.sees(slug) else None

    def bound_to(self) -> UUID | None:
        """Entity id of the one organisation whose rows the actor sees; None when it sees all of them."""
        slug = self.actor.organisation
        tenant = self.organisation_id(slug) if slug is not None else None
        if tenant is None and slug is not None:
            raise NotFoundError(f"There is no organisation {slug!r}.")
        return tenant

    @cached_property
    def entities(self) -> Entities:
        """Everything with an identity."""
        return Entities(self)

    @cached_property
    def relationships(self) -> Relationships:
        """How entities are connected, and when."""
        return Relationships(self)

    @cached_property
    def schemas(self) -> Schemas:
        """Definitions of entity types."""
        return Schemas(self)

    @cached_property
    def events(self) -> Events:
        """What happened."""
        return Events(self)

    @cached_property
    def users(self) -> Users:
        """Who may log in, and as what."""
        return Users(self)

    @cached_property
    def keys(self) -> Keys:
        """API keys of organisations and devices."""
        return Keys(self)

    @cached_property
    def processes(self) -> Processes:
        """Workflows, and each time that they are done."""
        return Processes(self)

    @cached_property
    def metrics(self) -> Metrics:
        """The registry of what can be measured."""
        return Metrics(self)

    @cached_property
    def commands(self) -> Commands:
        """What devices are told to do."""
        return Commands(self)


@contextmanager
def open_directory(dsn: str, actor: Actor) -> Iterator[Directory]:
    """Connect, begin, hand over, and commit; an exception in the block rolls everything back.

    Blocks. Raises :class:`~weir.errors.TransientError` when Postgres is away, :class:`~weir.errors.ConfigError` when
    its tables are missing.
    """
    with connection(dsn) as conn:
        yield Directory(conn, actor)


from connectors.entities.commands import Commands  # noqa: E402  # the parts know the directory they belong to
from connectors.entities.entities import Entities  # noqa: E402
from connectors.entities.events import Events  # noqa: E402
from connectors.entities.keys import Keys  # noqa: E402
from connectors.entities.metrics import Metrics  # noqa: E402
from connectors.entities.processes import Processes  # noqa: E402
from connectors.entities.relationships import Relationships  # noqa: E402
from connectors.entities.schemas import Schemas  # noqa: E402
from connectors.entities.users import Users  # noqa: E402
