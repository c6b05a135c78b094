"""One record of REST Proxy v3, from its JSON to what is written to Kafka."""

from __future__ import annotations

import binascii
import time
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import msgspec

from connectors.gateway.content.formats import Form, serialise
from connectors.gateway.content.reading import Reading
from connectors.gateway.content.schemas import RegisteredSchema, chosen_subject
from connectors.gateway.content.strict_json import flaw_of, read_json
from connectors.gateway.errors import (
    BAD_REQUEST,
    CONVERSION_FAILED,
    INVALID_PAYLOAD,
    PARTITION_NOT_FOUND,
    TOO_LARGE,
    GatewayError,
)
from connectors.gateway.intake import ReadingEntry
from connectors.gateway.records import Outgoing
from connectors.gateway.v3.quick import quick_reading

if TYPE_CHECKING:
    from connectors.gateway.parts import Parts

_SCHEMALESS: Final[dict[str, Form]] = {"BINARY": "binary", "JSON": "json", "STRING": "string"}
_NOT_OFFERED: Final = frozenset({"JSONSCHEMA", "PROTOBUF"})
_KEPT_BY_STREAM: Final = frozenset({"first_seen", "replay_count"})
"""Headers by which the stream knows readings that it refused before and that were sent again."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_MOST_AHEAD_MS: Final = 3_600_000
"""Kafka's own ``message.timestamp.after.max.ms``: one record beyond it would have its whole batch refused."""

MOST_VALUES: Final = 20_000
"""Values in one record of a stream; reading as many takes 10 ms, and nobody else is served meanwhile."""


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """A key or a value: what it is, which schema it has, and the data itself as it came."""

    type: str | None = None
    subject: str | None = None
    subject_name_strategy: str | None = None
    schema_id: int | None = None
    schema_version: int | None = None
    schema: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")


class Header(msgspec.Struct, forbid_unknown_fields=True):
    """``value`` is base64."""

    name: str
    value: str | None = None


class Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """A record of a stream."""

    partition_id: int | None = None
    headers: list[Header] | None = None
    key: Data | None = None
    value: Data | None = None
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class BatchEnvelope(Envelope, forbid_unknown_fields=True):
    """A record of a batch; its name is read before."""

    id: str = ""


class Prepared(NamedTuple):
    """What is to be written, and what the report says of key and value: JSON, empty for none."""

    entry: ReadingEntry | Outgoing
    key: bytes
    value: bytes


_DECODER: Final = msgspec.json.Decoder(Envelope)
_BATCH_DECODER: Final = msgspec.json.Decoder(BatchEnvelope)
_encode: Final = msgspec.json.encode


class RecordReader:
    """Reads records for one topic, which the caller may write to and which has ``partitions``."""

    def __init__(self, parts: Parts, topic: str, partitions: int) -> None:
        """Nothing is read yet."""
        self._readings = parts.readings
        self._schemas = parts.schemas
        self._most_levels = parts.settings.gateway.json_depth
        self.topic = topic
        self._partitions = partitions
        self.is_readings = topic == parts.settings.topics.readings

    async def read(self, text: bytes) -> Prepared | GatewayError:
        """The record that a JSON text is, or why it is none. Asks the registry about a schema that is not known."""
        quick = quick_reading(text) if self.is_readings else None
        if quick is not None:
            reading, size = quick
            return Prepared(ReadingEntry(reading), b"", _report("JSON", size, None))
        if len(text) > MOST_VALUES and text.count(b",") + text.count(b"{") + text.count(b"[") > MOST_VALUES:
            return GatewayError(TOO_LARGE, f"The record has more than {MOST_VALUES} values; send fewer at once.")
        try:
            return await self._prepared(text, read_json(text), _DECODER)
        except GatewayError as error:
            return error

    async def read_entry(self, text: bytes, tree: object) -> Prepared | GatewayError:
        """The same of an entry of a batch, which was read already to ``tree``."""
        try:
            return await self._prepared(text, tree, _BATCH_DECODER)
        except GatewayError as error:
            return error

    async def _prepared(self, text: bytes, tree: object, decoder: msgspec.json.Decoder[Any]) -> Prepared:
        flaw = flaw_of(tree, self._most_levels)
        if flaw is not None:
            raise GatewayError(INVALID_PAYLOAD, f"Payload error. The record {flaw}.")
        try:
            envelope: Envelope = decoder.decode(text)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise GatewayError(BAD_REQUEST, f"Error processing JSON: {error}") from None
        if envelope.partition_id is not None and not 0 <= envelope.partition_id < self._partitions:
            raise GatewayError(PARTITION_NOT_FOUND, "Partition not found.")
        return await (self._reading(envelope, tree) if self.is_readings else self._plain(envelope))

    # -- an organisation's own topics ------------------------------------------------------------------------------

    async def _plain(self, envelope: Envelope) -> Prepared:
        key, key_report = await self._bytes_of(envelope.key, is_key=True)
        value, value_report = await self._bytes_of(envelope.value, is_key=False)
        partition = -1 if envelope.partition_id is None else envelope.partition_id
        headers = _headers_of(envelope)
        record = Outgoing(self.topic, key, value, partition, headers, _milliseconds(envelope.timestamp))
        return Prepared(record, key_report, value_report)

    async def _bytes_of(self, part: Data | None, is_key: bool) -> tuple[bytes | None, bytes]:
        if part is None:
            return None, b""
        try:
            if part.type in _SCHEMALESS:
                _refuse_schema(part)
                encoded = serialise(_SCHEMALESS[part.type], part.data)
                return encoded, _report(part.type, len(encoded or b""), None)
            schema = await self._schema_of(part, is_key)
            encoded = serialise("avro", part.data, schema, is_key)
            return encoded, _report("AVRO", len(encoded or b""), schema)
        except GatewayError as error:
            if error.code != CONVERSION_FAILED:
                raise
            # v3 says 400 where v2 says 42203
            raise GatewayError(BAD_REQUEST, f"Bad Request: {error.message}", reason=error.reason) from None

    async def _schema_of(self, part: Data, is_key: bool) -> RegisteredSchema:
        """The schema that a key or value names, the newest of its subject when it names none."""
        _refuse_contradictions(part)
        subject = chosen_subject(self.topic, is_key, part.subject, part.subject_name_strategy, part.schema)
        if part.schema_id is not None:
            return await self._schemas.by_id(self.topic, is_key, part.schema_id, subject)
        if part.schema_version is not None:
            return await self._schemas.by_version(self.topic, is_key, part.schema_version, subject)
        if part.schema is not None:
            return await self._schemas.by_text(self.topic, is_key, part.schema, subject)
        return await self._schemas.latest(self.topic, is_key, subject)

    # -- readings --------------------------------------------------------------------------------------------------

    async def _reading(self, envelope: Envelope, tree: Any) -> Prepared:
        key, part = envelope.key, envelope.value
        if part is None:
            raise GatewayError(CONVERSION_FAILED, "A reading must have a value.")
        data, schema = tree["value"].get("data"), None
        if part.type == "JSON":
            _refuse_schema(part)
            reading = self._readings.from_value(data)
        elif part.type == "BINARY":
            _refuse_schema(part)
            reading = await self._framed(data)
        elif part.type == "STRING":
            raise GatewayError(CONVERSION_FAILED, "A reading is sent as JSON, AVRO or BINARY.")
        else:
            schema = await self._schema_of(part, is_key=False)
            reading = self._readings.from_avro_value(data)
        partition = -1 if envelope.partition_id is None else envelope.partition_id
        headers = [each for each in _headers_of(envelope) if each[0] not in _KEPT_BY_STREAM]
        entry = ReadingEntry(reading, _key_of_reading(key, tree.get("key")), partition, headers)
        key_report = _report(key.type or "STRING", len(entry.key or b""), None) if key else b""
        return Prepared(entry, key_report, _report(part.type or "AVRO", _size(part.data), schema))

    async def _framed(self, data: object) -> Reading:
        value = _base64(data, "value")
        schema = None
        if value[:1] == b"\0" and len(value) > 5:
            schema_id = int.from_bytes(value[1:5], "big")
            schema = self._schemas.known(self.topic, False, schema_id) or await self._schemas.by_id(
                self.topic, False, schema_id
            )
        parsed = schema.parsed if schema else None
        return self._readings.from_framed(value, lambda _: parsed)


def _key_of_reading(part: Data | None, tree: object) -> bytes | None:
    """The key that a reading came with, as the bytes of a text whatever its type says; the intake compares it."""
    data = tree.get("data") if isinstance(tree, dict) else None
    if part is None or data is None:
        return None
    if part.type == "BINARY":
        return _base64(data, "key")
    if not isinstance(data, str):
        raise GatewayError(CONVERSION_FAILED, "The key of a reading is its device_id, a string.")
    return data.encode()


def _refuse_schema(part: Data) -> None:
    """Refuse what names a schema beside a type that has none."""
    for name in ("subject_name_strategy", "subject", "schema_id", "schema_version", "schema"):
        if getattr(part, name) is not None:
            raise GatewayError(BAD_REQUEST, f"Bad Request: 'type={part.type}' cannot be used with '{name}'.")


def _refuse_contradictions(part: Data) -> None:
    if part.type in _NOT_OFFERED:
        raise GatewayError(BAD_REQUEST, f"Bad Request: type {part.type} is not offered here; use AVRO or JSON.")
    if part.type not in (None, "AVRO"):
        raise GatewayError(BAD_REQUEST, "Bad Request: type is one of BINARY, JSON, STRING, AVRO.")
    if part.subject is not None and part.subject_name_strategy is not None:
        raise GatewayError(BAD_REQUEST, "Bad Request: Only one of 'subject_name_strategy' or 'subject' can be used.")
    if sum(each is not None for each in (part.schema_id, part.schema_version, part.schema)) > 1:
        said = "Only one of 'schema_id', 'schema_version' or 'schema' can be used."
        raise GatewayError(BAD_REQUEST, f"Bad Request: {said}")
    if (part.type is None) != (part.schema is None):
        raise GatewayError(BAD_REQUEST, "Bad Request: 'schema' and 'type=AVRO' are used together.")


def _headers_of(envelope: Envelope) -> list[tuple[str, bytes | None]]:
    return [
        (each.name, None if each.value is None else _base64(each.value, f"header {each.name[:50]!r}"))
        for each in envelope.headers or ()
    ]


def _base64(value: object, what: str) -> bytes:
    try:
        if isinstance(value, str):
            return b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise GatewayError(BAD_REQUEST, f"Bad Request: the {what} is not a base64 string.")


def _milliseconds(moment: datetime | None) -> int:
    """Milliseconds since 1970, at least 1, because 0 stands for the clock."""
    if moment is None:
        return 0
    elapsed = (moment - _EPOCH) // _MILLISECOND
    if elapsed < 0:
        raise GatewayError(BAD_REQUEST, "Bad Request: the timestamp is before 1970.")
    if elapsed > time.time_ns() // 1_000_000 + _MOST_AHEAD_MS:
        raise GatewayError(CONVERSION_FAILED, "The timestamp is more than an hour ahead.")
    return max(1, elapsed)


def _size(data: msgspec.Raw) -> int:
    return len(msgspec.json.format(bytes(data), indent=-1))


def _report(kind: str, size: int, schema: RegisteredSchema | None) -> bytes:
    if schema is None:
        return b'{"type":"%b","size":%d}' % (kind.encode(), size)
    return b'{"type":"%b","subject":%b,"schema_id":%d,"schema_version":%d,"size":%d}' % (
        kind.encode(),
        _encode(schema.subject),
        schema.id,
        schema.version,
        size,
    )
