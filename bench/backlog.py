"""Fills a topic with a dataset before anything is measured."""

from __future__ import annotations

import logging
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from bench.dataset import Dataset
from connectors.kafka.client import kafka_client_config
from streams.engine.producer import producer_config
from weir.errors import TransientError
from weir.settings import Settings

FLUSH_SECONDS = 90.0


def fill(dataset: Dataset, settings: Settings, schema_id: int, report: Callable[[int], None]) -> None:
    """Write every message to the readings topic, keyed by device, and wait until all are acknowledged.

    Blocks, 5 to 7 us a message with the making of it. ``report`` is called with the number written so far. Raises
    :class:`~weir.errors.TransientError` when the broker does not take them.
    """
    quiet = logging.getLogger("weir.kafka.bench")
    quiet.addHandler(logging.NullHandler())  # a coordinator that is just starting is asked again; nobody need know
    quiet.propagate = False
    config = producer_config(kafka_client_config(settings.kafka)) | {"linger.ms": 20}
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failures.append(error)

    producer = Producer(config | {"on_delivery": delivered}, logger=quiet)
    written = 0
    for chunk in dataset.chunks(schema_id):
        for key, value in zip(chunk.keys, chunk.values, strict=True):
            _produce(producer, settings.topics.readings, key, value)
        written += len(chunk.keys)
        report(written)
    left = producer.flush(FLUSH_SECONDS)
    if failures or left:
        raise TransientError(f"Kafka did not take the backlog: {failures[0] if failures else f'{left} are left'}.")


def _produce(producer: Producer, topic: str, key: bytes, value: bytes) -> None:
    while True:
        try:
            producer.produce(topic, value=value, key=key)
            return
        except BufferError:  # the local queue is full: let the broker catch up
            producer.poll(0.05)
        except KafkaException as error:
            raise TransientError(f"Kafka does not take the backlog: {error}.") from error
