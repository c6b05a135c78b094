"""The records of one call of ``send`` on their way, and what became of each."""

from __future__ import annotations

from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Sequence

from confluent_kafka import KafkaError, Message

from connectors.gateway.errors import GatewayError
from connectors.gateway.records import Outgoing, Written

Outcome = Written | GatewayError | None
"""None: not known (yet)."""


class Batch:
    """One future for all records, because a future or task for each would cost more than producing it.

    ``in_kafka`` counts those that the producer has and has not answered, and ``alone`` those of them that are sent one
    by one; ``returned`` are the places of those that it gave back because Kafka is away; ``left`` counts those without
    an outcome; ``since`` is when the producer got the first of those that it has. ``failing`` is the producer's, told
    of each record that it cannot deliver.
    """

    __slots__ = ("alone", "failing", "in_kafka", "left", "outcomes", "records", "returned", "settled", "since")
    failing: Callable[[Batch, int, KafkaError], None]

    def __init__(self, records: Sequence[Outgoing], loop: AbstractEventLoop) -> None:
        """None of the records is anywhere yet."""
        self.records = records
        self.outcomes: list[Outcome] = [None] * len(records)
        self.left = len(records)
        self.in_kafka = self.alone = 0
        self.returned: list[int] = []
        self.settled: Future[None] = loop.create_future()
        self.since = 0.0

    def delivered(self, place: int, error: KafkaError | None, message: Message) -> None:
        """Take the producer's answer for one record; runs inside ``poll``."""
        self.in_kafka -= 1
        if error is None:
            self.outcomes[place] = Written(message.partition(), message.offset(), message.timestamp()[1])  # type: ignore[arg-type]
            self.left -= 1
            if not self.left:
                self.finish()
            return
        self.failing(self, place, error)

    def settle(self, places: Sequence[int], outcome: Written | GatewayError) -> None:
        """Give the same outcome to some records."""
        for place in places:
            self.outcomes[place] = outcome
        self.answered(len(places))

    def answered(self, count: int) -> None:
        """So many more need no answer any more."""
        self.left -= count
        if not self.left:
            self.finish()

    def finish(self) -> None:
        """Let the caller go on; one that went away is no fault."""
        if not self.settled.done():
            self.settled.set_result(None)
