"""Handing messages to Kafka. The way through a gateway has the same methods."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message, Producer

from connectors.kafka.client import kafka_client_config
from weir.errors import TransientError
from weir.load import source
from weir.load.outcomes import Outcomes
from weir.settings import Settings

QUEUE: Final = 100_000
"""Messages that may wait for their acknowledgement."""

REFUSED: Final = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_RECORD,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.INVALID_REQUIRED_ACKS,
        KafkaError.POLICY_VIOLATION,
    }
)
"""Answers after which a message is not stored for certain. After any other error it may be: an answer can be lost."""


class Uplink(Protocol):
    """A way to Kafka that says what became of each message."""

    def send(self, messages: Sequence[source.Message]) -> None:
        """Hand messages over; blocks only while too many wait."""

    def poll(self, seconds: float) -> None:
        """Let outcomes in, for at most ``seconds``."""

    def give_up(self) -> None:
        """Wait no longer: what has no answer is unknown."""

    def close(self) -> None:
        """End; nothing is sent any more."""


class KafkaUplink:
    """Writes to the readings topic with an idempotent producer. Used by one thread."""

    def __init__(self, settings: Settings, outcomes: Outcomes, patience_seconds: float) -> None:
        """A broker may be away for ``patience_seconds``; then what waits for it becomes unknown."""
        self._topic = settings.topics.readings
        self._outcomes = outcomes
        self._producer = Producer(
            {
                **kafka_client_config(settings.kafka),
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 5,
                "compression.type": "lz4",
                "partitioner": "murmur2_random",
                "queue.buffering.max.messages": QUEUE,
                "message.max.bytes": 2_097_152,
                "delivery.timeout.ms": max(1, round(patience_seconds * 1000)),
                "reconnect.backoff.max.ms": 1_000,
                "log_level": 0,
            }
        )

    def send(self, messages: Sequence[source.Message]) -> None:
        """Hand messages over in order; blocks only while too many wait. Raises :class:`TransientError`."""
        produce, topic, delivered = self._producer.produce, self._topic, self._delivered
        for message in messages:
            told = partial(delivered, message.packed or (message.number,))
            while True:
                try:
                    produce(topic, value=message.value, key=message.key, on_delivery=told)
                    break
                except BufferError:
                    self._producer.poll(0.05)
                except KafkaException as error:
                    raise TransientError(f"Kafka takes no more readings: {error.args[0].str()}.") from error

    def poll(self, seconds: float) -> None:
        """Let outcomes in, for at most ``seconds``."""
        self._producer.poll(seconds)

    def give_up(self) -> None:
        """Wait no longer: what has no answer is unknown."""
        self._producer.purge()
        self._producer.flush(5.0)

    def close(self) -> None:
        """Nothing to do: the producer ends with this object."""

    def _delivered(self, numbers: tuple[int, ...], error: KafkaError | None, report: Message) -> None:
        if error is None:
            kind, at_ms = report.timestamp()
            append_ts = at_ms if kind == TIMESTAMP_LOG_APPEND_TIME else None
            place = report.partition() or 0, report.offset() or 0, append_ts
            if len(numbers) > 1:
                self._outcomes.stored_packed(numbers, *place)
            else:
                self._outcomes.stored(numbers[0], *place)
            self._outcomes.latencies.add(report.latency() or 0.0)
            return
        for number in numbers:
            if error.code() in REFUSED:
                self._outcomes.refused(number, error.str())
            else:
                self._outcomes.silent(number, error.str())
