"""The lines of a ledger: one JSON object a line, each for a batch.

Every message has a number, counted from 0 within its session (one run of the generator). ``readings`` and ``bad`` are
intents, on disk before Kafka sees any of their messages; ``acknowledged``, ``spooled``, ``failed`` and ``unknown`` say
what became of them. An intent without outcome is unknown as well: the generator was killed. JSON in batches of columns
was chosen over Parquet because a torn tail costs one line, `jq` and any editor read it, and it is small: 17 to 35 bytes
a reading, because names stand once and times and numbers are given as steps.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Final, TypeAlias

import msgspec

VERSION: Final = 1


class Header(msgspec.Struct, frozen=True, tag="header", tag_field="line"):
    """A session begins: where it sends, and with which plan. ``started_ms`` is the generator's clock.

    ``repeats``: what is sent goes through a gateway, which may write a message more than once.
    """

    version: int
    topic: str
    started_ms: int
    plan: dict[str, object]
    repeats: bool = False


class Series(msgspec.Struct, frozen=True, tag="series", tag_field="line"):
    """Names of the session's series, from number ``first`` on: device id and sensor."""

    first: int
    names: list[tuple[str, str]]


class Readings(msgspec.Struct, frozen=True, omit_defaults=True, tag="readings", tag_field="line"):
    """Good readings that are about to be sent, numbered from ``first`` on.

    ``ts`` (event time, ms) is the first one's time and then steps; a text stands in ``texts`` under its place in this
    line, and its ``values`` is null.
    """

    first: int
    series: list[int]
    ts: list[int]
    values: list[float | None]
    texts: dict[int, str] = {}


class Bad(msgspec.Struct, frozen=True, tag="bad", tag_field="line"):
    """Records that must be refused, numbered from ``first`` on, each with the reason to be given."""

    first: int
    kinds: list[str]
    reasons: list[str]


class Acknowledged(msgspec.Struct, frozen=True, omit_defaults=True, tag="acknowledged", tag_field="line"):
    """Messages that the broker stored one after another, from ``offset`` on, at ``append_ts`` (ms; null: not told).

    ``numbers`` is the first one's number and then steps. ``packed``: they are the readings of one message.
    """

    partition: int
    offset: int
    append_ts: int | None
    numbers: list[int]
    packed: bool = False


class Spooled(msgspec.Struct, frozen=True, tag="spooled", tag_field="line"):
    """Messages that the gateway acknowledged while Kafka was away: it has them on disk, and where they will lie in
    Kafka is not known. ``numbers`` as in :class:`Acknowledged`.
    """

    numbers: list[int]


class Failed(msgspec.Struct, frozen=True, tag="failed", tag_field="line"):
    """Messages that the broker or the gateway refused: they are not stored. ``numbers`` as in :class:`Acknowledged`."""

    numbers: list[int]
    why: str


class Unknown(msgspec.Struct, frozen=True, tag="unknown", tag_field="line"):
    """Messages without an answer in time: they may be stored or not. ``numbers`` as in :class:`Acknowledged`."""

    numbers: list[int]
    why: str


class End(msgspec.Struct, frozen=True, tag="end", tag_field="line"):
    """The session ended in order; nothing of it follows."""

    ended_ms: int
    sent: int
    acknowledged: int


Entry: TypeAlias = Header | Series | Readings | Bad | Acknowledged | Spooled | Failed | Unknown | End

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)


def encode(entry: Entry) -> bytes:
    """One line, with its end."""
    return _encoder.encode(entry) + b"\n"


def decode(line: bytes) -> Entry:
    """The entry of one line; raises :class:`msgspec.DecodeError` for anything else."""
    return _decoder.decode(line)


def steps(numbers: list[int]) -> list[int]:
    """The first number, and then the difference of each to the one before."""
    return numbers[:1] + [after - before for before, after in zip(numbers, numbers[1:], strict=False)]


def summed(steps: list[int]) -> list[int]:
    """What :func:`steps` was made of."""
    return list(accumulate(steps))
