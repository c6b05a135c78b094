"""Dead letters: which messages were refused, and why."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from connectors.kafka.client import kafka_client_config
from weir.errors import TransientError
from weir.settings import Settings
from weir.verify.compare import Difference

Origin = tuple[int, int]
"""Partition and offset of a message in the readings topic."""

TIMEOUT_SECONDS: Final = 10.0


class BadRecord(NamedTuple):
    """What was sent to be refused, and the reason to be given."""

    kind: str
    reason: str


def compare_refusals(
    bad: Mapping[Origin, BadRecord], good: Iterable[tuple[Origin, str]], refused: Mapping[Origin, str]
) -> list[Difference]:
    """Every bad record must be among the dead letters with its reason, and no good one.

    ``good`` names the reading at each origin; ``refused`` has the reasons of the dead letters.
    """
    found = []
    for origin, record in bad.items():
        reason = refused.get(origin)
        where = f"{record.kind}, partition {origin[0]} offset {origin[1]}"
        if reason is None:
            found.append(Difference("deadletters", "lost", where, "reason", record.reason))
        elif reason != record.reason:
            found.append(Difference("deadletters", "different", where, "reason", record.reason, reason))
    for origin, name in good:
        if origin in refused:
            where = f"{name}, partition {origin[0]} offset {origin[1]}"
            found.append(Difference("deadletters", "never sent", where, "reason", "", refused[origin]))
    return found


class Refusals:
    """Reads the dead-letter topic; ``reasons`` has the reason of each origin in the readings topic. Close it."""

    def __init__(self, settings: Settings, since_ms: int) -> None:
        """Begin with letters written since ``since_ms``. Raises :class:`TransientError` when Kafka is away."""
        self.reasons: dict[Origin, str] = {}
        self._topic = settings.topics.deadletters
        self._source = settings.topics.readings.encode()
        # librdkafka wants a group; nothing is ever committed to it
        group = {"group.id": f"{self._topic}.verify-{uuid.uuid4().hex}", "enable.auto.commit": False}
        client = {**kafka_client_config(settings.kafka), **group, "log_level": 0, "fetch.wait.max.ms": 50}
        self._consumer = Consumer({**client, "auto.offset.reset": "earliest"})
        try:
            numbers = self._consumer.list_topics(self._topic, timeout=TIMEOUT_SECONDS).topics[self._topic].partitions
            wanted = [TopicPartition(self._topic, number, since_ms) for number in numbers]
            self._next = {
                found.partition: found.offset for found in self._consumer.offsets_for_times(wanted, TIMEOUT_SECONDS)
            }
            ends = self._ends()
        except KafkaException as error:
            raise self._unanswered(error) from error
        self._next = {number: at if at >= 0 else ends[number] for number, at in self._next.items()}
        self._consumer.assign([TopicPartition(self._topic, number, at) for number, at in self._next.items()])

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()

    def read(self) -> Mapping[Origin, str]:
        """Read on up to the present end; blocks until it is reached. Raises :class:`TransientError`."""
        try:
            ends = self._ends()
            while any(self._next[number] < end for number, end in ends.items()):
                messages = self._consumer.consume(5_000, timeout=TIMEOUT_SECONDS)
                if not messages:
                    raise TransientError(f"{self._topic} cannot be read to its end; see `weir status`.")
                for message in messages:
                    self._enter(message)
        except KafkaException as error:
            raise self._unanswered(error) from error
        return self.reasons

    def _enter(self, message: Message) -> None:
        if (error := message.error()) is not None:
            raise TransientError(f"{self._topic} cannot be read: {error.str()}; see `weir status`.")
        self._next[message.partition() or 0] = (message.offset() or 0) + 1
        headers = {name: value for name, value in dict(message.headers() or []).items() if isinstance(value, bytes)}
        if headers.get("topic") == self._source:
            self.reasons[int(headers["partition"]), int(headers["offset"])] = headers["reason"].decode()

    def _ends(self) -> dict[int, int]:
        return {
            number: self._consumer.get_watermark_offsets(TopicPartition(self._topic, number), timeout=TIMEOUT_SECONDS)[
                1
            ]
            for number in self._next
        }

    def _unanswered(self, error: KafkaException) -> TransientError:
        return TransientError(f"{self._topic} cannot be read: {error.args[0].str()}; see `weir status`.")
