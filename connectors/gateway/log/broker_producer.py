"""The one librdkafka producer of the gateway, fed and polled from the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Producer

from connectors.gateway.log.batch import Batch
from connectors.gateway.log.kafka_refusals import OF_A_BATCH, busy, malformed, refusal_of
from connectors.gateway.log.one_by_one import OneByOne
from connectors.gateway.log.sound_headers import sound
from connectors.kafka.client import kafka_client_config
from weir.settings import Settings

MOST_BYTES: Final = 2_097_152
"""Largest record that is handed to Kafka; a topic may take less."""

MOST_WAITING: Final = 200_000
"""Records in the producer: two seconds of the most that one core takes in."""

MOST_IN_A_BATCH: Final = 1_000
"""Records that Kafka takes or refuses together: a third of a second at the most to send them again one by one."""

SLICE_RECORDS: Final = 1_000
"""Taken back at a time while others wait for the event loop; 150,000 at once stopped it for 730 ms."""

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
        "batch.num.messages": MOST_IN_A_BATCH,
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


class SliceEndedError(Exception):
    """Raised in a delivery callback, so that ``poll`` returns and keeps the rest for its next call."""


class BrokerProducer:
    """Hands records over in the order of the calls, and takes all of them back when Kafka does not answer in time.

    ``on_returned`` gets the batches with the places of their returned records, in the order in which they were handed
    over and some at a time, once not one record is in flight any more. Everything runs in the event loop: delivery
    reports in a thread of their own would cost two switches of the interpreter's lock each.

    Records that Kafka refused as a batch are sent again one by one, and new records of the same keys behind them.
    """

    def __init__(
        self, settings: Settings, on_away: Callable[[str], None], on_returned: Callable[[Batch, Sequence[int]], None]
    ):
        """Make the producer; it connects in threads of its own. Needs a running event loop."""
        self._config = producer_config(settings)
        self._producer = Producer(dict(self._config))
        self._alone: OneByOne | None = None
        self._patience = settings.gateway.produce_seconds
        self._loop = asyncio.get_running_loop()
        self._on_away, self._on_returned = on_away, on_returned
        self._batches: deque[Batch] = deque()
        self._in_batches: deque[Batch] = deque()
        self._back: deque[Batch] = deque()
        self._suspects: list[tuple[Batch, int]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._withdrawn_at = 0.0
        self._failures = 0
        self._broke = ""
        self._is_fatal = False
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
        if batch.in_kafka == batch.alone:
            batch.since = self._loop.time()
        self._admit(batch)
        if self._alone is not None and self._alone.waiting:
            places = self._without_followers(self._alone, batch, places)
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
                        headers=sound(headers),
                    )
                else:
                    produce(topic, value, key, partition, partial(delivered, place))
            except BufferError:
                batch.in_kafka -= 1
                batch.settle((place, *waiting), busy())
            except KafkaException as error:
                batch.in_kafka -= 1
                self._failed_alone(batch, place, error.args[0])
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
        if self._alone is not None:
            self._alone.purge()
        self._keep_ticking()

    def abandon(self) -> list[Batch]:
        """Wait for nothing any more: the batches that may have records without an answer, in order."""
        if self._timer is not None:
            self._timer.cancel()
        batches = list(dict.fromkeys([*self._back, *self._batches]))
        self._batches.clear()
        self._back.clear()
        self.is_withdrawing = False
        return batches

    async def probe(self, topic: str, seconds: float) -> bool:
        """Ask the brokers for a topic's metadata: whether any of them answers within ``seconds``."""
        try:
            await asyncio.to_thread(self._producer.list_topics, topic, seconds)
        except KafkaException:
            return False
        return True

    def _admit(self, batch: Batch) -> None:
        batch.failing = self._failed
        if not self._batches or self._batches[-1] is not batch:
            self._batches.append(batch)
        if not self._in_batches or self._in_batches[-1] is not batch:
            self._in_batches.append(batch)
        self._keep_ticking()

    def _without_followers(self, alone: OneByOne, batch: Batch, places: Iterable[int]) -> list[int]:
        """Let records follow those of their key that are sent one by one; the places of the others."""
        others = []
        for place in places:
            if alone.follows(batch.records[place]):
                batch.in_kafka += 1
                alone.hand_over(batch, place)
            else:
                others.append(place)
        return others

    def _failed(self, batch: Batch, place: int, error: KafkaError) -> None:
        """Take a failure that may be about other records of the same batch of Kafka's; runs inside ``poll``."""
        if error.code() not in OF_A_BATCH:
            self._failed_alone(batch, place, error)
        elif self.is_withdrawing:
            batch.returned.append(place)
        else:
            batch.in_kafka += 1
            self._suspects.append((batch, place))
        self._end_slice()

    def _failed_one_by_one(self, batch: Batch, place: int, error: KafkaError) -> None:
        self._failed_alone(batch, place, error)
        self._end_slice()

    def _failed_alone(self, batch: Batch, place: int, error: KafkaError) -> None:
        """Refuse one record for good, or keep it among the returned."""
        refusal = None if error.fatal() else refusal_of(error)
        if refusal is not None:
            batch.settle((place,), refusal)
            return
        batch.returned.append(place)
        self._broke = error.str()
        self._is_fatal = self._is_fatal or error.fatal() or error.code() == KafkaError._FATAL

    def _end_slice(self) -> None:
        self._failures += 1
        if self.is_withdrawing and self._failures % SLICE_RECORDS == 0:
            raise SliceEndedError

    def _keep_ticking(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._timer = None
        try:
            with contextlib.suppress(SliceEndedError):
                self._producer.poll(0)
            with contextlib.suppress(SliceEndedError):
                if self._alone is not None:
                    self._alone.poll()
            if self._suspects:
                self._send_one_by_one()
            self._look_at_the_oldest()
        finally:
            if self._batches or self.is_withdrawing:
                self._keep_ticking()

    def _send_one_by_one(self) -> None:
        if self._alone is None:
            self._alone = OneByOne(self._config, self._failed_one_by_one)
        suspects, self._suspects = self._suspects, []
        for batch, place in suspects:
            self._alone.hand_over(batch, place)

    def _look_at_the_oldest(self) -> None:
        if self.is_withdrawing:
            self._look_for_the_last()
            return
        batches, in_batches = self._batches, self._in_batches
        while batches and not batches[0].in_kafka and not batches[0].returned:
            batches.popleft()
        while in_batches and in_batches[0].in_kafka == in_batches[0].alone:
            in_batches.popleft()
        if why := self._why_away():
            self.withdraw()
            self._on_away(why)

    def _why_away(self) -> str:
        if self._broke:
            return self._broke
        longest_ago = self._loop.time() - self._patience
        is_late = self._in_batches and self._in_batches[0].since < longest_ago
        if is_late or (self._alone is not None and self._alone.waiting and self._alone.moved_at < longest_ago):
            return f"no answer within {self._patience:g} s"
        return ""

    def _look_for_the_last(self) -> None:
        batches = self._batches
        while batches and not batches[0].in_kafka:
            self._back.append(batches.popleft())
        if not batches:
            self._give_back()
        elif self._loop.time() - self._withdrawn_at > AGAIN_SECONDS:
            self.withdraw()

    def _give_back(self) -> None:
        left = SLICE_RECORDS
        while self._back and left > 0:
            batch = self._back.popleft()
            places, batch.returned = sorted(batch.returned), []
            left -= len(places) + 1
            if places:
                self._on_returned(batch, places)
        if not self._back:
            self._end_withdrawal()

    def _end_withdrawal(self) -> None:
        self.is_withdrawing = False
        self._in_batches.clear()
        self._broke = ""
        if self._is_fatal:
            self._is_fatal = False
            _log.warning("Kafka's client gave up for good; a new one takes its place.")
            self._producer = Producer(dict(self._config))
