"""A gateway as a process, organisations that must know nothing of each other, and keys of every kind."""

from __future__ import annotations

import base64
import sys
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from connectors.entities.actor import SYSTEM
from connectors.entities.directory import Directory, open_directory
from connectors.entities.key_models import KeyCreate, KeyRole
from connectors.entities.metric_models import MetricCreate
from connectors.entities.models import EntityCreate
from connectors.kafka.client import kafka_client_config
from connectors.registry import Registry, value_subject
from tests.free_ports import free_port
from tests.stack_under_test import StackUnderTest
from tests.waiting import patient, wait_until
from tests.world import World, world_on
from weir.settings import Settings
from weir.stack.child import Child, Command

METRIC = "hall.temperature"
LIMITS: Mapping[str, object] = {
    "body_bytes": 65_536,
    "records": 100,
    "headers": 32,
    "header_bytes": 4_096,
    "header_seconds": 1.0,
    "body_seconds": 1.0,
    "key_seconds": 0.5,
}
"""Small ones, so that tests reach them soon."""

PROPERTIES: Mapping[str, dict[str, Any]] = {
    "thrift": {"quotas": {"records_per_second": 1, "burst_seconds": 5}},
    "novel": {"quotas": {"new_values_a_day": 2}, "sampling": {"policy": "on_change"}},
}
"""Of organisations that meet their limits: thrift sends five readings at once, novel has two new values a day."""

NAMES = ("acme", "birch", "thrift", "novel")


@dataclass(frozen=True)
class Tenant:
    """One organisation; ``marker`` stands in every text of it, ``keys`` are the texts of its keys by kind."""

    slug: str
    marker: str
    topic: str
    keys: Mapping[str, str]

    @property
    def device(self) -> str:
        """The device that has a key of its own."""
        return f"{self.slug}-1"

    @property
    def spare(self) -> str:
        """Another device."""
        return f"{self.slug}-2"

    def headers(self, kind: str = "organisation") -> dict[str, str]:
        """Credentials of one of its keys."""
        return {"Authorization": f"Bearer {self.keys[kind]}"}


class GatewayProcess:
    """``weir gateway`` as a process; it ends with the test run, however that ends."""

    def __init__(self, world: World, number: int = 1) -> None:
        """Start it with the settings of a world; the log is ``gateway-<number>.log`` in the world's folder."""
        self.port = world.settings.gateway.port
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_file = world.folder / f"gateway-{number}.log"
        command = Command([sys.executable, "-m", "weir", "gateway"], grace_seconds=20.0)
        self._child = Child(f"gateway-{number}", command, world.environment, self.log_file)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def log(self) -> str:
        """All that it has written."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def check(self) -> None:
        """Fail with the end of its log when it has ended."""
        ended = self._child.exit_code()
        if ended is not None:
            raise AssertionError(f"The gateway ended with exit code {ended}:\n{self.log[-4000:]}")

    def is_ready(self) -> bool:
        """Whether it says that it can take records."""
        self.check()
        try:
            return httpx.get(f"{self.url}/ready", timeout=patient(5.0), trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """Ask it to stop and wait for its end."""
        self._child.request_stop()
        self._child.wait_stopped()


@dataclass
class GatewayWorld:
    """A running gateway and who posts to it. ``readings_schema`` is the id under which readings are registered."""

    world: World
    process: GatewayProcess
    tenants: Mapping[str, Tenant]
    cluster: str
    readings_schema: int
    foreign_schema: int
    client: httpx.Client
    consumer: Consumer

    @property
    def acme(self) -> Tenant:
        """The organisation that most requests are of."""
        return self.tenants["acme"]

    @property
    def birch(self) -> Tenant:
        """The organisation that must not be seen."""
        return self.tenants["birch"]

    @property
    def settings(self) -> Settings:
        """Of the gateway, and of what is behind it."""
        return self.world.settings

    @property
    def places(self) -> dict[str, str]:
        """What the words in braces of a case stand for, at this moment."""
        return {
            **{name: tenant.slug for name, tenant in self.tenants.items()},
            "readings": self.settings.topics.readings,
            "weir": self.settings.namespace,
            "cluster": self.cluster,
            "readings schema": str(self.readings_schema),
            "foreign schema": str(self.foreign_schema),
            "now": str(time.time_ns() // 1_000_000),
            "unique": uuid.uuid4().hex,
        }

    def tenant_of(self, key: str) -> tuple[Tenant, str]:
        """Whose key a name means: ``viewer`` is acme's, ``birch organisation`` is birch's."""
        owner, _, kind = key.partition(" ")
        return (self.tenants[owner], kind) if owner in self.tenants else (self.acme, key)

    def message(self, topic: str, partition: int, offset: int) -> Message:
        """What Kafka holds there."""
        self.consumer.assign([TopicPartition(topic, partition, offset)])
        message = self.consumer.poll(10.0)
        assert message is not None, f"nothing at {topic}[{partition}]@{offset}"
        assert message.error() is None, message.error()
        assert message.offset() == offset
        return message

    def end(self, topic: str) -> int:
        """How many records a topic has had, over all of its partitions."""
        partitions = self.consumer.list_topics(topic, timeout=patient(10.0)).topics[topic].partitions
        return sum(
            self.consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=patient(10.0))[1]
            for number in partitions
        )


@contextmanager
def gateway_world(
    stack: StackUnderTest, folder: Path, changes: Mapping[str, object] | None = None
) -> Iterator[GatewayWorld]:
    """A fresh world with a running gateway; ``changes`` are settings of the gateway."""
    own = {"port": free_port(), "data_dir": folder / "gateway", **(LIMITS if changes is None else changes)}
    with world_on(stack, folder, {"gateway": own}) as world, _topics(world) as topics:
        tenants = {name: _tenant(world, name, topic) for name, topic in topics.items()}
        process = GatewayProcess(world)
        consumer = _consumer(world.settings)
        try:
            wait_until(process.is_ready, "the gateway is ready", 60.0)
            with httpx.Client(base_url=process.url, timeout=patient(20.0), trust_env=False) as client:
                cluster = consumer.list_topics(timeout=patient(10.0)).cluster_id
                ids = _schemas(world.settings, tenants["birch"])
                yield GatewayWorld(world, process, tenants, str(cluster), *ids, client, consumer)
        finally:
            consumer.close()
            process.stop()


def _consumer(settings: Settings) -> Consumer:
    own = {"group.id": f"{settings.namespace}.seen", "enable.auto.commit": False, "log_level": 0}
    # a fetch that waits for more would hold up the next place that is asked for
    return Consumer(
        kafka_client_config(settings.kafka) | own | {"fetch.wait.max.ms": 5, "reconnect.backoff.max.ms": 200}
    )


@contextmanager
def _topics(world: World) -> Iterator[dict[str, str]]:
    """A topic of two partitions for each organisation, by its short name; dropped at the end."""
    token = world.settings.namespace
    topics = {name: f"{name}-{token}.notes" for name in NAMES}
    admin = AdminClient(kafka_client_config(world.settings.kafka) | {"log_level": 0})
    for made in admin.create_topics([NewTopic(topic, num_partitions=2) for topic in topics.values()]).values():
        made.result()
    try:
        yield topics
    finally:
        for gone in admin.delete_topics(list(topics.values())).values():
            gone.result()
        _drop_subjects_of(world.settings, topics.values())


def _drop_subjects_of(settings: Settings, topics: Collection[str]) -> None:
    with httpx.Client(base_url=settings.registry.url, trust_env=False, timeout=patient(10.0)) as client:
        for subject in client.get("/subjects").json():
            if subject.startswith(tuple(f"{topic}-" for topic in topics)):
                client.delete(f"/subjects/{subject}")


def _schemas(settings: Settings, birch: Tenant) -> tuple[int, int]:
    """The id of the schema of readings, and of one that only birch has."""
    own = f'{{"type": "record", "name": "Note", "fields": [{{"name": "{birch.marker}", "type": "string"}}]}}'
    with Registry(settings.registry) as registry:
        readings = registry.latest(value_subject(settings.topics.readings))
        assert readings is not None, "migrations register the schema of readings"
        return readings.id, registry.register(value_subject(birch.topic), own)


def _tenant(world: World, name: str, topic: str) -> Tenant:
    slug, marker = f"{name}-{world.settings.namespace}", f"otter{uuid.uuid4().hex[:8]}"
    with open_directory(world.dsn, SYSTEM) as directory:
        if name == "acme":
            directory.metrics.define(MetricCreate(name=METRIC, unit="celsius"))
        make = directory.entities.create
        texts = {"name": f"name {marker}", "description": f"about {marker}"}
        make(EntityCreate(entity_type="organisation", key=slug, properties=PROPERTIES.get(name, {}), **texts))
        for number in (1, 2, 3):
            device = f"{slug}-{number}"
            make(EntityCreate(entity_type="device", key=device, organisation=slug, **texts))
            make(EntityCreate(entity_type="sensor", key="t", parent=device, properties={"metric": METRIC}))
        return Tenant(slug, marker, topic, _keys(directory, slug))


def _keys(directory: Directory, slug: str) -> dict[str, str]:
    """Every kind of key, those that hold no longer, too."""

    def key(role: KeyRole, **more: Any) -> str:
        return directory.keys.create(KeyCreate(role=role, organisation=slug, **more)).secret

    roles: dict[str, KeyRole] = {"organisation": "device", "viewer": "viewer", "editor": "editor", "admin": "admin"}
    keys = {kind: key(role) for kind, role in roles.items()}
    keys["device"] = directory.keys.create(KeyCreate(device=f"{slug}-1")).secret
    keys["expired"] = key("device", expires_at=datetime.now(UTC) + timedelta(seconds=0.2))
    revoked = directory.keys.create(KeyCreate(role="device", organisation=slug))
    directory.keys.revoke(revoked.prefix)
    keys["revoked"] = revoked.secret
    retired = directory.keys.create(KeyCreate(device=f"{slug}-3"))
    directory.entities.retire(directory.entities.get("device", f"{slug}-3").id)
    keys["of a retired device"] = retired.secret
    keys["with another secret"] = keys["organisation"][:-4] + "AAAA"
    keys["unknown"] = f"wr_{'A' * 12}_{'B' * 32}"
    keys["no key"] = "not-a-key"
    return keys


def basic(key: str) -> str:
    """A key as Basic credentials: the prefix is the user, the secret the password."""
    prefix, _, secret = key.removeprefix("wr_").partition("_")
    return "Basic " + base64.b64encode(f"{prefix}:{secret}".encode()).decode()
