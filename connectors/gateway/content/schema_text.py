"""Schemas as clients send them: what is taken for one, and whose subject it may be a version of."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass
from typing import Any, Final

import fastavro

from connectors.gateway.content.avro_json import Encode, compiled
from connectors.gateway.content.strict_json import flaw_of
from connectors.gateway.errors import BAD_REQUEST, INVALID_SCHEMA, GatewayError

MOST_TEXT: Final = 65_536
MOST_LEVELS: Final = 64

_ONE_AT_A_TIME: Final = threading.Lock()
"""Four threads that compute leave the event loop a fifth of the time, one leaves it half."""

_RECORD_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """``parsed`` is for fastavro's reader, ``encode`` writes a value of Avro's JSON encoding after some bytes."""

    id: int
    subject: str
    version: int
    schema: Any
    parsed: Any
    encode: Encode

    @property
    def frame(self) -> bytes:
        """The five bytes before a value."""
        return b"\0" + self.id.to_bytes(4, "big")


def parse(text: str) -> tuple[Any, Any, Encode]:
    """A schema's JSON, what fastavro makes of it, and its writer. Raises :class:`GatewayError` 42205.

    Takes up to 40 ms, so call it in a thread.
    """
    try:
        schema = json_of(text)
        flaw = flaw_of(schema, MOST_LEVELS)
        if flaw is not None:
            raise ValueError(f"it {flaw}")
        with _ONE_AT_A_TIME:
            parsed = fastavro.parse_schema(schema)
            return schema, parsed, compiled(parsed)
    except GatewayError:
        raise
    except RecursionError:
        raise GatewayError(INVALID_SCHEMA, "Invalid schema: it has too many levels.") from None
    except Exception as error:  # fastavro raises whatever a bent schema leads it into, KeyError and TypeError included
        said = f"{type(error).__name__}: {error}" if isinstance(error, KeyError | TypeError) else str(error)
        raise GatewayError(INVALID_SCHEMA, f"Invalid schema: {said[:200]}") from None


def json_of(text: str) -> Any:
    """The JSON of a schema, 1 ms for the longest. Raises :class:`GatewayError` 42205 when it can be none."""
    if len(text) > MOST_TEXT:
        raise GatewayError(INVALID_SCHEMA, f"Invalid schema: it is longer than {MOST_TEXT} characters.")
    try:
        schema = json.loads(text)
    except RecursionError:
        raise GatewayError(INVALID_SCHEMA, "Invalid schema: it has too many levels.") from None
    except ValueError as error:
        raise GatewayError(INVALID_SCHEMA, f"Invalid schema: {error}") from None
    if not isinstance(schema, str | dict | list):
        raise GatewayError(INVALID_SCHEMA, "Invalid schema: it is neither an object nor the name of a type")
    return schema


def subject_of(topic: str, is_key: bool) -> str:
    """The subject that holds the schemas of a topic's keys or values."""
    return f"{topic}-{'key' if is_key else 'value'}"


def chosen_subject(topic: str, is_key: bool, subject: str | None, strategy: str | None, text: str | None) -> str:
    """The subject that a v3 record names, directly or by a strategy.

    Raises :class:`GatewayError` 400 for one that is not the topic's: its name followed by ``-key``, ``-value`` or the
    name of a record. A longer topic's subject can be none of these, since names of records have no hyphen.
    """
    if subject is not None:
        own, hyphen, record = subject.partition(f"{topic}-")
        if own or not hyphen or not _RECORD_NAME.fullmatch(record):
            raise GatewayError(BAD_REQUEST, f"A subject of {topic} is {topic}-key, {topic}-value or {topic}-<record>.")
        return subject
    if strategy in (None, "TOPIC_NAME"):
        return subject_of(topic, is_key)
    if strategy != "TOPIC_RECORD_NAME":
        raise GatewayError(BAD_REQUEST, "subject_name_strategy is TOPIC_NAME or TOPIC_RECORD_NAME here.")
    return f"{topic}-{_full_name(json_of(text) if text is not None else None)}"


def _full_name(schema: Any) -> str:
    """The name of a named type with its namespace; the rest of the schema is looked at later, in a thread."""
    name, namespace = (schema.get("name"), schema.get("namespace")) if isinstance(schema, dict) else (None, None)
    if isinstance(name, str) and isinstance(namespace, str) and namespace and "." not in name:
        name = f"{namespace}.{name}"
    if not isinstance(name, str) or not _RECORD_NAME.fullmatch(name):
        raise GatewayError(BAD_REQUEST, "TOPIC_RECORD_NAME takes the text of a record's schema.")
    return name
