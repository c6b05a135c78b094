"""``POST /topics/{topic}`` and ``/topics/{topic}/partitions/{partition}`` of REST Proxy v2."""

from __future__ import annotations

import asyncio
import binascii
from base64 import b64decode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from connectors.gateway.content.formats import Form, serialise
from connectors.gateway.content.reading import Reading
from connectors.gateway.content.reading_format import AvroReading
from connectors.gateway.content.schemas import RegisteredSchema
from connectors.gateway.content.strict_json import VALUES_A_RECORD, refuse_crowd
from connectors.gateway.errors import (
    CONVERSION_FAILED,
    PARTITION_NOT_FOUND,
    TOO_LARGE,
    VALUE_SCHEMA_MISSING,
    GatewayError,
)
from connectors.gateway.http import JSON, V2, Reply, Request, Route
from connectors.gateway.intake import Entry, ReadingEntry
from connectors.gateway.records import Outgoing
from connectors.gateway.v2.answer import produced
from connectors.gateway.v2.body import (
    Posted,
    PostedReadings,
    Quick,
    SlowBody,
    SlowRecord,
    read_slowly,
    refuse_too_many,
)
from connectors.gateway.visible_topics import writing_refusal

if TYPE_CHECKING:
    from connectors.gateway.parts import Parts

FORMATS: Final[Mapping[str, Form]] = {
    "application/vnd.kafka.json.v2+json": "json",
    "application/vnd.kafka.avro.v2+json": "avro",
    "application/vnd.kafka.binary.v2+json": "binary",
}
"""Content types and what they say of keys and values."""

SLICE: Final = 200
"""Records that are read one by one before whoever else waits has a turn."""

MOST_WRITTEN: Final = 16_777_216
"""Bytes of all records of a request as they are written: defaults of a schema may be larger than what was sent."""

INLINE_BYTES: Final = 65_536
"""Bodies up to here are read record by record at once, 2 ms at most."""

ANSWERS: Final = (V2, "application/vnd.kafka+json", JSON)

Ids = dict[str, int | None]


def routes(parts: Parts) -> list[Route]:
    """The two routes."""
    produce = _Produce(parts)
    consumes = tuple(FORMATS)
    summary = "Write records to a topic"
    return [
        Route("POST", "/topics/{topic}", produce.post, consumes, ANSWERS, summary=summary, body_schema=BODY),
        Route(
            "POST",
            "/topics/{topic}/partitions/{partition}",
            produce.post,
            consumes,
            ANSWERS,
            summary=f"{summary}, to one partition",
            body_schema=BODY,
        ),
    ]


class _Produce:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._readings = parts.settings.topics.readings
        self._most = parts.settings.gateway.records
        self._levels = parts.settings.gateway.json_depth
        self._quick: Mapping[str, Quick[Any]] = {"json": Quick(Reading), "avro": Quick(AvroReading)}

    async def post(self, request: Request) -> Reply:
        """Write, and answer once every record is in Kafka, in the spool, or refused."""
        topic = request.params["topic"]
        refusal = writing_refusal(self._parts.settings, request.caller, topic)
        if refusal is not None:
            raise refusal
        partitions = self._parts.cluster.partitions(topic)
        if partitions is None:
            partitions = await self._parts.cluster.find(topic)
        partition = _partition(request.params.get("partition"), partitions)
        form = FORMATS[request.media_type]
        if topic == self._readings:
            entries, ids = await self._readings_of(request, form, partition)
            outcomes = await self._parts.intake.readings(request.caller, entries, len(request.body))
        else:
            records, ids = await self._records_of(request, form, topic, partition, partitions)
            outcomes = await self._parts.intake.plain(request.caller, records, len(request.body))
        request.counts["records"] = len(outcomes)
        refused = sum(1 for each in outcomes if isinstance(each, GatewayError))
        request.counts["refused"] = refused
        return produced(outcomes, ids)

    # -- readings ------------------------------------------------------------------------------------------------

    async def _readings_of(self, request: Request, form: Form, partition: int) -> tuple[list[Entry], Ids]:
        quick = self._quick.get(form)
        if len(request.body) > INLINE_BYTES:
            refuse_crowd(request.body, VALUES_A_RECORD * self._most)
        posted = quick.read(request.body) if quick is not None else None
        if posted is None:
            body = await self._read_slowly(request.body)
            ids = await self._schema_ids(body.schemas) if form == "avro" else {}
            entries: list[Entry] = []
            for place, each in enumerate(body.records):
                entries.append(await self._slow_entry(each, form, partition))
                if place % SLICE == SLICE - 1:
                    await asyncio.sleep(0)
            return entries, ids
        refuse_too_many(len(posted.records), self._most)
        ids = {}
        if form == "avro":
            ids = await self._schema_ids(_schemas_of(posted))
        return [_quick_entry(each, partition) for each in posted.records], ids

    async def _schema_ids(self, schemas: Mapping[str, Any]) -> Ids:
        """Check that the request names schemas of the readings topic, and give their ids."""
        value = await self._schema(self._readings, schemas, "value")
        if value is None:
            raise GatewayError(VALUE_SCHEMA_MISSING, "Request includes values but does not include value schema")
        return {"value_schema_id": value.id, "key_schema_id": schemas.get("key_schema_id")}

    async def _slow_entry(self, record: SlowRecord, form: Form, partition: int) -> Entry:
        if record.flaw is not None:
            return record.flaw
        try:
            if form == "json":
                reading = self._parts.readings.from_value(record.value)
            elif form == "avro":
                reading = self._parts.readings.from_avro_value(record.value)
            else:
                reading = await self._from_base64(record.value)
            key = _base64(record.key, "key") if form == "binary" else _text_key(record.key)
            return ReadingEntry(reading, key, record.partition if record.partition >= 0 else partition)
        except GatewayError as error:
            return error

    async def _from_base64(self, value: object) -> Reading:
        raw = _base64(value, "value")
        if raw is None:
            raise GatewayError(CONVERSION_FAILED, "A reading must have a value.")
        schema = None
        if raw[:1] == b"\0" and len(raw) > 5:
            registered = await self._parts.schemas.by_id(self._readings, False, int.from_bytes(raw[1:5], "big"))
            schema = registered.parsed
        return self._parts.readings.from_framed(raw, lambda _: schema)

    async def _read_slowly(self, body: bytes) -> SlowBody:
        """In a thread where it may take long, so that nobody waits for one who sends much that is wrong."""
        if len(body) < INLINE_BYTES:
            return read_slowly(body, self._levels, self._most)
        return await asyncio.to_thread(read_slowly, body, self._levels, self._most)

    # -- other topics ----------------------------------------------------------------------------------------------

    async def _records_of(
        self, request: Request, form: Form, topic: str, partition: int, partitions: int
    ) -> tuple[list[Outgoing | GatewayError], Ids]:
        body = await self._read_slowly(request.body)
        schemas = await self._own_schemas(form, topic, body)
        written: list[Outgoing | GatewayError] = []
        size = 0
        for number, each in enumerate(body.records):
            if number % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            if each.flaw is not None:
                written.append(each.flaw)
                continue
            try:
                key = serialise(form, each.key, schemas["key"], is_key=True)
                value = serialise(form, each.value, schemas["value"])
                place = each.partition if each.partition >= 0 else partition
                if place >= partitions:
                    raise GatewayError(PARTITION_NOT_FOUND, "Partition not found.")
                size += len(key or b"") + len(value or b"")
                if size > MOST_WRITTEN:
                    raise GatewayError(
                        TOO_LARGE, f"The records before it make {MOST_WRITTEN} bytes; send fewer at once."
                    )
                written.append(Outgoing(topic, key, value, place))
            except GatewayError as error:
                written.append(error)
        return written, {f"{part}_schema_id": schema.id if schema else None for part, schema in schemas.items()}

    async def _own_schemas(self, form: Form, topic: str, body: SlowBody) -> dict[str, RegisteredSchema | None]:
        if form != "avro":
            return {"key": None, "value": None}
        return {part: await self._schema(topic, body.schemas, part) for part in ("key", "value")}

    async def _schema(self, topic: str, schemas: Mapping[str, Any], part: str) -> RegisteredSchema | None:
        """The schema that a request names for keys or values, by id or by text; None when it names none."""
        schema_id, text = schemas.get(f"{part}_schema_id"), schemas.get(f"{part}_schema")
        if schema_id is not None:
            return await self._parts.schemas.by_id(topic, part == "key", schema_id)
        return await self._parts.schemas.by_text(topic, part == "key", text) if text is not None else None


def _quick_entry(record: Posted[Reading] | Posted[AvroReading], partition: int) -> Entry:
    value = record.value
    reading = value if isinstance(value, Reading) else value.reading()
    if partition < 0 and record.key is msgspec.UNSET and record.partition is msgspec.UNSET:
        return reading
    own = record.partition if isinstance(record.partition, int) else partition
    return ReadingEntry(reading, record.key.encode() if isinstance(record.key, str) else None, own)


def _schemas_of(posted: PostedReadings[Any]) -> dict[str, Any]:
    given = {
        "key_schema": posted.key_schema,
        "key_schema_id": posted.key_schema_id,
        "value_schema": posted.value_schema,
        "value_schema_id": posted.value_schema_id,
    }
    return {name: value for name, value in given.items() if value is not msgspec.UNSET and value is not None}


def _partition(text: str | None, partitions: int) -> int:
    if text is None:
        return -1
    if not (text.isascii() and text.isdigit() and len(text) < 11 and text == str(int(text))):
        raise GatewayError(PARTITION_NOT_FOUND, "Partition not found.")
    if int(text) >= partitions:
        raise GatewayError(PARTITION_NOT_FOUND, "Partition not found.")
    return int(text)


def _text_key(key: object) -> bytes | None:
    if key is None:
        return None
    if isinstance(key, dict) and key.keys() == {"string"}:  # a union in Avro's JSON
        key = key["string"]
    if not isinstance(key, str):
        raise GatewayError(CONVERSION_FAILED, "The key of a reading is its device_id, a text.")
    return key.encode()


def _base64(value: object, what: str) -> bytes | None:
    if value is None:
        return None
    try:
        return b64decode(cast("str", value), validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise GatewayError(CONVERSION_FAILED, f"The {what} is no base64 text.") from None


BODY: Final = {
    "type": "object",
    "required": ["records"],
    "additionalProperties": False,
    "properties": {
        "records": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "properties": {"key": {}, "value": {}, "partition": {"type": ["integer", "null"], "minimum": 0}},
            },
        },
        "key_schema": {"type": ["string", "null"]},
        "key_schema_id": {"type": ["integer", "null"]},
        "value_schema": {"type": ["string", "null"]},
        "value_schema_id": {"type": ["integer", "null"]},
    },
}
"""The request as JSON Schema, for the OpenAPI page."""
