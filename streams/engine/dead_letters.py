"""Dead letters: records that could not be used, kept as they came, with where and why in their headers.

The headers are documented in ``schemas/avro/deadletters.md``.
"""

from __future__ import annotations

import time
from typing import Final, NamedTuple

from confluent_kafka import Message

from streams.engine.producer import Record

MOST_DETAIL: Final = 1_000
"""Characters of the sentence: it may quote what the sender wrote, and that may be long."""

MOST_BYTES_KEPT: Final = 1_048_576
"""Bytes of a value that are kept: Kafka's own limit, but that one is on compressed batches. More than that is cut, and
``original_size`` says so; the whole record is in its own topic as long as that keeps it."""

FIRST_SEEN = "first_seen"
REPLAY_COUNT = "replay_count"
POSITION = "position"


class Extract(NamedTuple):
    """What was refused of a packed message: a record of its own, and its place, counted from 1."""

    value: bytes
    position: int


class DeadLetter(NamedTuple):
    """One refused record. ``reason`` is a stable word, ``detail`` a sentence; ``org_id`` is empty when unknown.

    ``extract`` is what was refused when that is not the whole ``message``.
    """

    message: Message
    reason: str
    detail: str
    stage: str
    org_id: str = ""
    extract: Extract | None = None

    @property
    def offset(self) -> int:
        """Where the record came from."""
        return self.message.offset() or 0

    @property
    def key(self) -> bytes:
        """Who sent it, as its key says; empty without one."""
        return _bytes(self.message.key()) or b""


def to_record(letter: DeadLetter, topic: str) -> Record:
    """Return the record to write to the dead-letter ``topic``: key and value as they came, headers that explain.

    A letter that was replayed before keeps its first ``first_seen`` and its ``replay_count``. Of a packed message it
    has only what was refused, as a record of its own, and the header ``position``.
    """
    message, extract = letter.message, letter.extract
    value = _bytes(message.value()) if extract is None else extract.value
    came_with = _headers(message)
    _, append_ms = message.timestamp()
    headers = {
        "reason": letter.reason,
        "detail": letter.detail[:MOST_DETAIL],
        "stage": letter.stage,
        "topic": message.topic() or "",
        "partition": str(message.partition()),
        "offset": str(message.offset()),
        "timestamp": str(append_ms),
        "schema_id": _schema_id(value),
        "org_id": letter.org_id,
        FIRST_SEEN: str(time.time_ns() // 1_000_000),
        REPLAY_COUNT: "0",
    }
    encoded = {name: text.encode() for name, text in headers.items()}
    for name in (FIRST_SEEN, REPLAY_COUNT):
        kept = came_with.get(name)
        if isinstance(kept, bytes):
            encoded[name] = kept
    if extract is not None:
        encoded[POSITION] = str(extract.position).encode()
    key = _bytes(message.key())
    if value is not None and len(value) > MOST_BYTES_KEPT:
        encoded["original_size"] = str(len(value)).encode()
        value = value[:MOST_BYTES_KEPT]
    return Record(topic, key[: MOST_BYTES_KEPT // 4] if key is not None else None, value, headers=list(encoded.items()))


def _headers(message: Message) -> dict[str, object]:
    """Return the headers a record came with; a name that is no UTF-8 makes the client give up on all of them."""
    try:
        return dict(message.headers() or [])
    except (SystemError, UnicodeDecodeError):
        return {}


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _schema_id(value: bytes | None) -> str:
    """Return the schema id in a value's Confluent framing, empty where it has none."""
    framed = value is not None and len(value) >= 5 and value[0] == 0
    return str(int.from_bytes(value[1:5], "big")) if value is not None and framed else ""
