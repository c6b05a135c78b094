"""What a committed offset means: one small record per partition in Kafka's own offset commit.

The commit's offset is the **replay point**, the first offset that an open window still needs. Its metadata string says
how far rows are known to be in ClickHouse (``stored``), the end of the block whose insert was about to begin
(``planned``), and the event time up to which windows are closed and published (``watermark``).

After a crash the rows from ``stored`` to ``planned`` are cut into exactly the same block and inserted with the same
token, so ClickHouse drops them if they were there; rows below ``stored`` only rebuild windows.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from confluent_kafka import TopicPartition

from streams.engine.kept import NOTHING_KEPT, Kept, kept_of
from streams.engine.refusals import NO_REFUSALS, Refusals

NO_WATERMARK: Final = -(2**62)
"""Event time (ms) before every reading: no window is closed yet."""


class Checkpoint(msgspec.Struct, frozen=True):
    """Progress of one partition; every offset is the *next* one, times are event-time milliseconds.

    ``replay <= stored <= planned`` always holds. ``kept`` counts the rows from ``replay`` to ``stored``,
    ``kept_planned`` those from there to ``planned`` (None: nobody counted); ``refusals`` is what was refused up to
    ``stored``.
    """

    replay: int
    stored: int
    planned: int
    watermark: int = NO_WATERMARK
    refusals: Refusals = NO_REFUSALS
    kept: Kept | None = NOTHING_KEPT
    kept_planned: Kept | None = NOTHING_KEPT

    def __post_init__(self) -> None:
        """Refuse an order that no crash could explain."""
        if not 0 <= self.replay <= self.stored <= self.planned:
            raise ValueError(f"replay <= stored <= planned does not hold in {self!r}")


class _Metadata(msgspec.Struct, forbid_unknown_fields=True):
    v: int
    stored: int
    planned: int
    watermark: int
    refusals: Refusals = NO_REFUSALS
    kept: Kept | None = None
    kept_planned: Kept | None = None


_decoder = msgspec.json.Decoder(_Metadata)
_VERSION: Final = 1


def to_commit(topic: str, partition: int, checkpoint: Checkpoint) -> TopicPartition:
    """Return what ``Consumer.commit(offsets=[…])`` takes for this checkpoint."""
    metadata = _Metadata(
        _VERSION,
        checkpoint.stored,
        checkpoint.planned,
        checkpoint.watermark,
        checkpoint.refusals,
        checkpoint.kept,
        checkpoint.kept_planned,
    )
    return TopicPartition(topic, partition, checkpoint.replay, metadata=msgspec.json.encode(metadata).decode())


def from_commit(offset: int, metadata: str | None) -> Checkpoint | None:
    """Read a committed offset back; ``None`` when the partition has no commit yet.

    An offset without our metadata was set by a person (``kafka-consumer-groups --reset-offsets``): it is taken as the
    place to store from, with no window closed. Metadata that contradicts its offset is treated the same way.
    """
    if offset < 0:
        return None
    plain = Checkpoint(offset, offset, offset)
    if not metadata:
        return plain
    try:
        read = _decoder.decode(metadata)
        if read.v != _VERSION:
            return plain
        return Checkpoint(
            offset, read.stored, read.planned, read.watermark, read.refusals, read.kept, read.kept_planned
        )
    except (msgspec.DecodeError, ValueError):
        return plain


def insert_token(stream: str, topic: str, partition: int, first: int, end: int, kept: Kept | None = None) -> str:
    """Name the block of rows from offset ``first`` up to, not including, ``end`` for ClickHouse's deduplication.

    When not every offset has one row, ``kept`` becomes part of the name: should the same block be judged differently
    after a crash, because a device was registered meanwhile, say, then it is another block and is not dropped.
    """
    # messages may have many rows, so their number alone does not tell that every message has one
    whole = kept is None or kept.rows == end - first and kept == kept_of(np.arange(first, end, dtype=np.int64))
    return f"{stream}:{topic}:{partition}:{first}-{end - 1}" + ("" if whole or kept is None else f":{kept}")
