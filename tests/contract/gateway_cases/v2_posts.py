"""What the cases of v2 are made with."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from schemas import load_schema
from tests.contract.gateway_cases.answers import READING
from tests.contract.gateway_cases.case import V2_JSON, Case, Some, Stored

READINGS: Final = "/topics/{readings}"
NOTES: Final = "/topics/{acme}.notes"

NOT_ALIKE: Final = "differs: it knows no readings and would store any JSON"
WAITS: Final = "differs: it waits a minute for metadata, then says 50003; here at once"
READING_SCHEMA: Final = json.dumps(load_schema("Reading"))
NOTE_SCHEMA: Final = (
    '{"type": "record", "name": "Note", "fields": ['
    '{"name": "text", "type": "string"}, {"name": "stars", "type": ["null", "long"], "default": null}]}'
)

SCHEMA_ID: Final = Some("‹schema id›", lambda found: type(found) is int and found > 0)
OF_READINGS: Final = Stored(READING, b"{acme}-1")
"""What is stored of :data:`READING`."""


def base64_of(text: bytes) -> str:
    """Bytes as JSON can hold them."""
    return base64.b64encode(text).decode()


def posted(name: str, path: str = READINGS, media_type: str | None = V2_JSON, **fields: Any) -> Case:
    """A post of readings."""
    return Case(name=name, path=path, media_type=media_type, **fields)


def noted(name: str, media_type: str = V2_JSON, path: str = NOTES, key: str = "editor", **fields: Any) -> Case:
    """A post to a topic of the organisation's own."""
    return Case(name=name, path=path, media_type=media_type, key=key, **fields)


def looked_at(name: str, path: str, **fields: Any) -> Case:
    """A look at what is there."""
    return Case(name=name, method="GET", path=path, **{"key": "editor", **fields})
