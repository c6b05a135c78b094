"""Why a record was turned away: one word for machines, one sentence for people.

====================== ==============================================================================================
reason                 meaning
====================== ==============================================================================================
empty_value            no value at all: a tombstone (``None``) or zero bytes
unknown_schema_id      the registry knows no schema of that id
wrong_schema           the schema of that id describes another record than the one expected here
incompatible_schema    the writer's schema, or the branch or symbol this record uses, has no place in the reader's
undecodable            the bytes do not follow their schema: truncated, garbage, a length that cannot be, a bad number
trailing_bytes         a whole record, and more bytes after it
invalid_json           neither Confluent framing nor well-formed JSON
json_type_mismatch     well-formed JSON whose fields are missing or have the wrong type or range
batch_too_large        a packed record that holds more records than one message may
====================== ==============================================================================================

The words become the ``reason`` header of dead letters and a metric label: they never change.
"""

from __future__ import annotations

from dataclasses import dataclass

EMPTY_VALUE = "empty_value"
UNKNOWN_SCHEMA_ID = "unknown_schema_id"
WRONG_SCHEMA = "wrong_schema"
INCOMPATIBLE_SCHEMA = "incompatible_schema"
UNDECODABLE = "undecodable"
TRAILING_BYTES = "trailing_bytes"
INVALID_JSON = "invalid_json"
JSON_TYPE_MISMATCH = "json_type_mismatch"
BATCH_TOO_LARGE = "batch_too_large"

REASONS = (
    EMPTY_VALUE,
    UNKNOWN_SCHEMA_ID,
    WRONG_SCHEMA,
    INCOMPATIBLE_SCHEMA,
    UNDECODABLE,
    TRAILING_BYTES,
    INVALID_JSON,
    JSON_TYPE_MISMATCH,
    BATCH_TOO_LARGE,
)
"""Every reason the codec gives."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """One record that was turned away.

    ``index`` is its position in the values given to the codec, ``reason`` one of :data:`REASONS`, ``detail`` a
    sentence that says where and why, ``schema_id`` what its framing named (None for JSON and unframed bytes).
    """

    index: int
    reason: str
    detail: str
    schema_id: int | None
