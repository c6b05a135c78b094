"""Weir's topics: which there are, how each is configured, and bringing a cluster to that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from connectors.kafka.cluster import Cluster
from weir.change import Change
from weir.errors import ConfigError
from weir.settings import Settings

DEAD_LETTER_BYTES = 2 * 1024 * 1024
"""A dead letter is a whole record, which may be of Kafka's largest size (1 MiB by default), and its headers."""

EVENT_BYTES = 8 * 1024 * 1024
"""An event may hold a mebibyte of JSON, whose text is up to six times as long when it is all control characters."""

_UNCOMPRESSED = {"compression.type": "uncompressed"}
"""For a topic that a Faust agent reads: its client has no codec for what librdkafka and others compress with."""

DAY_MS = 24 * 60 * 60 * 1000


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
        TopicPlan(names.alerts, 1, _compacted(days.topic_days, 1) | _UNCOMPRESSED),
        TopicPlan(names.events, 1, kept | {"max.message.bytes": str(EVENT_BYTES)}),
        TopicPlan(names.commands, 1, _newest_of_each_key(days.topic_days) | {"max.message.bytes": str(EVENT_BYTES)}),
        TopicPlan(names.deadletters, 1, kept | {"max.message.bytes": str(DEAD_LETTER_BYTES)}),
        TopicPlan(names.replayed, 1, kept),  # as long as the letters: a receipt is younger than its letter
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


def _newest_of_each_key(tombstone_days: int) -> dict[str, str]:
    """The newest record of each key for ever, and tombstones for so long after: a consumer may be away that long."""
    return {
        "message.timestamp.type": "LogAppendTime",
        "cleanup.policy": "compact",
        "max.compaction.lag.ms": str(DAY_MS),
        "delete.retention.ms": str(tombstone_days * DAY_MS),
    }


def apply_topics(settings: Settings, dry_run: bool = False) -> list[Change]:
    """Create the topics that are missing and set the configuration that differs; a dry run only says so. Blocks.

    The partition count of a topic that exists is left as it is and reported as ``differs``: more partitions would send
    a device's next readings to another partition than its last. New data topics get the count of the existing ones.

    Raises :class:`ConfigError` when the data topics that exist differ in partitions, :class:`TransientError` when the
    brokers are away.
    """
    cluster = Cluster(settings.kafka)
    plans = topic_plans(settings)
    existing = cluster.partition_counts([plan.name for plan in plans])
    shared = _shared_partitions(settings, existing)
    configs = cluster.configs(list(existing))
    changes = []
    for plan in plans:
        if plan.name in existing:
            changes.append(_align(cluster, plan, existing[plan.name], configs[plan.name], dry_run))
            continue
        is_data = plan.name in _data_topics(settings)
        partitions = shared if shared and is_data else plan.partitions
        if not dry_run:
            cluster.create(plan.name, partitions, plan.config)
        changes.append(Change("kafka", plan.name, "create", f"topic, {partitions} partition{'s'[: partitions > 1]}"))
    return changes


def check_topics(settings: Settings) -> int:
    """The number of partitions that readings and both aggregate topics share.

    A stream keeps a partition's rows in the partition of the same number downstream, so the counts must agree.
    Raises :class:`ConfigError` when a topic is missing, the counts differ, or a topic takes its times from devices;
    :class:`TransientError` when the brokers are away.
    """
    cluster = Cluster(settings.kafka)
    names = [plan.name for plan in topic_plans(settings)]
    existing = cluster.partition_counts(names)
    missing = [name for name in names if name not in existing]
    if missing:
        raise ConfigError(f"Topic {missing[0]} does not exist; run `weir migrate`.")
    for name, config in cluster.configs(names).items():
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


def _align(cluster: Cluster, plan: TopicPlan, partitions: int, config: Mapping[str, str], dry_run: bool) -> Change:
    drift = {name: value for name, value in plan.config.items() if config.get(name) != value}
    if drift and not dry_run:
        cluster.alter(plan.name, drift)
    altered = ", ".join(f"{name} {config.get(name)} → {value}" for name, value in drift.items())
    if partitions != plan.partitions:
        told = f"has {partitions} partitions, the settings say {plan.partitions}: left as it is"
        return Change("kafka", plan.name, "differs", f"{told}; {altered}" if altered else told)
    return Change("kafka", plan.name, "alter" if drift else "unchanged", altered)
