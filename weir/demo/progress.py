"""How far the stages are, as their own checkpoints in Kafka say: what is stored, and which windows are closed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from connectors.kafka.client import kafka_client_config
from streams.engine.checkpoint import NO_WATERMARK, Checkpoint, from_commit
from streams.telemetry.pipeline import AGGREGATES_1H, AGGREGATES_1M, READINGS
from weir.errors import TransientError
from weir.settings import Settings

TIMEOUT_SECONDS = 10.0
POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Closed:
    """Event time (ms) up to which windows are closed, by partition; a partition that is missing closed none."""

    minutes: Mapping[int, int]
    hours: Mapping[int, int]


class StageProgress:
    """Reads the checkpoints of the three stages."""

    def __init__(self, settings: Settings) -> None:
        """Connects at the first question."""
        client = {**kafka_client_config(settings.kafka), "log_level": 0}
        self._settings = settings
        self._admin = AdminClient(client)
        self._consumer = Consumer({**client, "group.id": f"{settings.namespace}.demo", "enable.auto.commit": False})

    def close(self) -> None:
        """Close connections."""
        self._consumer.close()

    def closed(self) -> Closed:
        """Up to where windows are closed and published now."""
        topics = self._settings.topics
        minutes = self._checkpoints(READINGS, topics.readings)
        hours = self._checkpoints(AGGREGATES_1M, topics.aggregates_1m)
        return Closed(_watermarks(minutes), _watermarks(hours))

    def await_stored(self, ends: Mapping[int, int], seconds: float) -> bool:
        """Wait until all stages have stored what lies below ``ends`` in the readings topic, and what came of it."""
        deadline = time.monotonic() + seconds
        topics = self._settings.topics
        chain: tuple[tuple[str, str, Callable[[], Mapping[int, int]]], ...] = (
            (READINGS, topics.readings, lambda: ends),
            (AGGREGATES_1M, topics.aggregates_1m, lambda: self._ends(topics.aggregates_1m)),
            (AGGREGATES_1H, topics.aggregates_1h, lambda: self._ends(topics.aggregates_1h)),
        )
        return all(self._await_stage(stage, topic, wanted(), deadline) for stage, topic, wanted in chain)

    def await_closed(
        self, minutes: Mapping[int, int], hours: Mapping[int, int], deadline: float, tick: Callable[[], bool]
    ) -> bool:
        """Wait until windows are closed up to these event times (ms) by partition, at most till ``deadline``.

        ``deadline`` is monotonic. ``tick`` is called in between; when it returns True the wait ends with False.
        """
        while True:
            closed = self.closed()
            if _reached(closed.minutes, minutes) and _reached(closed.hours, hours):
                return True
            if tick() or time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)

    def _await_stage(self, stage: str, topic: str, ends: Mapping[int, int], deadline: float) -> bool:
        while True:
            stored = {number: found.stored for number, found in self._checkpoints(stage, topic).items()}
            if _reached(stored, ends):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)

    def _checkpoints(self, stage: str, topic: str) -> dict[int, Checkpoint]:
        group: str = getattr(self._settings.groups, stage)
        try:
            wanted = [TopicPartition(topic, number) for number in self._partitions(topic)]
            request = [ConsumerGroupTopicPartitions(group, wanted)]
            answer = self._admin.list_consumer_group_offsets(request, request_timeout=TIMEOUT_SECONDS)[group].result()
        except KafkaException as error:
            raise _unanswered(error, f"The checkpoints of {group}") from error
        read = {found.partition: from_commit(found.offset, found.metadata) for found in answer.topic_partitions}
        return {number: checkpoint for number, checkpoint in read.items() if checkpoint is not None}

    def _ends(self, topic: str) -> dict[int, int]:
        """The end of each partition that holds anything."""
        ends = {}
        try:
            for number in self._partitions(topic):
                _, high = self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=TIMEOUT_SECONDS)
                ends[number] = high
        except KafkaException as error:
            raise _unanswered(error, f"The end of {topic}") from error
        return {number: high for number, high in ends.items() if high > 0}

    def _partitions(self, topic: str) -> list[int]:
        return list(self._consumer.list_topics(topic, timeout=TIMEOUT_SECONDS).topics[topic].partitions)


def _watermarks(checkpoints: Mapping[int, Checkpoint]) -> dict[int, int]:
    return {number: each.watermark for number, each in checkpoints.items() if each.watermark != NO_WATERMARK}


def _reached(found: Mapping[int, int], wanted: Mapping[int, int]) -> bool:
    return all(found.get(number, NO_WATERMARK) >= least for number, least in wanted.items())


def _unanswered(error: KafkaException, what: str) -> TransientError:
    return TransientError(f"{what} cannot be read: {error.args[0].str()}; see `weir status`.")
