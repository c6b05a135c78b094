"""Weir's topics: which there are, how each is configured, and bringing a cluster to that."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigEntry, ConfigResource, NewTopic, ResourceType  # type: ignore[attr-defined]
from confluent_kafka.admin import AlterConfigOpType as Op  # type: ignore[attr-defined]  # it has no __all__

from connectors.kafka.client import kafka_client_config
from weir.change import Change
from weir.errors import ConfigError, TransientError, WeirError
from weir.server_errors import kafka_passes
from weir.settings import KafkaSettings, Settings

TIMEOUT_SECONDS = 10.0
DAY_MS = 24 * 60 * 60 * 1000

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """How one topic should be; ``config`` holds only what Weir sets, by Kafka's names, as text."""

    name: str
    partitions: int
    config: Mapping[str, str]


def topic_plans(settings: Settings) -> list[TopicPlan]:
    """Every topic of the namespace; the first three share one partition count, see :func:`check_topics`."""
    names, days, partitions = settings.topics, settings.retention, settings.kafka.partitions
    kept = _deleted_after(days.topic_days)
    return [
        TopicPlan(names.readings, partitions, kept),
        TopicPlan(names.aggregates_1m, partitions, _compacted(days.agg_1m_days, days.topic_days)),
        TopicPlan(names.aggregates_1h, partitions, _compacted(days.agg_1h_days, days.topic_days)),
        TopicPlan(names.alerts, 1, _compacted(days.topic_days, 1)),
        TopicPlan(names.deadletters, 1, kept),
    ]


def _deleted_after(days: int) -> dict[str, str]:
    return {
        # a device's clock must not decide when the broker drops a segment, nor close other devices' windows
        "message.timestamp.type": "LogAppendTime",
        "cleanup.policy": "delete",
        "retention.ms": str(days * DAY_MS),
    }


def _compacted(days: int, whole_days: int) -> dict[str, str]:
    """Keyed topics: every row for ``whole_days``, then the newest of each key, nothing after ``days``.

    The lag keeps the log whole for as long as readings are: a worker that replays open windows, and a consumer that
    was away, still find every window, although all windows of a series share one key.
    """
    return _deleted_after(days) | {
        "cleanup.policy": "compact,delete",
        "min.compaction.lag.ms": str(whole_days * DAY_MS),
    }


def apply_topics(settings: Settings, dry_run: bool = False) -> list[Change]:
    """Create the topics that are missing and set the configuration that differs; a dry run only says so. Blocks.

    The partition count of a topic that exists is left as it is and reported as ``differs``: more partitions would send
    a device's next readings to another partition than its last. New data topics get the count of the existing ones.

    Raises :class:`ConfigError` when the data topics that exist differ in partitions, :class:`TransientError` when the
    brokers are away.
    """
    admin = _admin(settings.kafka)
    plans = topic_plans(settings)
    existing = _partition_counts(admin, [plan.name for plan in plans])
    shared = _shared_partitions(settings, existing)
    configs = _configs(admin, list(existing))
    changes = []
    for plan in plans:
        if plan.name in existing:
            changes.append(_align(admin, plan, existing[plan.name], configs[plan.name], dry_run))
            continue
        is_data = plan.name in _data_topics(settings)
        partitions = shared if shared and is_data else plan.partitions
        if not dry_run:
            _create(admin, plan, partitions, settings.kafka.replication_factor)
        changes.append(Change("kafka", plan.name, "create", f"topic, {partitions} partition{'s'[: partitions > 1]}"))
    return changes


def check_topics(settings: Settings) -> int:
    """The number of partitions that readings and both aggregate topics share.

    A stream keeps a partition's rows in the partition of the same number downstream, so the counts must agree.
    Raises :class:`ConfigError` when a topic is missing, the counts differ, or a topic takes its times from devices;
    :class:`TransientError` when the brokers are away.
    """
    admin = _admin(settings.kafka)
    names = [plan.name for plan in topic_plans(settings)]
    existing = _partition_counts(admin, names)
    missing = [name for name in names if name not in existing]
    if missing:
        raise ConfigError(f"Topic {missing[0]} does not exist; run `weir migrate`.")
    for name, config in _configs(admin, names).items():
        if config["message.timestamp.type"] != "LogAppendTime":
            raise ConfigError(f"Topic {name} does not use LogAppendTime; run `weir migrate`.")
    return _shared_partitions(settings, existing) or 0


def _data_topics(settings: Settings) -> tuple[str, str, str]:
    return settings.topics.readings, settings.topics.aggregates_1m, settings.topics.aggregates_1h


def _shared_partitions(settings: Settings, existing: Mapping[str, int]) -> int | None:
    counts = {name: existing[name] for name in _data_topics(settings) if name in existing}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise ConfigError(f"The data topics must have one number of partitions, but {told}; recreate the odd one.")
    return next(iter(counts.values()), None)


def _align(admin: AdminClient, plan: TopicPlan, partitions: int, config: Mapping[str, str], dry_run: bool) -> Change:
    drift = {name: value for name, value in plan.config.items() if config.get(name) != value}
    if drift and not dry_run:
        _alter(admin, plan.name, drift)
    altered = ", ".join(f"{name} {config.get(name)} → {value}" for name, value in drift.items())
    if partitions != plan.partitions:
        told = f"has {partitions} partitions, the settings say {plan.partitions}: left as it is"
        return Change("kafka", plan.name, "differs", f"{told}; {altered}" if altered else told)
    return Change("kafka", plan.name, "alter" if drift else "unchanged", altered)


def _create(admin: AdminClient, plan: TopicPlan, partitions: int, copies: int) -> None:
    topic = NewTopic(plan.name, num_partitions=partitions, replication_factor=copies, config=dict(plan.config))
    created = admin.create_topics([topic], operation_timeout=TIMEOUT_SECONDS, request_timeout=TIMEOUT_SECONDS)
    try:
        created[plan.name].result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise _translated(error.args[0], f"create topic {plan.name}") from error


def _alter(admin: AdminClient, name: str, drift: Mapping[str, str]) -> None:
    entries = [ConfigEntry(key, value, incremental_operation=Op.SET) for key, value in sorted(drift.items())]
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
    answer = admin.incremental_alter_configs([resource], request_timeout=TIMEOUT_SECONDS)[resource]
    _answer(answer.result, f"configure topic {name}")


def _partition_counts(admin: AdminClient, names: list[str]) -> dict[str, int]:
    """Partitions of those of ``names`` that exist."""
    described = admin.describe_topics(TopicCollection(names), request_timeout=TIMEOUT_SECONDS)
    counts = {}
    for name, future in described.items():
        try:
            counts[name] = len(future.result().partitions)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise _translated(error.args[0], "describe topics") from error
    return counts


def _configs(admin: AdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    answers = admin.describe_configs(resources, request_timeout=TIMEOUT_SECONDS)
    return {
        resource.name: {entry.name: entry.value for entry in _result(future, "read topic settings").values()}
        for resource, future in answers.items()
    }


def _result(future: Future[Answer], doing: str) -> Answer:
    return _answer(future.result, doing)


def _answer(ask: Callable[[], Answer], doing: str) -> Answer:
    try:
        return ask()
    except KafkaException as error:
        raise _translated(error.args[0], doing) from error


def _admin(settings: KafkaSettings) -> AdminClient:
    quiet = logging.getLogger("weir.kafka.admin")  # librdkafka else writes every refused connection to stderr
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False
    return AdminClient(kafka_client_config(settings), logger=quiet)


def _translated(error: KafkaError, doing: str) -> WeirError:
    if kafka_passes(error.code(), error.retriable()):
        return TransientError(f"Kafka could not {doing}: {error.str()}; see that the brokers run (`weir status`).")
    return ConfigError(f"Kafka refused to {doing}: {error.str()}.")
