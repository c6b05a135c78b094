"""Dead letters as rows of the ClickHouse table ``dead_letters``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import polars as pl
from confluent_kafka import Message

from streams.telemetry.enrich import TIME
from streams.telemetry.letter import Letter, Origin, read_letter

COLUMNS: Final[dict[str, Any]] = {
    "reason": pl.String,
    "detail": pl.String,
    "stage": pl.String,
    "topic": pl.String,
    "partition": pl.UInt16,
    "offset": pl.UInt64,
    "position": pl.UInt32,
    "timestamp": pl.Int64,
    "key": pl.Binary,
    "value": pl.Binary,
    "schema_id": pl.Int64,
    "org_id": pl.String,
    "first_seen": pl.Int64,
    "replay_count": pl.UInt32,
    "append_ts": pl.Int64,
}
"""The table's columns, times still in milliseconds."""


def dead_letter_rows(messages: Sequence[Message]) -> pl.DataFrame:
    """Return one row a message, in their order, with the table's columns. Raises nothing: odd headers become defaults.

    ``key`` and ``value`` are raw bytes, empty for null. A letter that does not say where it came from is said to come
    from the dead-letter topic itself: rows are told apart by their origin.
    """
    rows = [_row(read_letter(message), message.topic() or "") for message in messages]
    frame = pl.DataFrame(rows, schema=COLUMNS, orient="row")
    return frame.with_columns(pl.col("timestamp", "first_seen", "append_ts").cast(TIME))


def _row(letter: Letter, topic: str) -> tuple[Any, ...]:
    origin = letter.origin or Origin(topic, letter.partition, letter.offset)
    return (
        letter.reason,
        letter.headers.get("detail", ""),
        letter.headers.get("stage", ""),
        *origin,
        letter.timestamp_ms,
        letter.key or b"",
        letter.value or b"",
        letter.schema_id,
        letter.org_id,
        letter.first_seen_ms,
        letter.replay_count,
        letter.append_ms,
    )
