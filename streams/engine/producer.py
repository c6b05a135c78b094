"""Producing that counts only once the broker has acknowledged it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from weir.errors import TransientError

MOST_BYTES: Final = 2_097_152
"""Largest record written: a dead letter is a whole record of the largest size that Kafka takes, and its headers."""

Headers = Sequence[tuple[str, bytes]]


class Record(NamedTuple):
    """One record to write; ``partition`` -1 lets the key decide."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int = -1
    headers: Headers = ()


def producer_config(client: Mapping[str, object]) -> dict[str, object]:
    """Return librdkafka's settings: idempotent, acknowledged by all replicas, partitioned as Java's clients do."""
    return {
        **client,
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": 5,
        "compression.type": "lz4",
        "partitioner": "murmur2_random",
        "queue.buffering.max.messages": 200_000,
        "delivery.timeout.ms": 60_000,
        "message.max.bytes": MOST_BYTES,
    }


class AcknowledgedProducer:
    """Writes records and waits until every one of them is acknowledged. Used from one thread at a time."""

    def __init__(self, config: Mapping[str, object]) -> None:
        """Make the producer; nothing is connected yet."""
        self._producer = Producer(dict(config))
        self._failure: KafkaError | None = None

    def write(self, records: Sequence[Record]) -> None:
        """Write all records, in order per partition; blocks until the broker has acknowledged the last.

        Raises :class:`~weir.errors.TransientError` when any was not: then none may be counted as written.
        """
        if not records:
            return
        self._failure = None
        for record in records:
            self._produce(record)
        left = self._producer.flush(90.0)
        if self._failure is not None or left:
            raise TransientError(
                f"Kafka did not acknowledge {records[0].topic}: {self._failure or f'{left} still waiting'}."
            )

    def _produce(self, record: Record) -> None:
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    value=record.value,
                    key=record.key,
                    partition=record.partition,
                    headers=list(record.headers),
                    on_delivery=self._delivered,
                )
                return
            except BufferError:  # the local queue is full: let deliveries happen
                self._producer.poll(0.05)
            except KafkaException as error:
                raise TransientError(f"Kafka does not take records for {record.topic}: {error}.") from error

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failure = error
