"""What Weir has stored and refused, read back the way its users would: the views, and the dead-letter topic."""

from __future__ import annotations

import time
from typing import NamedTuple, cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from connectors.kafka.client import kafka_client_config
from tests.waiting import patient
from tests.world import World
from weir.settings import Settings
from weir.verify.compare import StoredReading, StoredWindow
from weir.verify.recompute import Window, WindowKey

_READINGS = """
    SELECT device_id, toString(sensor), toUnixTimestamp64Milli(ts), if(is_number, value, NULL), str_value FROM readings
    WHERE startsWith(device_id, {prefix:String})
"""
_WINDOWS = """
    SELECT device_id, toString(sensor), toUnixTimestamp64Milli(window_start), count, sum, min, max, avg, first, last,
           toUnixTimestamp64Milli(last_ts), stddev, revision
    FROM {view:Identifier} WHERE startsWith(device_id, {prefix:String})
"""


def stored_readings(world: World, prefix: str = "") -> list[StoredReading]:
    """Rows of the view ``readings`` of the devices whose ids begin with ``prefix``."""
    return [StoredReading(*row) for row in world.query(_READINGS, prefix=prefix)]


def stored_windows(world: World, view: str, prefix: str = "") -> list[StoredWindow]:
    """Rows of ``aggregates_1m`` or ``aggregates_1h``."""
    rows = world.query(_WINDOWS, view=view, prefix=prefix)
    return [StoredWindow(WindowKey(*row[:3]), Window(*row[3:])) for row in rows]


class Letter(NamedTuple):
    """One message of the dead-letter topic."""

    key: bytes | None
    value: bytes | None
    headers: dict[str, str]

    @property
    def origin(self) -> tuple[int, int]:
        """Partition and offset it came from."""
        return int(self.headers["partition"]), int(self.headers["offset"])


def dead_letters(settings: Settings) -> list[Letter]:
    """Everything on the dead-letter topic now."""
    messages = read_topic(settings, settings.topics.deadletters)
    return [Letter(_bytes(each.key()), _bytes(each.value()), _headers(each)) for each in messages]


def read_topic(settings: Settings, topic: str, seconds: float = 60.0) -> list[Message]:
    """All messages of a topic up to where its partitions end now, partition after partition."""
    config = {**kafka_client_config(settings.kafka), "group.id": f"{settings.namespace}.reader"}
    consumer = Consumer(config | {"enable.auto.commit": False, "fetch.queue.backoff.ms": 5})
    try:
        ends: dict[int, int] = {}
        for partition in consumer.list_topics(topic, timeout=patient(10.0)).topics[topic].partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=patient(10.0))
            if high > low:
                ends[partition] = high
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in ends])
        return _read_to(consumer, ends, time.monotonic() + patient(seconds))
    finally:
        consumer.close()


def _read_to(consumer: Consumer, ends: dict[int, int], deadline: float) -> list[Message]:
    found: list[Message] = []
    left = dict(ends)
    while left:
        assert time.monotonic() < deadline, f"Partitions {sorted(left)} were not read to their ends."
        for message in consumer.consume(10_000, timeout=0.5):
            assert message.error() is None, message.error()
            found.append(message)
            partition = message.partition() or 0
            if (message.offset() or 0) + 1 >= left.get(partition, 0):
                left.pop(partition, None)
    return sorted(found, key=lambda each: (each.partition(), each.offset()))


def _headers(message: Message) -> dict[str, str]:
    pairs = cast("list[tuple[str, bytes]]", message.headers() or [])
    return {name: value.decode() for name, value in pairs}


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
