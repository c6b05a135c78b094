"""The ceiling: ``consume()`` alone, in a process of its own, with the worker's own consumer settings.

``python -m bench.ceiling TOPIC MESSAGES`` reads that many messages as a new group and prints one JSON object:
``readings_per_second`` and ``cpu_seconds_per_million``, from the first message to the last.
"""

from __future__ import annotations

import gc
import json
import secrets
import sys
import time
from dataclasses import asdict, dataclass

from confluent_kafka import Consumer

from connectors.kafka.client import kafka_client_config
from streams.engine.consumer import ConsumerOptions, consumer_config
from weir.errors import TransientError
from weir.settings import Settings, load_settings

SILENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What one process reaches that only reads."""

    readings_per_second: float
    cpu_seconds_per_million: float


def consume_alone(settings: Settings, topic: str, messages: int) -> Ceiling:
    """Read ``messages`` messages of ``topic`` and drop them; blocks.

    Raises :class:`~weir.errors.TransientError` when none comes for 30 seconds.
    """
    gc.disable()  # it walks all messages again and again, for 0.3 to 0.5 us a message, and there are no cycles to find
    stream = settings.stream
    options = ConsumerOptions(
        stream.fetch_messages, stream.queue_messages, stream.idle_seconds, stream.session_timeout_seconds
    )
    group = f"{settings.namespace}.ceiling.{secrets.token_hex(4)}"
    consumer = Consumer(consumer_config(kafka_client_config(settings.kafka), group, options))
    consumer.subscribe([topic])
    try:
        left = messages - _take(consumer, 1)
        begun, cpu = time.perf_counter(), time.process_time()
        while left > 0:
            left -= _take(consumer, min(left, options.fetch_messages))
        seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - cpu
    finally:
        consumer.close()
    return Ceiling(messages / seconds, cpu_seconds / messages * 1e6)


def _take(consumer: Consumer, at_most: int) -> int:
    deadline = time.monotonic() + SILENCE_SECONDS
    while time.monotonic() < deadline:
        messages = consumer.consume(at_most, 0.05)
        if messages:
            error = messages[0].error()
            if error is not None:
                raise TransientError(f"Kafka cannot be read: {error}.")
            return len(messages)
    raise TransientError(f"Kafka gave nothing for {SILENCE_SECONDS:.0f} s; see that the broker runs.")


if __name__ == "__main__":
    print(json.dumps(asdict(consume_alone(load_settings(), sys.argv[1], int(sys.argv[2])))))
