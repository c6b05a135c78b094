"""What must fit before a worker consumes anything: topics, schemas, tables, metadata."""

from __future__ import annotations

from collections.abc import Callable

from connectors.kafka.topics import check_topics
from connectors.postgres.metadata import metadata_version
from connectors.registry import Registry, value_subject
from sinks.clickhouse.client import connect, translating
from sinks.clickhouse.cluster import check_form
from streams.engine.retrying import patiently
from weir.errors import ConfigError
from weir.settings import Settings


def check(settings: Settings) -> None:
    """Wait until all servers answer, at most as long as a stream would.

    Raises :class:`~weir.errors.ConfigError` for what waiting will not mend, and
    :class:`~weir.errors.TransientError` when a server stayed away.
    """
    checks: list[Callable[[Settings], object]] = [check_topics, _check_schemas, _check_tables, _check_metadata]
    for each in checks:
        patiently(each)(settings)


def _check_schemas(settings: Settings) -> None:
    topics = settings.topics
    with Registry(settings.registry) as registry:
        for topic in (topics.aggregates_1m, topics.aggregates_1h, topics.alerts, topics.events, topics.commands):
            if registry.latest(value_subject(topic)) is None:
                raise ConfigError(f"The registry has no schema for {topic}; run `weir migrate`.")


def _check_tables(settings: Settings) -> None:
    client = connect(settings.clickhouse)
    try:
        with translating(settings.clickhouse):
            for table in ("raw_readings", "agg_1m", "agg_1h", "alerts", "events", "dead_letters"):
                client.command(f"DESCRIBE TABLE {table}")
            check_form(client, settings.clickhouse)
    finally:
        client.close()


def _check_metadata(settings: Settings) -> None:
    metadata_version(settings.postgres.dsn.get_secret_value())
