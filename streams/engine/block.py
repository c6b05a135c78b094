"""What an agent receives: consecutive records of one partition as a DataFrame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl
from confluent_kafka import Message

from streams.engine.codec import Decoded, Rejected
from streams.engine.fetch import Fetch, Lease
from streams.engine.watermark import Int64s


class Decoder(Protocol):
    """Makes columns of message values; :class:`~streams.engine.codec.Codec` is one."""

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """Decode what can be decoded. Raises :class:`~weir.errors.TransientError` when a schema cannot be had now."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Records of one partition in offset order.

    ``frame`` has the reader schema's columns, a row a decoded record; ``offsets`` and ``append_ts`` (broker time,
    ms) are those rows'. ``messages`` are all messages as they came, ``index`` the position in them of each row, and
    ``rejected`` says which did not decode. ``end`` is the offset after the last message. A block without messages says
    that the partition is caught up and silent, as of ``clock_ms``; ``behind``, that many more messages were waiting.
    ``size`` is that of the payloads, in bytes. A packed message gives many rows, all of its offset, or none: then
    ``places`` is the place of each row within its message, counted from 0; it is None when no message is packed.
    """

    lease: Lease
    frame: pl.DataFrame
    offsets: Int64s
    append_ts: Int64s
    index: np.ndarray[tuple[int], np.dtype[np.int64]]
    messages: list[Message]
    rejected: list[Rejected]
    first: int
    end: int
    clock_ms: int
    behind: bool = False
    size: int = 0
    places: Int64s | None = None

    @property
    def silent(self) -> bool:
        """Whether it only carries the clock."""
        return not self.messages


def decode_block(fetch: Fetch, codec: Decoder) -> Block:
    """Decode one fetch. Raises :class:`~weir.errors.TransientError` when a schema cannot be fetched now."""
    decoded = codec.decode(fetch.values())
    offsets, append = fetch.offsets(), fetch.append_times()
    whole = decoded.places is None and len(decoded.index) == len(offsets)
    return Block(
        lease=fetch.lease,
        frame=decoded.frame,
        offsets=offsets if whole else offsets[decoded.index],
        append_ts=append if whole else append[decoded.index],
        index=decoded.index,
        messages=fetch.messages,
        rejected=decoded.rejected,
        first=int(offsets[0]) if len(offsets) else -1,
        end=int(offsets[-1]) + 1 if len(offsets) else -1,
        clock_ms=fetch.clock_ms,
        behind=fetch.behind,
        size=fetch.size,
        places=decoded.places,
    )
