"""Receipts: which records were put back, so that none is put back twice.

They are on a topic of their own, kept as long as the dead letters: a replay may be repeated, with other filters and
from another machine. One message lists the offsets of many records of one partition.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import msgspec
from confluent_kafka import Message

from streams.engine.producer import Record
from streams.telemetry.letter import Letter, Origin
from weir.dlq.topic_reader import TopicReader


class Receipt(msgspec.Struct, frozen=True):
    """Records of one partition that were put back, by the offsets at which they were refused."""

    topic: str
    partition: int
    offsets: list[int]


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
        for offset in receipt.offsets:
            self._put_back[Origin(receipt.topic, receipt.partition, offset)] = message.timestamp()[1]

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
    offsets: dict[tuple[str, int], list[int]] = defaultdict(list)
    for origin in origins:
        offsets[origin.topic, origin.partition].append(origin.offset)
    return [Record(topic, None, msgspec.json.encode(Receipt(*where, each))) for where, each in offsets.items()]
