"""``POST /v3/clusters/{cluster_id}/topics/{topic}/records``, one record or a stream, and ``records:batch``.

The status is 200 as soon as the topic is found, and every record has its report, in order, while the request goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from connectors.gateway.errors import INVALID_PAYLOAD, NOT_FOUND, GatewayError
from connectors.gateway.http import JSON, Reply, Request, Route, StreamReply
from connectors.gateway.server.held_bytes import HELD
from connectors.gateway.v3.batch import BATCH, written_batch
from connectors.gateway.v3.live_streams import LiveStreams
from connectors.gateway.v3.record import RecordReader
from connectors.gateway.v3.report import Reports
from connectors.gateway.v3.stream import RecordStream
from connectors.gateway.visible_topics import writing_refusal

if TYPE_CHECKING:
    from connectors.gateway.parts import Parts

_PATH: Final = "/v3/clusters/{cluster_id}/topics/{topic}/records"


def routes(parts: Parts) -> list[Route]:
    """The two routes."""
    produce = _Produce(parts)
    return [
        Route(
            "POST",
            _PATH,
            produce.stream,
            (JSON,),
            streams=True,
            summary="Write one record, or a stream of them",
            body_schema=RECORD,
        ),
        Route("POST", f"{_PATH}:batch", produce.batch, (JSON,), summary="Write a batch", body_schema=BATCH),
    ]


class _Produce:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._live = LiveStreams(lambda: parts.is_draining)

    async def stream(self, request: Request) -> StreamReply:
        """Begin to read once the topic is found; an empty body is refused before the answer begins."""
        reader, reports = await self._opened(request)
        if request.pieces is None:
            raise TypeError("the route streams, and the request has no pieces")
        key = request.caller.prefix
        self._live.enter(key)
        try:
            first = await anext(request.pieces, None)
            if first is None:
                raise GatewayError(INVALID_PAYLOAD, "Payload error. Request body is empty. Data is required.")
            with HELD.share(request.caller) as share:
                share.hold(len(first))  # while a status can still say that there is no room
        except BaseException:
            self._live.leave(key)
            raise
        return StreamReply(200, self._live.chunks(key, RecordStream(self._parts, request, reader, reports), first))

    async def batch(self, request: Request) -> Reply:
        """All entries of one body."""
        reader, reports = await self._opened(request)
        return await written_batch(self._parts, request, reader, reports)

    async def _opened(self, request: Request) -> tuple[RecordReader, Reports]:
        parts, topic = self._parts, request.params["topic"]
        refusal = writing_refusal(parts.settings, request.caller, topic)
        if refusal is not None:
            raise refusal
        partitions = parts.cluster.partitions(topic)
        if partitions is None:
            partitions = await parts.cluster.find(topic)
        if request.params["cluster_id"] != parts.cluster.cluster_id:
            raise GatewayError(NOT_FOUND, "HTTP 404 Not Found")
        return RecordReader(parts, topic, partitions), Reports(parts.cluster.cluster_id, topic)


DATA: Final = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "properties": {
        "type": {"enum": ["BINARY", "JSON", "STRING", "AVRO", None]},
        "subject": {"type": ["string", "null"]},
        "subject_name_strategy": {"enum": ["TOPIC_NAME", "TOPIC_RECORD_NAME", None]},
        "schema_id": {"type": ["integer", "null"]},
        "schema_version": {"type": ["integer", "null"]},
        "schema": {"type": ["string", "null"]},
        "data": {},
    },
}
RECORD: Final = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "partition_id": {"type": ["integer", "null"], "minimum": 0},
        "headers": {
            "type": ["array", "null"],
            "items": {
                "type": "object",
                "required": ["name"],
                "additionalProperties": False,
                "properties": {"name": {"type": "string"}, "value": {"type": ["string", "null"]}},
            },
        },
        "key": DATA,
        "value": DATA,
        "timestamp": {"type": ["string", "null"], "format": "date-time"},
    },
}
"""A record as JSON Schema, for the OpenAPI page."""
