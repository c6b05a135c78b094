"""What the gateway knows of the Kafka cluster: topics, partitions and brokers, asked for in a thread, answered at once.

A client that writes to an unknown topic waits a minute for Confluent's proxy; here the view answers, after at most one
fresh question a second. While Kafka is away the last view holds. A file keeps it over restarts, so that a gateway that
starts while Kafka is away can still tell its topics and take records for the spool.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from connectors.gateway.errors import KAFKA_ERROR, KAFKA_RETRIABLE, GatewayError
from connectors.gateway.visible_topics import topic_not_found
from connectors.kafka.client import kafka_client_config
from connectors.kafka.cluster import Cluster
from weir.errors import TransientError, WeirError
from weir.server_errors import kafka_passes
from weir.settings import KafkaSettings

logger = logging.getLogger(__name__)

REFRESH_SECONDS: Final = 30.0
"""A topic that appears is found by the first request that names it; this is for leaders and replicas that moved."""

ASK_AGAIN_SECONDS: Final = 1.0
"""How long "no such topic" is believed: clients that post to a wrong name must not become load on the brokers."""

TIMEOUT_SECONDS: Final = 3.0
MOST_WAITING: Final = 64
"""Questions of clients (offsets, settings) under way at a time; more are told to try again."""

INTERNAL_TOPICS: Final = frozenset({"__consumer_offsets", "__transaction_state", "__share_group_state"})

Answer = TypeVar("Answer")


NO_LEADER: Final = frozenset({KafkaError._UNKNOWN_PARTITION, KafkaError.LEADER_NOT_AVAILABLE})
"""What librdkafka says of a partition that the view knows, while its broker is away."""


class Broker(NamedTuple):
    """One broker, where clients of Kafka reach it."""

    id: int
    host: str
    port: int


class Partition(NamedTuple):
    """``leader`` is -1 while there is none."""

    id: int
    leader: int
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]


class Topic(NamedTuple):
    """One topic with its partitions in order."""

    name: str
    partitions: tuple[Partition, ...]
    is_internal: bool


@dataclass(frozen=True, slots=True)
class ClusterState:
    """What the brokers said of themselves at one moment. ``controller`` is None when none was named."""

    cluster_id: str
    controller: int | None
    brokers: tuple[Broker, ...]
    topics: dict[str, Topic] = field(default_factory=dict)


class ClusterView:
    """The newest known state of the cluster of ``settings``. All methods belong to one event loop; none blocks it."""

    def __init__(
        self, settings: KafkaSettings, folder: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Nothing is asked before :meth:`start`. The last view is kept in ``folder``, if there is one."""
        self._settings = settings
        self._file = folder / "cluster.json" if folder else None
        self._clock = clock
        self._state: ClusterState | None = None
        self._is_away = False
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._waiting = 0
        self._consumer: Consumer | None = None
        self._cluster: Cluster | None = None
        # two, so that a client's question about offsets does not hold up the refresh
        self._threads = ThreadPoolExecutor(2, "cluster-view")

    async def start(self) -> None:
        """Ask once, for a few seconds at most, then regularly; a Kafka that is away is no error."""
        # no topic is subscribed to: a consumer asks about topics without creating them, as a producer would
        config = kafka_client_config(self._settings) | {"group.id": "weir.gateway.view", "log_level": 0}
        self._consumer = Consumer(config)
        self._state = await asyncio.to_thread(_kept, self._file)
        await self._ask()
        self._refreshing = asyncio.create_task(self._refresh_for_ever())

    async def stop(self) -> None:
        """End the questions and close the connections."""
        if self._refreshing:
            self._refreshing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._refreshing
        if self._asking and not self._asking.done():
            await asyncio.wait([self._asking])
        if self._consumer:
            consumer, self._consumer, self._cluster = self._consumer, None, None
            await asyncio.get_running_loop().run_in_executor(self._threads, consumer.close)
        self._threads.shutdown(wait=False)

    @property
    def is_known(self) -> bool:
        """Whether the brokers ever answered."""
        return self._state is not None

    @property
    def state(self) -> ClusterState:
        """The last answer of the brokers. Raises :class:`GatewayError` 503 when there was none yet."""
        if self._state is None:
            raise _away()
        return self._state

    @property
    def cluster_id(self) -> str:
        """The cluster's own id. Raises :class:`GatewayError` 503 when it is not known yet."""
        return self.state.cluster_id

    def partitions(self, topic: str) -> int | None:
        """How many partitions a topic has; None when it is not known to exist. No I/O."""
        found = self._state.topics.get(topic) if self._state else None
        return len(found.partitions) if found else None

    async def find(self, topic: str) -> int:
        """How many partitions a topic has; asks the brokers when it is not known and the last answer is a second old.

        Raises :class:`GatewayError` 404 for a topic that does not exist, 503 when nobody can tell.
        """
        return len((await self.topic(topic)).partitions)

    async def topic(self, name: str) -> Topic:
        """The same with all that is known of the topic."""
        found = self._state.topics.get(name) if self._state else None
        if found is None:
            if self._asking or self._clock() - self._asked_at >= ASK_AGAIN_SECONDS:
                await self._ask()
            found = self._state.topics.get(name) if self._state else None
        if found is not None:
            return found
        raise _away() if self._is_away or self._state is None else topic_not_found()

    async def offsets(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset that is kept and the next one to be written. Raises :class:`GatewayError` 503."""
        consumer = self._consumer
        if consumer is None:
            raise _away()
        where = TopicPartition(topic, partition)

        def ask() -> tuple[int, int]:
            try:
                return consumer.get_watermark_offsets(where, timeout=TIMEOUT_SECONDS)
            except KafkaException as error:
                if error.args[0].code() in NO_LEADER:
                    raise TransientError(error.args[0].str()) from error
                raise

        return await self._in_thread(ask)

    async def configs(self, topic: str) -> dict[str, str]:
        """All settings of a topic, defaults included. Raises :class:`GatewayError` 503."""
        if self._cluster is None:
            self._cluster = Cluster(self._settings)
        cluster = self._cluster
        return (await self._in_thread(lambda: cluster.configs([topic])))[topic]

    async def _in_thread(self, ask: Callable[[], Answer]) -> Answer:
        if self._waiting >= MOST_WAITING:
            raise _away("Too many questions about topics are under way")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        except TransientError:
            raise _away() from None
        except KafkaException as error:
            if kafka_passes(error.args[0].code(), error.args[0].retriable()):
                raise _away() from None
            raise GatewayError(KAFKA_ERROR, f"Kafka error: {error.args[0].str()}") from None
        except WeirError as error:
            raise GatewayError(KAFKA_ERROR, f"Kafka error: {error}") from None
        finally:
            self._waiting -= 1

    async def _refresh_for_ever(self) -> None:
        while True:
            await asyncio.sleep(ASK_AGAIN_SECONDS if self._is_away else REFRESH_SECONDS)
            await self._ask()

    async def _ask(self) -> None:
        """Join the question under way, or put one; a caller that goes away does not end it for the others."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_once())
        await asyncio.shield(self._asking)

    async def _ask_once(self) -> None:
        consumer = self._consumer
        try:
            if consumer is not None:
                self._state = await asyncio.get_running_loop().run_in_executor(
                    self._threads, _asked, consumer, self._file, self._state
                )
                self._is_away = False
        except KafkaException:
            self._is_away = True
        finally:
            self._asked_at = self._clock()
            self._asking = None


def _asked(consumer: Consumer, file: Path | None, before: ClusterState | None) -> ClusterState:
    """Ask the brokers, and keep what has changed."""
    state = _state_of(consumer.list_topics(timeout=TIMEOUT_SECONDS))
    if file is not None and state != before:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            written = file.with_suffix(".new")
            written.write_bytes(msgspec.json.encode(state))
            os.replace(written, file)
        except OSError as error:
            logger.warning("The view of the cluster could not be kept in %s: %s", file, error.strerror)
    return state


def _kept(file: Path | None) -> ClusterState | None:
    if file is None:
        return None
    try:
        return msgspec.json.decode(file.read_bytes(), type=ClusterState)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None  # a file that was torn is as good as none: the brokers are asked anyway


def _state_of(metadata: Any) -> ClusterState:
    topics = {
        name: Topic(name, _partitions_of(topic), name in INTERNAL_TOPICS)
        for name, topic in metadata.topics.items()
        if topic.error is None and topic.partitions
    }
    brokers = tuple(Broker(each.id, each.host, each.port) for _, each in sorted(metadata.brokers.items()))
    controller = metadata.controller_id if metadata.controller_id >= 0 else None
    return ClusterState(metadata.cluster_id or "", controller, brokers, topics)


def _partitions_of(topic: Any) -> tuple[Partition, ...]:
    return tuple(
        Partition(each.id, each.leader, tuple(each.replicas), tuple(each.isrs))
        for _, each in sorted(topic.partitions.items())
    )


def _away(said: str = "Kafka cannot be reached") -> GatewayError:
    return GatewayError(KAFKA_RETRIABLE, f"{said}; try again.", retry_after=1.0)
