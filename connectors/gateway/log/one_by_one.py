"""A producer whose batches are single records, for those that Kafka refused together with others.

Kafka refuses a whole batch of a partition for one bad record in it (a timestamp too far ahead, no key for a compacted
topic) and does not say which. Sent alone, each gets an answer of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from connectors.gateway.log.batch import Batch
from connectors.gateway.log.kafka_refusals import busy, malformed
from connectors.gateway.log.sound_headers import sound
from connectors.gateway.log.waiting_keys import WaitingKeys
from connectors.gateway.records import Outgoing

MOST_ALONE: Final = 20_000
"""Records that wait here, some 8 seconds at the 2,500/s measured with a broker on the same machine."""

KEY_PLACES: Final = 65_536

ALONE: Final[dict[str, str | int | float | bool]] = {
    "batch.num.messages": 1,
    "linger.ms": 0,
    "queue.buffering.max.messages": MOST_ALONE,
    # one request at a time keeps the order without idempotence, which costs a new epoch for every refused record
    "max.in.flight.requests.per.connection": 1,
    "enable.idempotence": False,
}

Failed = Callable[[Batch, int, KafkaError], None]


class OneByOne:
    """Made when it is first needed; ``failed`` gets the errors, each about one record alone.

    ``waiting`` counts records without an answer; ``moved_at`` is when the last answer came, or when the first of those
    that wait was handed over.
    """

    def __init__(self, config: Mapping[str, str | int | float | bool], failed: Failed) -> None:
        """``config`` is that of the producer of batches. Needs a running event loop."""
        self._loop = asyncio.get_running_loop()
        self._producer = Producer({**config, **ALONE})
        self._failed = failed
        self._keys = WaitingKeys(KEY_PLACES)
        self.waiting = 0
        self.moved_at = 0.0

    def follows(self, record: Outgoing) -> bool:
        """Whether records of its key wait here, so that it must go behind them."""
        return self._keys.holds(record.topic, record.key)

    def hand_over(self, batch: Batch, place: int) -> None:
        """Send one record, which already counts as in Kafka; a full queue tells its sender to come again."""
        record = batch.records[place]
        topic, key, value, partition, headers, timestamp_ms = record
        answer = partial(self._answered, batch, place)
        try:
            self._producer.produce(topic, value, key, partition, answer, timestamp=timestamp_ms, headers=sound(headers))
        except BufferError:
            batch.in_kafka -= 1
            batch.settle((place,), busy())
            return
        except KafkaException as error:
            batch.in_kafka -= 1
            self._failed(batch, place, error.args[0])
            return
        except (ValueError, TypeError, OverflowError) as problem:
            batch.in_kafka -= 1
            batch.settle((place,), malformed(problem))
            return
        if not self.waiting:
            self.moved_at = self._loop.time()
        batch.alone += 1
        self.waiting += 1
        self._keys.add_all((record,))

    def poll(self) -> None:
        """Take the answers that came."""
        self._producer.poll(0)

    def purge(self) -> None:
        """Let every record come back soon, with an error that is not about it."""
        self._producer.purge(in_queue=True, in_flight=True, blocking=False)

    def _answered(self, batch: Batch, place: int, error: KafkaError | None, message: Message) -> None:
        batch.alone -= 1
        self.waiting -= 1
        self.moved_at = self._loop.time()
        self._keys.remove_all((batch.records[place],))
        if error is None:
            batch.delivered(place, None, message)
        else:
            batch.in_kafka -= 1
            self._failed(batch, place, error)
