"""Whether every stage has stored, published and committed all that its topic holds: the lag of the checkpoints."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from connectors.kafka.client import kafka_client_config
from streams.engine.checkpoint import NO_WATERMARK, from_commit
from tests.waiting import patient
from weir.settings import Settings


class Checkpoints:
    """The committed checkpoints of a world's three stages, against the ends of the topics that they read."""

    def __init__(self, settings: Settings) -> None:
        """Connects at the first question."""
        topics, groups = settings.topics, settings.groups
        self._stages = [
            _Stage(settings, groups.readings, topics.readings),
            _Stage(settings, groups.aggregates_1m, topics.aggregates_1m),
            _Stage(settings, groups.aggregates_1h, topics.aggregates_1h),
        ]

    def close(self) -> None:
        """Leave the broker."""
        for stage in self._stages:
            stage.consumer.close()

    def settled(self) -> Settled:
        """Whether no stage has anything left to do; asked in the direction of the data, so nothing slips by."""
        return Settled([stage.lag() for stage in self._stages])

    def closed_until(self) -> tuple[int, int]:
        """Event times (ms) up to which every partition has closed its minutes, and its hours."""
        readings, minutes, _ = self._stages
        return readings.closed_until(), minutes.closed_until()


def members(settings: Settings) -> str:
    """Who is in each group and what it holds, by the broker's word; for the words of a failure."""
    groups = [settings.groups.readings, settings.groups.aggregates_1m, settings.groups.aggregates_1h]
    admin = AdminClient(kafka_client_config(settings.kafka) | {"log_level": 0})
    answers = admin.describe_consumer_groups(groups, request_timeout=patient(10))
    return "".join(_members_of(group, answers[group]) for group in groups)


def _members_of(group: str, answer: Future[Any]) -> str:
    try:
        found = answer.result()
    except KafkaException as error:
        return f"\n--- group {group}: {error}"
    lines = [f"\n--- group {group} is {found.state.name}:"]
    for each in found.members:
        held = sorted((of.topic, of.partition) for of in each.assignment.topic_partitions)
        lines.append(f"{each.client_id} {each.member_id} holds {held}")
    return "\n".join(lines)


class Settled(NamedTuple):
    """True when nothing is left; ``lags`` are the stages', each by partition."""

    lags: list[dict[int, int]]

    def __bool__(self) -> bool:
        """Whether every partition of every stage is done."""
        return not any(left for lag in self.lags for left in lag.values())


class _Stage:
    """A consumer that names the stage's group and never joins it; its answers come in the calling thread."""

    def __init__(self, settings: Settings, group: str, topic: str) -> None:
        self._partitions = [TopicPartition(topic, each) for each in range(settings.kafka.partitions)]
        client = kafka_client_config(settings.kafka)
        self.consumer = Consumer(client | {"group.id": group, "enable.auto.commit": False, "log_level": 0})

    def lag(self) -> dict[int, int]:
        """Messages of each partition that are not yet committed as stored."""
        left = {}
        for found in self.consumer.committed(self._partitions, timeout=patient(10)):
            _, end = self.consumer.get_watermark_offsets(found, timeout=patient(10))
            checkpoint = from_commit(found.offset, found.metadata)
            left[found.partition] = end - (checkpoint.stored if checkpoint is not None else 0)
        return left

    def closed_until(self) -> int:
        """The lowest watermark (ms) of all partitions."""
        committed = self.consumer.committed(self._partitions, timeout=patient(10))
        found = [from_commit(each.offset, each.metadata) for each in committed]
        return min(each.watermark if each is not None else NO_WATERMARK for each in found)
