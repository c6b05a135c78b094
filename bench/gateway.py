"""What the gateway takes on one core: single readings and batches of them, in JSON and in Avro, keys and quotas on.

The gateway runs alone on one core; broker, metadata and load have the others (nothing is moved where there is only one
core). A floor comes from the same run: the same web server with the same limits, answering a constant. Every record
must be acknowledged by the broker: answers are read, and the topic's end is compared with them.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import msgspec
from confluent_kafka import Consumer, TopicPartition

from bench.answering import await_ok
from bench.gateway_requests import MARK, Format, Posts, fleet
from bench.harness import CpuMeter
from bench.http_load import Load, Outcome
from bench.pinned import cores, moved
from bench.testbed import Testbed
from connectors.entities.actor import SYSTEM
from connectors.entities.directory import open_directory
from connectors.entities.key_models import KeyCreate
from connectors.entities.models import EntityUpdate
from connectors.kafka.client import kafka_client_config
from connectors.postgres.devices import register
from weir.demo.preparation import registered_framings
from weir.errors import StackError
from weir.settings import Settings
from weir.stack.child import Child

ORGANISATION: Final = "bench"
BATCH: Final = 100
CONNECTIONS: Final = 128
BATCH_CONNECTIONS: Final = 16
"""Batches keep a core busy with few senders; more would only wait longer."""

PLENTY: Final = 1e9
"""A limit that is looked at and never reached."""

CONSTANT: Final = b"POST / HTTP/1.1\r\nHost: gateway\r\nContent-Length: 2\r\n\r\n{}"

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """One load: what was answered well, its latency, and what it cost the server (CPU seconds a second: ``cores``).

    ``offered`` requests a second came at a constant rate; 0 as fast as they were answered. ``sender_cores`` is what the
    load itself took: near 1, it was the load that could not do more.
    """

    requests_per_second: float
    records_per_second: float
    requests_per_cpu_second: float
    records_per_cpu_second: float
    p50_ms: float
    p99_ms: float
    worst_ms: float
    cores: float
    sender_cores: float
    offered: float = 0.0
    failures: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GatewayRun:
    """Every load by its name, what was acknowledged in all of them, and what the topic holds afterwards.

    ``apart``: the server had a core on which neither broker nor load ran.
    """

    loads: dict[str, Measured]
    acknowledged: int
    in_kafka: int
    others_cpu_share: float
    apart: bool

    @property
    def complete(self) -> bool:
        """Whether every request was answered well, and the topic holds what was acknowledged."""
        return self.in_kafka == self.acknowledged and not any(load.failures for load in self.loads.values())


@dataclass(frozen=True, slots=True)
class Target:
    """What the gateway was built to reach: a figure of one load, ``at_least`` or (latency) below."""

    what: str
    load: str
    figure: str
    bound: float

    def value(self, run: GatewayRun) -> float:
        """The measured figure."""
        return float(getattr(run.loads[self.load], self.figure))

    def met(self, run: GatewayRun) -> bool:
        """Whether one run reaches it."""
        return self.reached(self.value(run))

    def reached(self, value: float) -> bool:
        """Latencies stay below the bound, everything else reaches it."""
        return value < self.bound if self.figure.endswith("_ms") else value >= self.bound


TARGETS: Final = (
    Target("records/s in batches of 100, JSON", "batch JSON", "records_per_second", 80_000.0),
    Target("single requests/s at 128 connections, JSON", "single JSON", "requests_per_second", 8_000.0),
    Target("p99 of batches at half of that, ms", "batch JSON at half", "p99_ms", 50.0),
    Target("p99 of single requests at half of that, ms", "single JSON at half", "p99_ms", 50.0),
)


def measure(testbed: Testbed, settings: Settings, seconds: float, report: Report) -> GatewayRun:
    """Run every load once for ``seconds``; blocks for about ten times as long.

    Raises :class:`~weir.errors.StackError` when the gateway does not start or a load cannot run.
    """
    settings = _with_gateway(settings)
    posts = _prepare(settings, report)
    core, others = cores()
    apart = others != frozenset({core})
    with moved([os.getpid(), *testbed.every_pid()] if apart else [], others):
        bench = _Bench(testbed, settings, posts, seconds, core, report)
        with bench.server("gateway-bench", "weir", "gateway", path="/ready"):
            loads = bench.gateway_loads()
        with bench.server("constant-bench", "bench.constant_server", path="/"):
            loads["floor"] = bench.load("floor", [CONSTANT], CONNECTIONS, 0)
    return GatewayRun(loads, bench.acknowledged, _in_topic(settings), bench.others_share, bench.apart)


class _Bench:
    """What the loads of one run share."""

    def __init__(
        self, testbed: Testbed, settings: Settings, posts: Posts, seconds: float, core: int, report: Report
    ) -> None:
        self._testbed, self._settings, self._posts = testbed, settings, posts
        self._seconds, self._core, self._report = seconds, core, report
        self._pid = 0
        self.acknowledged = 0
        self.others_share = 0.0
        self.apart = True

    @contextmanager
    def server(self, name: str, *module: str, path: str) -> Iterator[None]:
        """A server of the gateway's settings, alone on its core, from its first good answer on."""
        self._report(f"starting {name}")
        pinned = ("bench.pinned", str(self._core))
        child = self._testbed.spawn(name, self._settings, *pinned, *module)
        try:
            self._await(child, path)
            self._pid = child.pid
            self.apart &= os.sched_getaffinity(child.pid).isdisjoint(os.sched_getaffinity(0))
            yield
        finally:
            child.request_stop()
            child.wait_stopped()

    def gateway_loads(self) -> dict[str, Measured]:
        """Both sizes in both formats at full speed, then JSON at half of what it reached."""
        loads = {}
        forms: tuple[Format, ...] = ("JSON", "Avro")
        for size, records, connections in (("single", 1, CONNECTIONS), ("batch", BATCH, BATCH_CONNECTIONS)):
            for form in forms:
                loads[f"{size} {form}"] = self._posted(f"{size} {form}", form, records, connections)
        for size, records, connections in (("single", 1, CONNECTIONS), ("batch", BATCH, BATCH_CONNECTIONS)):
            half = max(1.0, loads[f"{size} JSON"].requests_per_second / 2)
            loads[f"{size} JSON at half"] = self._posted(f"{size} JSON at half", "JSON", records, connections, half)
        return loads

    def _posted(self, name: str, form: Format, records: int, connections: int, rate: float = 0.0) -> Measured:
        requests = self._posts.render(form, records, time.time_ns() // 1_000_000)
        return self.load(name, requests, connections, records, rate)

    def load(self, name: str, requests: list[bytes], connections: int, records: int, rate: float = 0.0) -> Measured:
        """Send, and say what came; ``records`` 0 is the floor, whose answers hold none."""
        self._report(f"{name}: {self._seconds:g} s over {connections} connections")
        gateway = self._settings.gateway
        mark = MARK if records else b""
        load = Load(gateway.host, gateway.port, requests, connections, self._seconds, 1.0, rate, records, mark)
        with CpuMeter({"server": self._pid} | self._testbed.pids()) as meter:
            outcome = _run(load)
        began, ended = outcome.began, outcome.began + outcome.seconds
        used = meter.cpu_seconds("server", began, ended)
        taken = outcome.cpu_seconds / (outcome.seconds + load.warm_up)
        # the load is no stranger
        strangers = meter.others_share(began, ended) - taken / (os.cpu_count() or 1)
        self.others_share = max(self.others_share, strangers)
        self.acknowledged += outcome.good_in_all * records
        return _measured(outcome, records, used, taken, rate)

    def _await(self, child: Child, path: str) -> None:
        gateway = self._settings.gateway
        await_ok(child, f"http://{gateway.host}:{gateway.port}{path}")


def _run(load: Load) -> Outcome:
    """The load in a process of its own, on the cores that this one has."""
    command = (sys.executable, "-m", "bench.http_load")
    content = msgspec.msgpack.encode(load)
    patience = load.warm_up + load.seconds + 60.0
    ended = subprocess.run(command, input=content, capture_output=True, check=False, timeout=patience)  # noqa: S603
    if ended.returncode:
        raise StackError(f"The load ended with {ended.returncode}: {ended.stderr.decode()[-500:]}")
    return msgspec.json.decode(ended.stdout, type=Outcome)


def _measured(outcome: Outcome, records: int, used: float, taken: float, rate: float) -> Measured:
    cpu = max(used, 1e-9)
    return Measured(
        requests_per_second=outcome.per_second,
        records_per_second=outcome.per_second * records,
        requests_per_cpu_second=outcome.requests / cpu,
        records_per_cpu_second=outcome.requests * records / cpu,
        p50_ms=outcome.p50_ms,
        p99_ms=outcome.p99_ms,
        worst_ms=outcome.worst_ms,
        cores=used / outcome.seconds,
        sender_cores=taken,
        offered=rate,
        failures=outcome.failures,
    )


def _with_gateway(settings: Settings) -> Settings:
    """A gateway of this benchmark's own, whatever else runs on the stack."""
    with socket.socket() as probe:
        probe.bind((settings.gateway.host, 0))
        port = probe.getsockname()[1]
    own = {"port": port, "data_dir": settings.worker.data_dir / "gateway"}
    return settings.model_copy(update={"gateway": settings.gateway.model_copy(update=own)})


def _prepare(settings: Settings, report: Report) -> Posts:
    """Register the fleet, give its organisation a limit to look at and a key, and find the schema."""
    report("registering the fleet")
    dsn = settings.postgres.dsn.get_secret_value()
    register(dsn, ORGANISATION, None, fleet())
    with open_directory(dsn, SYSTEM) as directory:
        limits: dict[str, object] = {"records_per_second": PLENTY, "bytes_per_second": PLENTY, "burst_seconds": 10.0}
        organisation = directory.entities.get("organisation", ORGANISATION)
        quotas = {"quotas": limits | {"devices": limits}}
        directory.entities.update(organisation.id, EntityUpdate(merge=quotas))
        key = directory.keys.create(KeyCreate(organisation=ORGANISATION, name="weir bench gateway")).secret
    readings, _ = registered_framings(settings)
    return Posts(settings.topics.readings, key, int.from_bytes(readings.prefix[1:], "big"))


def _in_topic(settings: Settings) -> int:
    """Messages in the readings topic; it is fresh, so its ends say it."""
    topic = settings.topics.readings
    consumer = Consumer({**kafka_client_config(settings.kafka), "group.id": "unused", "log_level": 0})
    try:
        partitions = consumer.list_topics(topic, timeout=10.0).topics[topic].partitions
        return sum(
            consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10.0)[1] for number in partitions
        )
    finally:
        consumer.close()
