"""Apache Kafka: one KRaft node that is broker and controller."""

from __future__ import annotations

import base64
import contextlib
import socket
import uuid

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from weir.stack.artifacts import cached_path, read_lock
from weir.stack.child import Command
from weir.stack.endpoints import replace_file
from weir.stack.parts.part import Part, Run, fresh_scratch, java
from weir.stack.plan import HOST

JVM = ("-Xms128m", "-Xmx512m")
"""The second compiler (C2) stays on: the broker's throughput is part of every measurement."""

LOGGING = """<Configuration status="WARN">
  <Appenders><Console name="out"><PatternLayout pattern="%d{ISO8601} %-5p %m (%c)%n%throwable"/></Console></Appenders>
  <Loggers>
    <Root level="INFO"><AppenderRef ref="out"/></Root>
    <Logger name="org.apache.kafka.common.config" level="WARN"/>
    <Logger name="kafka.server.KafkaConfig" level="WARN"/>
    <Logger name="state.change.logger" level="WARN"/>
    <Logger name="org.apache.kafka.clients" level="WARN"/>
  </Loggers>
</Configuration>
"""

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={logs}
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=200
group.consumer.heartbeat.interval.ms=1000
offsets.retention.minutes=525600
log.cleaner.dedupe.buffer.size=16777216
"""
"""One node, so one copy of everything. The group limits allow sessions of a few seconds (the default minimum is 45 s
for the consumer protocol) and let members learn of a rebalance within one second instead of five. Offsets outlive a
machine that stays off for weeks: losing them would mean reading everything again. The cleaner's buffer would take
128 MB of the heap by default."""


class Kafka(Part):
    """The broker."""

    name = "kafka"
    _admin: AdminClient | None = None

    @property
    def ports(self) -> dict[str, int]:
        """Clients, and the controller's own."""
        return {"kafka": self.plan.port("kafka"), "kafka's controller": self.plan.port("kafka_controller")}

    def prepare(self, run: Run) -> None:
        """Write the configuration; format the log folder the first time."""
        folder = self.plan.part_dir("kafka")
        fresh_scratch(folder)
        properties = PROPERTIES.format(
            host=HOST,
            port=self.plan.port("kafka"),
            controller=self.plan.port("kafka_controller"),
            logs=str(folder / "data").replace("\\", "\\\\"),
        )
        replace_file(folder / "server.properties", properties)
        replace_file(folder / "log4j2.xml", LOGGING)
        if not (folder / "data" / "meta.properties").exists():
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            named = f"--cluster-id={cluster}"  # as one word: an id may begin with a dash, and is no option then
            run("kafka-format", self._java("kafka.tools.StorageTool", "format", named, "--config"))

    def command(self) -> Command:
        """The broker; its stop writes clean segments, which takes a moment when much is in memory."""
        return self._java("kafka.Kafka")

    def _java(self, main: str, *arguments: str) -> Command:
        folder = self.plan.part_dir("kafka")
        jars = ":".join(str(cached_path(jar, self.cache)) for jar in read_lock().kafka)
        logging = f"-Dlog4j2.configurationFile={(folder / 'log4j2.xml').as_uri()}"
        options = (*JVM, logging, "-cp", jars, main, *arguments, str(folder / "server.properties"))
        return Command([*java(folder), *options], grace_seconds=30.0)

    def healthy(self) -> bool:
        """Whether it answers a metadata request with itself as a broker."""
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=1.0):
            self._admin = self._admin or AdminClient({"bootstrap.servers": f"{HOST}:{self.port}", "log_level": 0})
            with contextlib.suppress(KafkaException):
                return bool(self._admin.list_topics(timeout=2.0).brokers)
        return False
