"""The gateway's own application and parts in this process, with doubles for the servers behind it: no sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from connectors.gateway.app import Gateway
from connectors.gateway.cluster_view import Broker, ClusterState, Partition, Topic
from connectors.gateway.content.reading import Span
from connectors.gateway.content.reading_encoder import ReadingEncoder
from connectors.gateway.content.reading_format import ReadingFormat
from connectors.gateway.content.schemas import RegisteredSchema, parse, subject_of
from connectors.gateway.door.identity import refusal
from connectors.gateway.errors import SERIALISATION_FAILED, GatewayError
from connectors.gateway.idempotency import Idempotency
from connectors.gateway.intake import Intake, Readings, Rules
from connectors.gateway.limits import Device, Organisation
from connectors.gateway.parts import Parts, make_app
from connectors.gateway.quota.dimensions import Dimensions
from connectors.gateway.quota.quotas import Quotas
from connectors.gateway.quota.sampling import Sampler
from connectors.gateway.records import Caller, Outgoing, Written
from connectors.gateway.server.client_address import TrustedProxies
from connectors.gateway.server.metrics import RECORDS
from connectors.gateway.server.observation import Observation
from connectors.gateway.visible_topics import topic_not_found
from schemas import load_schema
from tests.stack_under_test import settings_from
from weir.settings import Settings

KEY: Final = b"wr_AAAAAAAAAAAA_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"
NOTES: Final = "acme.notes"
CLUSTER: Final = "a-cluster"
READING_ID: Final = 3
NOTE_ID: Final = 4
PARTITIONS: Final = 4
TEXTS: Final = {
    READING_ID: json.dumps(load_schema("Reading")),
    NOTE_ID: json.dumps({"type": "record", "name": "Note", "fields": [{"name": "text", "type": "string"}]}),
}


class Answer(NamedTuple):
    """What the application sent."""

    status: int
    headers: dict[str, str]
    body: bytes


class FakeLog:
    """Takes everything, and keeps it."""

    is_up = True
    in_flight = spooled_records = spooled_bytes = 0
    stalls = replayed_total = refused_total = damaged_bytes = failed_writes = 0

    def __init__(self) -> None:
        self.records: list[Outgoing] = []

    async def send(self, records: Sequence[Outgoing]) -> list[Written | GatewayError]:
        first = len(self.records)
        self.records += records
        return [Written(max(0, each.partition), first + place, 1) for place, each in enumerate(records)]


class FakeIdentity:
    """Knows one key, whose owner may write."""

    known_keys = 1

    def known(self, credentials: bytes) -> Caller | None:
        return Caller("AAAAAAAAAAAA", "acme", "editor") if credentials == KEY else None

    async def caller(self, credentials: bytes | None) -> Caller:
        raise refusal()


class FakeFleet:
    """Device ``a`` is acme's, ``foreign`` birch's, every other id nobody's."""

    known_devices = 2

    def device(self, device_id: str) -> Device | None:
        owner = {"a": "acme", "foreign": "birch"}.get(device_id, "")
        return Device(device_id, owner, frozenset({"t"}))

    async def look_up(self, device_ids: Collection[str]) -> None:
        raise AssertionError("every device is known")

    def organisation(self, slug: str) -> Organisation:
        return Organisation(slug)


class FakeCluster:
    """One broker and two topics."""

    is_known = True
    cluster_id = CLUSTER

    def __init__(self, settings: Settings) -> None:
        partitions = tuple(Partition(number, 1, (1,), (1,)) for number in range(PARTITIONS))
        topics = {name: Topic(name, partitions, False) for name in (settings.topics.readings, NOTES, "birch.notes")}
        self.state = ClusterState(CLUSTER, 1, (Broker(1, "broker", 9092),), topics)

    def partitions(self, topic: str) -> int | None:
        return PARTITIONS if topic in self.state.topics else None

    async def find(self, topic: str) -> int:
        return len((await self.topic(topic)).partitions)

    async def topic(self, name: str) -> Topic:
        if name not in self.state.topics:
            raise topic_not_found()
        return self.state.topics[name]

    async def offsets(self, topic: str, partition: int) -> tuple[int, int]:
        return 0, 1

    async def configs(self, topic: str) -> dict[str, str]:
        return {"cleanup.policy": "delete"}


class FakeSchemas:
    """The schemas of :data:`TEXTS`, and whatever text a client brings."""

    def __init__(self) -> None:
        self._parsed = {number: parse(text) for number, text in TEXTS.items()}

    def known(self, topic: str, is_key: bool, schema_id: int) -> RegisteredSchema | None:
        found = self._parsed.get(schema_id)
        return RegisteredSchema(schema_id, subject_of(topic, is_key), 1, *found) if found else None

    async def named(
        self, topic: str, is_key: bool, schema_id: int | None = None, text: str | None = None
    ) -> RegisteredSchema:
        return await (self.by_text(topic, is_key, text) if text is not None else self.by_id(topic, is_key, schema_id))

    async def by_id(self, topic: str, is_key: bool, schema_id: int | None, _: str | None = None) -> RegisteredSchema:
        found = self.known(topic, is_key, cast("int", schema_id))
        if found is None:
            raise GatewayError(SERIALISATION_FAILED, "no such schema")
        return found

    async def by_version(self, topic: str, is_key: bool, version: int, _: str | None = None) -> RegisteredSchema:
        return await self.by_id(topic, is_key, NOTE_ID if version == 1 else None)

    async def latest(self, topic: str, is_key: bool, _: str | None = None) -> RegisteredSchema:
        return await self.by_id(topic, is_key, NOTE_ID)

    async def by_text(self, topic: str, is_key: bool, text: str, _: str | None = None) -> RegisteredSchema:
        return RegisteredSchema(9, subject_of(topic, is_key), 1, *parse(text))


@dataclass
class FakeDoor:
    """Identity and fleet as the parts hold them; keys hold for ever."""

    identity: FakeIdentity = field(default_factory=FakeIdentity)
    fleet: FakeFleet = field(default_factory=FakeFleet)

    @property
    def watch(self) -> FakeDoor:
        return self

    holds_until = float("inf")


class FakeUsage:
    """Counts nothing."""

    def count(self, organisation: str, **counts: Any) -> None:
        return None


class GatewayInProcess:
    """An application whose requests are calls; ``log`` has what it wrote."""

    def __init__(self, folder: Path, **limits: Any) -> None:
        """Put the real parts together with the doubles; ``limits`` are settings of the gateway."""
        self.settings = settings_from({"gateway": {"data_dir": folder, "access_log": False, **limits}})
        self.log = FakeLog()
        self.loop = asyncio.new_event_loop()
        self.app: Gateway = make_app(self._parts())

    def close(self) -> None:
        """End what goes on in its event loop, and the loop."""
        self.loop.run_until_complete(_end_others())
        self.loop.close()

    def ask(self, method: str, path: str, headers: Sequence[tuple[bytes, bytes]], *pieces: bytes) -> Answer:
        """One request, whose body comes in pieces."""
        return self.loop.run_until_complete(self._ask(method, path, headers, pieces))

    async def _ask(
        self, method: str, path: str, headers: Sequence[tuple[bytes, bytes]], pieces: Sequence[bytes]
    ) -> Answer:
        waiting = [*pieces] or [b""]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if not waiting:
                return {"type": "http.disconnect"}
            body = waiting.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(waiting)}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": list(headers),
            "client": ("127.0.0.1", 5),
        }
        await self.app(scope, receive, send)
        head = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], head, b"".join(each.get("body", b"") for each in sent[1:]))

    def _parts(self) -> Parts:
        settings = self.settings
        cluster, quotas, door = FakeCluster(settings), Quotas(settings.gateway), FakeDoor()
        encoder = ReadingEncoder(load_schema("Reading"), READING_ID)
        span = Span(settings.retention.raw_days, settings.stream.future_skew_seconds)
        readings = Readings(settings.topics.readings, encoder.encode, span, 60_000, cluster.partitions)
        dimensions = Dimensions(settings.gateway.data_dir / "dimensions")
        usage: Any = FakeUsage()
        intake = Intake(readings, Rules(door.fleet, quotas, Sampler(), dimensions), self.log, usage, RECORDS)
        doubles: dict[str, Any] = {"log": self.log, "cluster": cluster, "schemas": FakeSchemas(), "door": door}
        return Parts(
            settings,
            Observation(None, TrustedProxies("")),
            quotas=quotas,
            dimensions=dimensions,
            usage=usage,
            readings=ReadingFormat(settings.gateway.json_depth),
            intake=intake,
            idempotency=Idempotency(settings.gateway.idempotency_seconds, settings.gateway.idempotency_bytes),
            **doubles,
        )


async def _end_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for each in others:
        each.cancel()
    await asyncio.gather(*others, return_exceptions=True)
