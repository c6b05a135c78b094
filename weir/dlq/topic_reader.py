"""Reads a stretch of a topic from outside every consumer group: nothing is committed, nobody else notices."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Final, NamedTuple, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from connectors.kafka.client import kafka_client_config
from weir.errors import ConfigError, TransientError, WeirError
from weir.server_errors import kafka_passes
from weir.settings import Settings

TIMEOUT_SECONDS: Final = 5.0
STALLED_SECONDS: Final = 20.0
"""So long nothing comes although something is there: longer than a broker takes to hand a partition to another."""

FETCHED: Final = 500

POLL_SECONDS: Final = 0.05
"""``consume()`` waits that long for a full fetch, also when the last message is there already."""


class Stretch(NamedTuple):
    """Offsets of one partition from ``begin`` up to, not including, ``end``."""

    begin: int
    end: int


class TopicReader:
    """Reads one topic; close it. Every method blocks.

    Each raises :class:`TransientError` when Kafka is away or busy and :class:`ConfigError` when it refuses or the topic
    does not exist.
    """

    def __init__(self, settings: Settings, topic: str) -> None:
        """Nothing is connected yet."""
        self.topic = topic
        self._address = settings.kafka.bootstrap_servers
        self._config = kafka_client_config(settings.kafka) | {
            "group.id": f"{settings.namespace}.dlq",  # librdkafka wants a name; nothing is ever committed under it
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.queue.backoff.ms": 5,
            "log_level": 0,  # librdkafka else writes a line for every refused connection, beside our one sentence
        }
        self._consumer = Consumer(self._config)

    def __enter__(self) -> Self:
        """The reader itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        self.close()

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()

    def extent(self) -> dict[int, Stretch]:
        """What each partition holds now."""
        try:
            found = self._consumer.list_topics(self.topic, timeout=TIMEOUT_SECONDS).topics[self.topic]
            if found.error is not None:
                raise KafkaException(found.error)
            return {
                number: Stretch(*self._consumer.get_watermark_offsets(self._place(number), timeout=TIMEOUT_SECONDS))
                for number in sorted(found.partitions)
            }
        except KafkaException as error:
            raise self._translated(error.args[0]) from error

    def between(self, since_ms: int | None, until_ms: int | None) -> dict[int, Stretch]:
        """What each partition holds now of the messages that the broker appended from ``since_ms`` to ``until_ms``."""
        stretches = self.extent()
        begins, ends = self._offsets_at(since_ms, stretches), self._offsets_at(until_ms, stretches)
        return {
            number: Stretch(begins.get(number, begin), ends.get(number, end))
            for number, (begin, end) in stretches.items()
        }

    def _offsets_at(self, time_ms: int | None, stretches: Mapping[int, Stretch]) -> dict[int, int]:
        """The first offset of each partition that was appended at ``time_ms`` or later; its end when there is none."""
        if time_ms is None:
            return {}
        try:
            places = [TopicPartition(self.topic, number, time_ms) for number in stretches]
            found = self._consumer.offsets_for_times(places, timeout=TIMEOUT_SECONDS)
        except KafkaException as error:
            raise self._translated(error.args[0]) from error
        return {each.partition: each.offset if each.offset >= 0 else stretches[each.partition].end for each in found}

    def read(self, stretches: Mapping[int, Stretch]) -> Iterator[Message]:
        """Messages of these stretches, in offset order within a partition; what is deleted meanwhile is left out."""
        left = {number: end for number, (begin, end) in stretches.items() if begin < end}
        consumer = Consumer(self._config)  # one a reading: nothing of an earlier one can be left in its queue
        try:
            consumer.assign([TopicPartition(self.topic, number, stretches[number].begin) for number in left])
            yield from self._read(consumer, left)
        finally:
            consumer.close()

    def _read(self, consumer: Consumer, left: dict[int, int]) -> Iterator[Message]:
        heard = time.monotonic()
        while left:
            messages = consumer.consume(FETCHED, timeout=POLL_SECONDS)
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > STALLED_SECONDS:
                raise TransientError(f"Kafka at {self._address} stopped sending {self.topic}; see `weir status`.")
            for message in messages:
                partition, offset, error = message.partition() or 0, message.offset() or 0, message.error()
                if error is None and offset < left.get(partition, 0):
                    yield message
                at_end = error is not None and error.code() == KafkaError._PARTITION_EOF
                if at_end or (error is None and offset + 1 >= left.get(partition, 0)):
                    left.pop(partition, None)
                elif error is not None and not error.retriable():
                    raise self._translated(error)

    def message(self, partition: int, offset: int) -> Message | None:
        """The message at one place, None when there is none (any more)."""
        stretch = self.extent().get(partition)
        if stretch is None or not stretch.begin <= offset < stretch.end:
            return None
        found = list(self.read({partition: Stretch(offset, offset + 1)}))
        return found[0] if found and found[0].offset() == offset else None

    def _place(self, partition: int) -> TopicPartition:
        return TopicPartition(self.topic, partition)

    def _translated(self, error: KafkaError) -> WeirError:
        if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
            return ConfigError(f"Topic {self.topic} does not exist; run `weir migrate`.")
        words = error.str().rstrip(".")
        if kafka_passes(error.code(), error.retriable()):
            return TransientError(
                f"Kafka at {self._address} cannot be asked: {words}; see that it runs (`weir status`)."
            )
        return ConfigError(f"Kafka at {self._address} refused to serve {self.topic}: {words}.")
