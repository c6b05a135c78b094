"""Requests of an administrator to the Kafka brokers, each with an answer or one sentence of why not."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigEntry, ConfigResource, NewTopic, ResourceType  # type: ignore[attr-defined]
from confluent_kafka.admin import AlterConfigOpType as Op  # type: ignore[attr-defined]  # it has no __all__

from connectors.kafka.client import kafka_client_config
from weir.errors import ConfigError, TransientError, WeirError
from weir.server_errors import kafka_passes
from weir.settings import KafkaSettings

TIMEOUT_SECONDS = 5.0

Answer = TypeVar("Answer")


class Cluster:
    """The brokers of ``settings``. Every method blocks for at most a few seconds.

    Each raises :class:`TransientError` when the brokers are away or busy and :class:`ConfigError` when they refuse.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        """Connects on the first request."""
        self._settings = settings
        # librdkafka else writes a line to stderr for every refused connection, beside our one sentence
        self._admin = AdminClient(kafka_client_config(settings) | {"log_level": 0})

    def partition_counts(self, names: list[str]) -> dict[str, int]:
        """Partitions of those of ``names`` that exist."""
        described = self._admin.describe_topics(TopicCollection(names), request_timeout=TIMEOUT_SECONDS)
        counts = {}
        for name, future in described.items():
            topic = self._answer(future.result, "describe topics", allowed=KafkaError.UNKNOWN_TOPIC_OR_PART)
            if topic is not None:
                counts[name] = len(topic.partitions)
        return counts

    def configs(self, names: list[str]) -> dict[str, dict[str, str]]:
        """All settings of each topic, defaults included, as text; every topic must exist."""
        return self._configs(ResourceType.TOPIC, names)

    def group_configs(self, names: list[str]) -> dict[str, dict[str, str]]:
        """All settings of each consumer group, defaults included, as text; a group need not exist yet."""
        return self._configs(ResourceType.GROUP, names)

    def create(self, name: str, partitions: int, config: Mapping[str, str]) -> None:
        """Create a topic and wait until the brokers know it; one that appeared meanwhile is fine."""
        copies = self._settings.replication_factor
        topic = NewTopic(name, num_partitions=partitions, replication_factor=copies, config=dict(config))
        futures = self._admin.create_topics([topic], operation_timeout=TIMEOUT_SECONDS, request_timeout=TIMEOUT_SECONDS)
        self._answer(futures[name].result, f"create topic {name}", allowed=KafkaError.TOPIC_ALREADY_EXISTS)
        self._await(lambda: name in self.partition_counts([name]), f"show topic {name} after it was created")

    def alter(self, name: str, config: Mapping[str, str]) -> None:
        """Set some settings of a topic and leave the others."""
        self._alter(ResourceType.TOPIC, name, config)
        self._await(lambda: _holds(self.configs([name])[name], config), f"show the new settings of topic {name}")

    def alter_group(self, name: str, config: Mapping[str, str]) -> None:
        """Set some settings of a consumer group and leave the others."""
        self._alter(ResourceType.GROUP, name, config)
        self._await(lambda: _holds(self.group_configs([name])[name], config), f"show the new settings of group {name}")

    def _configs(self, kind: ResourceType, names: list[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        resources = [ConfigResource(kind, name) for name in names]
        found = {}
        for resource, future in self._admin.describe_configs(resources, request_timeout=TIMEOUT_SECONDS).items():
            entries: dict[str, Any] = self._answer(future.result, f"read the settings of {resource.name}") or {}
            found[resource.name] = {name: entry.value for name, entry in entries.items()}
        return found

    def _alter(self, kind: ResourceType, name: str, config: Mapping[str, str]) -> None:
        entries = [ConfigEntry(key, value, incremental_operation=Op.SET) for key, value in sorted(config.items())]
        resource = ConfigResource(kind, name, incremental_configs=entries)
        futures = self._admin.incremental_alter_configs([resource], request_timeout=TIMEOUT_SECONDS)
        self._answer(futures[resource].result, f"configure {name}")

    def _await(self, done: Callable[[], bool], doing: str) -> None:
        """Ask until ``done``: the brokers acknowledge a change before all of them show it."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not done():
            if time.monotonic() > deadline:
                raise TransientError(f"Kafka at {self._settings.bootstrap_servers} did not {doing}; try again.")
            time.sleep(0.05)

    def _answer(self, ask: Callable[[], Answer], doing: str, allowed: int | None = None) -> Answer | None:
        """What the brokers answer; None when they answer with the error ``allowed``."""
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() == allowed:
                return None
            raise self._translated(error.args[0], doing) from error

    def _translated(self, error: KafkaError, doing: str) -> WeirError:
        place, words = self._settings.bootstrap_servers, error.str().rstrip(".")
        if kafka_passes(error.code(), error.retriable()):
            return TransientError(f"Kafka at {place} could not {doing}: {words}; see that it runs (`weir status`).")
        return ConfigError(f"Kafka at {place} refused to {doing}: {words}.")


def _holds(found: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(found.get(name) == value for name, value in wanted.items())
