"""The one librdkafka producer of the gateway, fed and polled from the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from confluent_kafka import KafkaException, Producer

from connectors.gateway.batch import Batch
from connectors.gateway.kafka_refusals import busy, malformed
from connectors.gateway.records import Headers
from connectors.kafka.client import kafka_client_config
from weir.settings import Settings

MOST_BYTES: Final = 2_097_152
"""Largest record that is handed to Kafka; a topic may take less."""

MOST_WAITING: Final = 200_000
"""Records in the producer: two seconds of the most that one core takes in."""

TICK_SECONDS: Final = 0.001
"""How often deliveries are looked for while records are in flight."""

AGAIN_SECONDS: Final = 0.25
"""How often a purge is repeated until the last record has come back."""

_log = logging.getLogger(__name__)


def producer_config(settings: Settings) -> dict[str, str | int | float | bool]:
    """librdkafka's settings. The result holds the password in clear: never log it."""
    patience = settings.gateway.produce_seconds
    return {
        **kafka_client_config(settings.kafka),
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": 5,
        "compression.type": "lz4",
        "partitioner": "murmur2_random",
        "message.max.bytes": MOST_BYTES,
        "queue.buffering.max.messages": MOST_WAITING,
        "queue.buffering.max.kbytes": 262_144,
        # only a backstop: records are taken back after produce_seconds
        "delivery.timeout.ms": round(max(60.0, 4 * patience) * 1000),
        # a topic that was just deleted must not look like a Kafka that is away
        "topic.metadata.propagation.max.ms": max(100, round(min(1.0, patience / 3) * 1000)),
        # a connection whose other end vanished without a word is given up, so that the spool is not kept waiting
        "socket.timeout.ms": 10_000,
        "reconnect.backoff.max.ms": 1_000,
        "log_level": 0,
    }


class BrokerProducer:
    """Hands records over in the order of the calls, and takes all of them back when Kafka does not answer in time.

    ``on_returned`` gets the batches that have returned records, in the order in which they were handed over, once not
    one record is in flight any more. Everything runs in the event loop: delivery reports in a thread of their own
    would cost two switches of the interpreter's lock each.
    """

    def __init__(self, settings: Settings, on_away: Callable[[str], None], on_returned: Callable[[list[Batch]], None]):
        """Make the producer; it connects in threads of its own. Needs a running event loop."""
        self._config = producer_config(settings)
        self._producer = Producer(dict(self._config))
        self._patience = settings.gateway.produce_seconds
        self._loop = asyncio.get_running_loop()
        self._on_away, self._on_returned = on_away, on_returned
        self._batches: deque[Batch] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._withdrawn_at = 0.0
        self.is_withdrawing = False
        """Records are on their way back: new ones must be held behind them."""

    @property
    def in_flight(self) -> int:
        """Records without an answer."""
        return sum(batch.in_kafka for batch in self._batches)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in flight and nothing on its way back."""
        return not self._batches and not self.is_withdrawing

    @property
    def is_half_full(self) -> bool:
        """Whether half of the records that it may hold wait in it."""
        return len(self._producer) > MOST_WAITING // 2

    def hand_over(self, batch: Batch, places: Iterable[int]) -> None:
        """Give some records of a batch to librdkafka; its full queue refuses the rest of them. Never blocks."""
        produce, delivered, records = self._producer.produce, batch.delivered, batch.records
        if not batch.in_kafka:
            batch.since = self._loop.time()
        self._admit(batch)
        waiting = iter(places)
        for place in waiting:
            topic, key, value, partition, headers, timestamp_ms = records[place]
            batch.in_kafka += 1
            try:
                if headers or timestamp_ms:
                    produce(
                        topic,
                        value,
                        key,
                        partition,
                        partial(delivered, place),
                        timestamp=timestamp_ms,
                        headers=_sound(headers),
                    )
                else:
                    produce(topic, value, key, partition, partial(delivered, place))
            except BufferError:
                batch.in_kafka -= 1
                batch.settle((place, *waiting), busy())
            except KafkaException as error:
                batch.in_kafka -= 1
                batch.failed(place, error.args[0])
            except (ValueError, TypeError, OverflowError) as problem:
                batch.in_kafka -= 1
                batch.settle((place,), malformed(problem))

    def hold(self, batch: Batch, places: Iterable[int]) -> None:
        """Put records behind those that are being taken back, as if they were among them."""
        batch.returned.extend(places)
        self._admit(batch)

    def withdraw(self) -> None:
        """Take back everything that has no answer; ``on_returned`` is called soon."""
        self.is_withdrawing = True
        self._withdrawn_at = self._loop.time()
        self._producer.purge(in_queue=True, in_flight=True, blocking=False)
        self._keep_ticking()

    async def probe(self, topic: str, seconds: float) -> bool:
        """Ask the brokers for a topic's metadata: whether any of them answers within ``seconds``."""
        try:
            await asyncio.to_thread(self._producer.list_topics, topic, seconds)
        except KafkaException:
            return False
        return True

    def _admit(self, batch: Batch) -> None:
        if not self._batches or self._batches[-1] is not batch:
            self._batches.append(batch)
        self._keep_ticking()

    def _keep_ticking(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._timer = None
        try:
            self._producer.poll(0)
            self._look_at_the_oldest()
        finally:
            if self._batches or self.is_withdrawing:
                self._keep_ticking()

    def _look_at_the_oldest(self) -> None:
        batches = self._batches
        while batches and not batches[0].in_kafka and not batches[0].returned:
            batches.popleft()
        if self.is_withdrawing:
            self._look_for_the_last()
        elif batches and (why := self._why_away(batches[0])):
            self.withdraw()
            self._on_away(why)

    def _why_away(self, oldest: Batch) -> str:
        if oldest.broke is not None:
            return oldest.broke.str()
        if self._loop.time() - oldest.since > self._patience:
            return f"no answer within {self._patience:g} s"
        return ""

    def _look_for_the_last(self) -> None:
        if any(batch.in_kafka for batch in self._batches):
            if self._loop.time() - self._withdrawn_at > AGAIN_SECONDS:
                self.withdraw()
            return
        self.is_withdrawing = False
        batches = list(self._batches)
        self._batches.clear()
        if any(batch.is_fatal for batch in batches):
            _log.warning("Kafka's client gave up for good; a new one takes its place.")
            self._producer = Producer(dict(self._config))
        self._on_returned(batches)


def _sound(headers: Headers) -> list[tuple[str, str | bytes | None]]:
    """Headers whose names are text; raises ValueError.

    A lone surrogate in a name ends the process in confluent-kafka 2.16 (segmentation fault in ``produce``), and a NUL
    cuts the name short.
    """
    for name, _ in headers:
        if b"\0" in name.encode():
            raise ValueError("a header's name holds a NUL")
    return list(headers)
