"""Reads the end of a topic from outside its consumer group: what a stage has not stored yet."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from weir.errors import TransientError

FETCHED: Final = 1_000
POLL_SECONDS: Final = 0.05
STALLED_SECONDS: Final = 10.0


def read_tail(client: Mapping[str, object], topic: str, begins: Mapping[int, int]) -> list[Message]:
    """Return the messages of each partition from its offset in ``begins`` up to where the partition ends now.

    ``client`` are librdkafka's settings. Blocks. Raises :class:`~weir.errors.TransientError` when Kafka is away.
    """
    own = {"group.id": f"{topic}.tail", "enable.auto.commit": False, "enable.partition.eof": True, "log_level": 0}
    quick = {"fetch.queue.backoff.ms": 5, "fetch.wait.max.ms": 10}  # else the broker keeps the end to itself for 500 ms
    consumer = Consumer({**client, **own, **quick, "auto.offset.reset": "earliest"})
    try:
        consumer.assign([TopicPartition(topic, number, begin) for number, begin in begins.items()])
        return _to_the_end(consumer, set(begins))
    except KafkaException as error:
        raise TransientError(f"{topic} cannot be read: {error.args[0].str()}; see that Kafka runs.") from error
    finally:
        consumer.close()


def _to_the_end(consumer: Consumer, left: set[int]) -> list[Message]:
    found: list[Message] = []
    heard = time.monotonic()
    while left:
        messages = consumer.consume(FETCHED, timeout=POLL_SECONDS)
        if messages:
            heard = time.monotonic()
        elif time.monotonic() - heard > STALLED_SECONDS:
            raise TransientError("Kafka stopped sending; see that it runs (`weir status`).")
        for message in messages:
            error = message.error()
            if error is None:
                found.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                left.discard(message.partition() or 0)
            elif not error.retriable():
                raise KafkaException(error)
    return found
