"""A dead letter as it is read back: its headers as fields, with defaults where others wrote odd ones or none.

Anybody may write to the dead-letter topic, so nothing here raises: what cannot be read becomes a default. The headers
are documented in ``schemas/avro/deadletters.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, cast

from confluent_kafka import Message

from streams.engine.dead_letters import FIRST_SEEN, MOST_BYTES_KEPT, POSITION, REPLAY_COUNT

MOST_OFFSET: Final = 2**63 - 1
MOST_PARTITION: Final = 2**16 - 1
MOST_COUNT: Final = 2**32 - 1
MOST_MS: Final = 10_413_791_999_999
"""Last instant (ms) of the year 2299, where ClickHouse's DateTime64 ends."""

DAY_MS: Final = 86_400_000
MOST_DAYS: Final = 366
"""Days that a record may have been refused and put back again; an earlier ``first_seen`` is taken for an odd one."""

KEY_KEPT: Final = MOST_BYTES_KEPT // 4
"""Bytes of a key that a dead letter keeps; a key of that length may have been longer."""


class Origin(NamedTuple):
    """Where a refused record came from; ``position`` is its place in a packed message, from 1; 0 for a whole one."""

    topic: str
    partition: int
    offset: int
    position: int = 0

    def __str__(self) -> str:
        """The way people write it."""
        return f"{self.topic}:{self.partition}:{self.offset}" + (f":{self.position}" if self.position else "")


@dataclass(frozen=True, slots=True)
class Letter:
    """One message of the dead-letter topic; ``partition``, ``offset`` and ``append_ms`` are its own place and time.

    ``origin`` is None unless its headers name topic, partition and offset; ``original_size`` (bytes) is None unless the
    value was cut. Times are milliseconds since 1970.
    """

    partition: int
    offset: int
    append_ms: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, str]
    origin: Origin | None
    timestamp_ms: int
    schema_id: int | None
    first_seen_ms: int
    replay_count: int
    original_size: int | None

    @property
    def place(self) -> str:
        """PARTITION:OFFSET in the dead-letter topic."""
        return f"{self.partition}:{self.offset}"

    @property
    def reason(self) -> str:
        """The stable word; empty when the header is missing."""
        return self.headers.get("reason", "")

    @property
    def org_id(self) -> str:
        """Organisation of the device; empty when it could not be told."""
        return self.headers.get("org_id", "")

    @property
    def device(self) -> str:
        """The message key as text, without the quotation marks that a REST proxy puts around it."""
        text = (self.key or b"").decode(errors="replace")
        return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text

    @property
    def is_cut(self) -> bool:
        """Whether it may be less than the record it stands for."""
        return self.original_size is not None or len(self.key or b"") >= KEY_KEPT


def read_letter(message: Message) -> Letter:
    """Read one message of the dead-letter topic. Raises nothing."""
    headers = _headers(message)
    append_ms = max(0, message.timestamp()[1])
    first_seen = _number(headers.get(FIRST_SEEN), MOST_MS)
    if first_seen is None or not append_ms - MOST_DAYS * DAY_MS <= first_seen <= append_ms + DAY_MS:
        first_seen = append_ms  # rows are partitioned and deleted by it: an odd one would be gone at once, or never
    timestamp = _number(headers.get("timestamp"), MOST_MS)
    return Letter(
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        append_ms=append_ms,
        key=_bytes(message.key()),
        value=_bytes(message.value()),
        headers=headers,
        origin=_origin(headers),
        timestamp_ms=append_ms if timestamp is None else timestamp,
        schema_id=_number(headers.get("schema_id"), MOST_OFFSET),
        first_seen_ms=first_seen,
        replay_count=_number(headers.get(REPLAY_COUNT), MOST_COUNT) or 0,
        original_size=_number(headers.get("original_size"), MOST_OFFSET),
    )


def _origin(headers: Mapping[str, str]) -> Origin | None:
    topic = headers.get("topic")
    partition = _number(headers.get("partition"), MOST_PARTITION)
    offset = _number(headers.get("offset"), MOST_OFFSET)
    if not topic or partition is None or offset is None:
        return None
    return Origin(topic, partition, offset, _number(headers.get(POSITION), MOST_COUNT) or 0)


def _headers(message: Message) -> dict[str, str]:
    """Headers as text; a name that is no UTF-8 makes the client give up on all of them."""
    try:
        pairs = cast("list[tuple[str, bytes | str | None]]", message.headers() or [])
    except (SystemError, UnicodeDecodeError):
        return {}
    return {name: (_bytes(value) or b"").decode(errors="replace") for name, value in pairs}


def _number(text: str | None, most: int) -> int | None:
    """A plain decimal number from 0 to ``most``, None for everything else."""
    if text is None or not (text.isascii() and text.isdecimal()) or len(text) > len(str(MOST_OFFSET)):
        return None
    number = int(text)
    return number if number <= most else None


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
