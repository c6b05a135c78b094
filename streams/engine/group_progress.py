"""How far consumer groups have come, read from outside: their checkpoints, their watermarks, the ends of the topics.

Asked through consumers that never join their group, because their answers come in the calling thread: an admin client
that is closed just after an answer now and then takes the process with it (segmentation fault, confluent-kafka 2.16).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_random_exponential

from streams.engine.checkpoint import NO_WATERMARK, Checkpoint, from_commit
from weir.errors import TransientError

TIMEOUT_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.25

_briefly = retry(
    retry=retry_if_exception_type(TransientError),
    wait=wait_random_exponential(multiplier=0.1, max=1.0),
    stop=stop_after_delay(5.0),
    reraise=True,
)
"""For a coordinator that is just moving or loading; brokers that are away take longer than this to say so once."""


class GroupProgress:
    """Asks the brokers; every method blocks and raises :class:`~weir.errors.TransientError` when they are away.

    Used from one thread at a time. Close it.
    """

    def __init__(self, client: Mapping[str, str | int | float | bool]) -> None:
        """Connect with librdkafka's settings ``client`` at the first question."""
        self._client = {**client, "enable.auto.commit": False, "log_level": 0}
        self._consumers: dict[str, Consumer] = {}

    def close(self) -> None:
        """Leave the brokers."""
        while self._consumers:
            self._consumers.popitem()[1].close()

    @_briefly
    def checkpoints(self, group: str, topic: str) -> dict[int, Checkpoint]:
        """The committed checkpoint of each partition that has one."""
        try:
            consumer = self._consumer(group)
            answer = consumer.committed(_partitions(consumer, topic), timeout=TIMEOUT_SECONDS)
        except KafkaException as error:
            raise _unanswered(error, f"The checkpoints of {group}") from error
        for found in answer:
            if found.error is not None:
                raise _unanswered(KafkaException(found.error), f"The checkpoint of {group} for {topic}")
        read = {found.partition: from_commit(found.offset, found.metadata) for found in answer}
        return {number: checkpoint for number, checkpoint in read.items() if checkpoint is not None}

    def closed(self, group: str, topic: str) -> int | None:
        """Event time (ms) up to which ``group`` has closed and published the windows of every partition.

        A partition without a checkpoint has never had a message, so it holds no window back. None when no partition
        has one, or one of them has closed nothing yet.
        """
        return closed_by_all(self.checkpoints(group, topic))

    def await_stored(self, group: str, topic: str, patience_seconds: float, most_seconds: float = math.inf) -> bool:
        """Wait until ``group`` has stored all that is on ``topic`` now, windows and corrections published.

        Gives up, with False, when nothing was stored for ``patience_seconds``, or after ``most_seconds``.
        """
        ends = self.ends(group, topic)
        least = self._left(group, topic, ends)
        began = moved = time.monotonic()
        while least:
            time.sleep(POLL_SECONDS)
            left, now = self._left(group, topic, ends), time.monotonic()
            if left < least:
                least, moved = left, now
            if least and (now - moved > patience_seconds or now - began > most_seconds):
                return False
        return True

    def _left(self, group: str, topic: str, ends: Mapping[int, int]) -> int:
        """Messages below ``ends`` that are not stored yet."""
        stored = {number: found.stored for number, found in self.checkpoints(group, topic).items()}
        return sum(max(0, end - stored.get(number, 0)) for number, end in ends.items())

    @_briefly
    def ends(self, group: str, topic: str) -> dict[int, int]:
        """The next offset of each partition that has any message left."""
        consumer, ends = self._consumer(group), {}
        try:
            for partition in _partitions(consumer, topic):
                low, high = consumer.get_watermark_offsets(partition, timeout=TIMEOUT_SECONDS)
                if high > low:
                    ends[partition.partition] = high
        except KafkaException as error:
            raise _unanswered(error, f"The end of {topic}") from error
        return ends

    def _consumer(self, group: str) -> Consumer:
        if group not in self._consumers:
            self._consumers[group] = Consumer({**self._client, "group.id": group})
        return self._consumers[group]


def closed_by_all(checkpoints: Mapping[int, Checkpoint]) -> int | None:
    """The smallest watermark (ms); None when there is none, or a partition has closed nothing yet."""
    least = min((each.watermark for each in checkpoints.values()), default=NO_WATERMARK)
    return None if least == NO_WATERMARK else least


def _partitions(consumer: Consumer, topic: str) -> list[TopicPartition]:
    found = consumer.list_topics(topic, timeout=TIMEOUT_SECONDS).topics[topic]
    return [TopicPartition(topic, number) for number in sorted(found.partitions)]


def _unanswered(error: KafkaException, what: str) -> TransientError:
    return TransientError(f"{what} cannot be read: {error.args[0].str()}; see that Kafka runs (`weir status`).")
