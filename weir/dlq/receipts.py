"""Receipts: which records were put back, so that none is put back twice.

They are on a topic of their own, kept as long as the dead letters: a replay may be repeated, with other filters and
from another machine. One message lists the offsets of many records of one partition.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import zip_longest

import msgspec
from confluent_kafka import Message

from streams.engine.producer import Record
from streams.telemetry.letter import Letter, Origin
from weir.dlq.topic_reader import TopicReader


class Receipt(msgspec.Struct, frozen=True, omit_defaults=True):
    """Records of one partition that were put back, by the offsets at which they were refused.

    ``positions`` are their places in packed messages, beside the offsets; empty when all were whole messages.
    """

    topic: str
    partition: int
    offsets: list[int]
    positions: list[int] = []


class Receipts:
    """Everything that was put back, and when (broker time, ms)."""

    def __init__(self) -> None:
        """Nothing was."""
        self._put_back: dict[Origin, int] = {}

    def add(self, message: Message) -> None:
        """Take in a message of their topic; one that is no receipt is passed over."""
        try:
            receipt = msgspec.json.decode(message.value() or b"", type=Receipt)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        for offset, position in zip_longest(receipt.offsets, receipt.positions, fillvalue=0):
            self._put_back[Origin(receipt.topic, receipt.partition, offset, position)] = message.timestamp()[1]

    def cover(self, letter: Letter) -> bool:
        """Whether the record of ``letter`` was put back after it was refused.

        A letter younger than its receipt is another record: its topic was made anew and counts from 0 again.
        """
        return letter.origin is not None and self._put_back.get(letter.origin, -1) >= letter.append_ms


def read_receipts(reader: TopicReader) -> Receipts:
    """All receipts there are; blocks. Raises as :class:`TopicReader` does."""
    receipts = Receipts()
    for message in reader.read(reader.extent()):
        receipts.add(message)
    return receipts


def receipt_records(topic: str, origins: Iterable[Origin]) -> list[Record]:
    """What to write to ``topic`` for these records."""
    places: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    for origin in origins:
        places[origin.topic, origin.partition].append((origin.offset, origin.position))
    return [Record(topic, None, msgspec.json.encode(_receipt(*where, each))) for where, each in places.items()]


def _receipt(topic: str, partition: int, places: list[tuple[int, int]]) -> Receipt:
    positions = [position for _, position in places]
    return Receipt(topic, partition, [offset for offset, _ in places], positions if any(positions) else [])
