"""A fresh place on one server, for tests that need no more than that: a database, or the subjects of a namespace."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clickhouse_connect.driver import Client

from connectors.contracts import apply_contracts
from connectors.postgres import migrate as postgres
from connectors.registry import Registry
from sinks.clickhouse import ddl
from sinks.clickhouse.client import connect
from tests.stack_under_test import StackUnderTest
from tests.world import _drop_clickhouse, _drop_postgres, _drop_subjects, _settings
from weir.settings import Settings


def nowhere(stack: StackUnderTest) -> Settings:
    """Settings whose databases, topics and subjects do not exist."""
    return _settings(stack.settings, Path(tempfile.gettempdir()), {})


@contextmanager
def postgres_database(stack: StackUnderTest) -> Iterator[str]:
    """The DSN of a fresh, migrated metadata database."""
    settings = nowhere(stack)
    dsn = settings.postgres.dsn.get_secret_value()
    try:
        postgres.apply(dsn)
        yield dsn
    finally:
        _drop_postgres(settings)


@contextmanager
def clickhouse_database(stack: StackUnderTest) -> Iterator[tuple[Client, Settings]]:
    """A client of a fresh ClickHouse database with all tables and views, and its settings."""
    settings = nowhere(stack)
    maker = connect(settings.clickhouse, database=False)
    try:
        ddl.apply(maker, settings)
        client = connect(settings.clickhouse)
        try:
            yield client, settings
        finally:
            client.close()
    finally:
        maker.close()
        _drop_clickhouse(settings)


@contextmanager
def registered_contracts(stack: StackUnderTest) -> Iterator[tuple[Registry, Settings]]:
    """A registry in which the contracts of a fresh namespace are registered, and its settings."""
    settings = nowhere(stack)
    try:
        with Registry(settings.registry) as registry:
            apply_contracts(registry, settings)
            yield registry, settings
    finally:
        _drop_subjects(settings)
