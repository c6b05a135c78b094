"""Writes a dataset to the readings topic, as fast as the broker takes it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from bench.dataset import Chunk, Dataset
from connectors.contracts import record_subject
from connectors.kafka.client import kafka_client_config
from connectors.registry import Registry, value_subject
from streams.engine.producer import producer_config
from weir.errors import StackError, TransientError
from weir.settings import Settings

FLUSH_SECONDS = 90.0


class Writer:
    """Writes messages keyed by device; nothing counts before :meth:`finish`."""

    def __init__(self, settings: Settings, topic: str | None = None) -> None:
        """Make the producer; without a ``topic`` it writes to the readings topic."""
        quiet = logging.getLogger("weir.kafka.bench")
        quiet.addHandler(logging.NullHandler())  # a coordinator that just starts is asked again; nobody need know
        quiet.propagate = False
        config = producer_config(kafka_client_config(settings.kafka)) | {"linger.ms": 20}
        self._topic = topic or settings.topics.readings
        self._failures: list[KafkaError] = []
        self._producer = Producer(config | {"on_delivery": self._delivered}, logger=quiet)

    def write(self, chunk: Chunk) -> None:
        """Hand messages to the producer; blocks while its queue is full, 3 to 4 us a message otherwise."""
        for key, value in zip(chunk.keys, chunk.values, strict=True):
            self._produce(key, value)
        self._producer.poll(0)

    def finish(self) -> None:
        """Wait until all are acknowledged; raises :class:`~weir.errors.TransientError` when any is not."""
        left = self._producer.flush(FLUSH_SECONDS)
        if self._failures or left:
            what = self._failures[0] if self._failures else f"{left} are left"
            raise TransientError(f"Kafka did not take the readings: {what}.")

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failures.append(error)

    def _produce(self, key: bytes, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(self._topic, value=value, key=key)
                return
            except BufferError:  # the local queue is full: let the broker catch up
                self._producer.poll(0.05)
            except KafkaException as error:
                raise TransientError(f"Kafka does not take the readings: {error}.") from error


def fill(dataset: Dataset, settings: Settings, report: Callable[[int], None]) -> None:
    """Write every message of ``dataset`` and wait until all are acknowledged.

    Blocks, 5 to 7 us a message with the making of it. ``report`` is called with the number written so far. Raises
    :class:`~weir.errors.TransientError` when the broker does not take them.
    """
    writer = Writer(settings)
    written = 0
    for chunk in dataset.chunks(readings_schema_id(settings, packed=bool(dataset.plan.packed))):
        writer.write(chunk)
        written += len(chunk.keys)
        report(written)
    writer.finish()


def readings_schema_id(settings: Settings, packed: bool = False) -> int:
    """The registry's id of the schema of readings, or of batches; raises :class:`~weir.errors.StackError`."""
    topic = settings.topics.readings
    with Registry(settings.registry) as registry:
        latest = registry.latest(record_subject(topic, "ReadingBatch") if packed else value_subject(topic))
    if latest is None:
        raise StackError(f"The registry lost the schema of {settings.topics.readings}; run the benchmark again.")
    return latest.id
