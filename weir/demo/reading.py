"""Readings as a device sends them: Avro behind Confluent's five bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import fastavro

MAGIC = b"\0"


@dataclass(frozen=True, slots=True)
class Reading:
    """One record of Reading.avsc; ``ts`` in milliseconds since 1970."""

    device_id: str
    sensor: str
    ts: int
    value: float | None = None
    str_value: str | None = None
    status_code: int | None = None
    unit: str | None = None
    seq: int | None = None
    quality: str | None = None
    battery_level: float | None = None
    fw_ver: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message on its way: ``kind`` names what it is for the statistics.

    Either ``reading`` is what must be stored of it, or ``reason`` is the word with which it must be refused.
    """

    key: str
    value: bytes | None
    kind: str
    reading: Reading | None = None
    reason: str = ""


class Framing:
    """Writes records of one registered schema."""

    def __init__(self, schema: Mapping[str, Any], schema_id: int) -> None:
        """``schema_id`` is what the registry gave to ``schema``."""
        self.prefix = MAGIC + schema_id.to_bytes(4, "big")
        self._schema = fastavro.parse_schema(dict(schema))

    def payload(self, record: Mapping[str, Any]) -> bytes:
        """The record alone, without the five bytes."""
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, self._schema, record)
        return buffer.getvalue()

    def frame(self, record: Mapping[str, Any]) -> bytes:
        """A whole message value."""
        return self.prefix + self.payload(record)

    def message(self, reading: Reading, kind: str) -> Outgoing:
        """The message of a reading that must be stored, keyed as the contract says."""
        return Outgoing(reading.device_id, self.frame(asdict(reading)), kind, reading)
