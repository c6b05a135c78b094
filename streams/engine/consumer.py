"""The thread that owns a ``confluent_kafka.Consumer``: it reads, it commits, and it learns what is assigned.

Everything that touches the group runs in this one thread. The rebalance callbacks run inside ``consume()``, so a commit
can never overlap a revocation, and it asks the leases first: the broker accepts a live member's commit even for a
partition it has just lost (seen with Kafka 4.3), so the broker cannot be the one to refuse it.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.engine.checkpoint import Checkpoint, from_commit, to_commit
from streams.engine.fetch import Fetch, Lease, split_by_partition
from streams.engine.metrics import LAG
from weir.errors import ConfigError, TransientError

logger = logging.getLogger(__name__)

Deliver = Callable[[Fetch], None]
Commits = Mapping[Lease, Checkpoint]

QUEUE_BYTES = 134_217_728
"""Payload bytes that may wait for an agent: messages can be 10,000 times as large as a reading is."""

AT_ONCE_SECONDS = 0.002
"""How long more messages are waited for when the first has come: what came with it lies there already."""

SLICE_SECONDS = 0.01
"""How long a commit may wait while messages are gathered."""

FENCED = frozenset(
    {
        KafkaError._STATE,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError._ASSIGNMENT_LOST,
        KafkaError._FENCED,
    }
)
"""Commit errors that say: you may no longer own this. Nothing of the commit counts, and nothing may follow it."""


@dataclass(frozen=True, slots=True)
class ConsumerOptions:
    """How to read. ``fetch_messages`` at once, at most ``queue_messages`` handed over and not yet taken.

    Fewer are handed over ``gather_seconds`` after those before them: each block costs, however few rows it has.
    """

    fetch_messages: int
    queue_messages: int
    idle_seconds: float
    session_timeout_seconds: float
    poll_seconds: float = 0.05
    gather_seconds: float = 0.1


def consumer_config(client: Mapping[str, object], group: str, options: ConsumerOptions) -> dict[str, object]:
    """Return librdkafka's settings for a Weir stream.

    ``fetch.queue.backoff.ms`` is 1,000 by default and stalls ``consume()`` whenever the local queue is full:
    310,000-390,000 messages/s, against 1.2-2.0 million with 5 ms (``weir bench pipeline`` prints the ceiling).
    """
    return {
        **client,
        "group.id": group,
        "group.protocol": "consumer",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "fetch.queue.backoff.ms": 5,
        "queued.min.messages": 100_000,
        "queued.max.messages.kbytes": 65_536,
        "fetch.message.max.bytes": 1_048_576,
        "max.poll.interval.ms": max(60_000, int(options.session_timeout_seconds * 1000)),
    }


class ConsumerThread(threading.Thread):
    """Reads one topic as a member of one group and calls ``deliver`` with each :class:`Fetch`, from its own thread."""

    def __init__(
        self,
        config: dict[str, object],
        topic: str,
        options: ConsumerOptions,
        deliver: Deliver,
        fail: Callable[[BaseException], None],
    ) -> None:
        """Read ``topic``; ``fail`` is called once with whatever ends the thread by force."""
        super().__init__(name=f"consumer-{topic}", daemon=True)
        self.topic = topic
        self._config = config
        self._options = options
        self._deliver = deliver
        self._fail = fail
        self._leases: dict[int, Lease] = {}
        self._fresh: set[int] = set()
        self._last_message: dict[int, float] = {}
        self._requests: queue.SimpleQueue[tuple[Commits, Future[set[Lease]]]] = queue.SimpleQueue()
        self._holds: queue.SimpleQueue[tuple[Lease, int | None]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._waiting = 0
        self._waiting_bytes = 0
        self._waiting_lock = threading.Lock()
        self._paused = False
        self._abandoned = False
        self._full_since: float | None = None
        self._reported = 0.0
        self._read_at = 0.0

    # -- called from other threads -------------------------------------------------------------------------------

    def commit(self, commits: Commits) -> Future[set[Lease]]:
        """Commit checkpoints synchronously in one request; the result holds the leases whose commit counts.

        A lease that has ended is left out without asking the broker. When the group has fenced this member the result
        is empty. Any other error is raised as :class:`~weir.errors.TransientError`.
        """
        future: Future[set[Lease]] = Future()
        self._requests.put((commits, future))
        if self._ended.is_set():
            self._refuse_requests()
        return future

    def taken(self, messages: int, size: int) -> None:
        """Say that so many messages of so many bytes have been processed, so that there is room for more."""
        with self._waiting_lock:
            self._waiting -= messages
            self._waiting_bytes -= size

    def abandon(self) -> None:
        """Let no commit count from now on, and end every lease; for a worker that failed and is about to end."""
        self._abandoned = True
        for lease in list(self._leases.values()):
            lease.active = False

    def hold(self, lease: Lease) -> None:
        """Stop reading one partition, until :meth:`go_on`; others go on. What it still delivers is to be dropped."""
        self._holds.put((lease, None))

    def go_on(self, lease: Lease, offset: int) -> None:
        """Read a held partition again from ``offset`` on; its fetches then carry the next ``pass_``."""
        self._holds.put((lease, offset))

    @property
    def waiting(self) -> int:
        """Messages delivered and not yet processed."""
        return self._waiting

    def stop(self) -> None:
        """Ask the thread to leave the group and end; does not wait."""
        self._stopping.set()

    # -- the thread ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Read until stopped."""
        try:
            consumer = Consumer(self._config)
        except KafkaException as error:
            self._fail(ConfigError(f"The Kafka consumer cannot be made: {error}."))
            return
        try:
            consumer.subscribe([self.topic], on_assign=self._on_assign, on_revoke=self._on_gone, on_lost=self._on_gone)
            while not self._stopping.is_set():
                self._commit_requested(consumer)
                self._hold_requested(consumer)
                self._read(consumer)
            self._commit_requested(consumer)
        except BaseException as error:
            self._fail(error)
        finally:
            self._end_leases(list(self._leases))
            consumer.close()
            self._ended.set()
            self._refuse_requests()

    def _read(self, consumer: Consumer) -> None:
        if not self._may_read(consumer):
            time.sleep(0.002)
            return
        self._fresh.clear()
        messages = self._gathered(consumer)
        if messages:
            self._check(messages)
            for topic, partition, run in split_by_partition(messages):
                self._hand_over(consumer, topic, partition, run)
        if time.monotonic() - self._reported >= 1.0:
            self._reported = time.monotonic()
            self._begin_again(consumer)
            self._report_lag(consumer)
        self._report_silence(consumer)

    def _gathered(self, consumer: Consumer) -> list[Message]:
        """What there is, after a quiet time at once, else what comes until ``gather_seconds`` after the last time.

        Commits do not wait until then: a flush waits for each.
        """
        most = self._options.fetch_messages
        messages = consumer.consume(1, self._options.poll_seconds)
        if not messages:
            return messages
        until = self._read_at + self._options.gather_seconds
        messages += consumer.consume(most - 1, AT_ONCE_SECONDS)
        while len(messages) < most and not self._stopping.is_set() and (left := until - time.monotonic()) > 0:
            messages += consumer.consume(most - len(messages), min(left, SLICE_SECONDS))
            self._commit_requested(consumer)
        self._read_at = time.monotonic()
        return messages

    def _may_read(self, consumer: Consumer) -> bool:
        """Say whether to call ``consume()``: not while the agent is a little behind, always again after a second.

        Then with every partition paused: the call keeps the group membership alive, and only then, because a pause
        throws away what librdkafka has prefetched.
        """
        if self._waiting < self._options.queue_messages and self._waiting_bytes < QUEUE_BYTES:
            if self._paused:
                consumer.resume([each for each in self._partitions() if not self._leases[each.partition].held])
                self._paused = False
            self._full_since = None
            return True
        now = time.monotonic()
        self._full_since = self._full_since or now
        if now - self._full_since < 1.0:
            return False
        if not self._paused:
            consumer.pause(self._partitions())
            self._paused = True
        return True

    def _partitions(self) -> list[TopicPartition]:
        return [TopicPartition(self.topic, partition) for partition in self._leases]

    def _check(self, messages: list[Message]) -> None:
        if not any(map(Message.error, messages)):
            return
        kept = []
        for message in messages:
            error = message.error()
            if error is None:
                kept.append(message)
            elif (
                error.fatal()
                or not error.retriable()
                and error.code()
                in (
                    KafkaError.TOPIC_AUTHORIZATION_FAILED,
                    KafkaError.GROUP_AUTHORIZATION_FAILED,
                    KafkaError.UNKNOWN_TOPIC_OR_PART,
                )
            ):
                raise ConfigError(f"Kafka refuses to serve {self.topic}: {error.str()}. Was `weir migrate` run?")
            else:
                logger.warning("%s: %s", self.topic, error.str())
        messages[:] = kept

    def _hand_over(self, consumer: Consumer, topic: str, partition: int, run: list[Message]) -> None:
        lease = self._leases.get(partition)
        if lease is None or not lease.active or lease.held:
            return
        if partition in self._fresh:  # these may be left from the assignment before: read them again, from the start
            consumer.incremental_unassign([TopicPartition(topic, partition)])
            consumer.incremental_assign([_start(lease)])
            return
        last = run[-1].offset()
        lease.position = None if last is None else last + 1
        self._last_message[partition] = time.monotonic()
        size = sum(map(len, run))
        with self._waiting_lock:
            self._waiting += len(run)
            self._waiting_bytes += size
        lag = self._lag(consumer, lease)
        behind = lag is not None and lag > self._options.fetch_messages
        self._deliver(Fetch(lease, run, behind=behind, size=size, pass_=lease.pass_))

    def _report_silence(self, consumer: Consumer) -> None:
        now = time.monotonic()
        if self._paused:  # nothing can come, and the end of the log that is known grows old: that is no silence
            self._last_message = dict.fromkeys(self._leases, now)
            return
        for partition, lease in self._leases.items():
            if lease.held or now - self._last_message.get(partition, now) < self._options.idle_seconds:
                continue
            if self._at_end(consumer, lease):
                self._deliver(Fetch(lease, [], clock_ms=time.time_ns() // 1_000_000, pass_=lease.pass_))
            self._last_message[partition] = now

    def _report_lag(self, consumer: Consumer) -> None:
        for partition, lease in self._leases.items():
            lag = self._lag(consumer, lease)
            if lag is not None:
                LAG.labels(self.topic, str(partition)).set(lag)

    def _lag(self, consumer: Consumer, lease: Lease) -> int | None:
        """Messages left to read as of the last fetch; None before the first."""
        high = _end(consumer, lease)
        return None if high is None else max(0, high - _position(lease))

    def _at_end(self, consumer: Consumer, lease: Lease) -> bool:
        """Whether the log is read to its end; an end below the position is left from an earlier assignment."""
        return _end(consumer, lease) == _position(lease)

    # -- the group -----------------------------------------------------------------------------------------------

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        committed = consumer.committed(partitions, timeout=30)
        for found in committed:
            if found.error is not None:
                raise TransientError(
                    f"The committed offset of {found.topic}[{found.partition}] cannot be read: {found.error}."
                )
        leases = [Lease(found.topic, found.partition, from_commit(found.offset, found.metadata)) for found in committed]
        for lease in leases:
            self._leases[lease.partition] = lease
            self._fresh.add(lease.partition)
            self._last_message[lease.partition] = time.monotonic()
        consumer.incremental_assign([_start(lease) for lease in leases])
        self._pause_or_resume(consumer, partitions)
        logger.info("%s: assigned %s", self.topic, sorted(lease.partition for lease in leases))

    def _begin_again(self, consumer: Consumer) -> None:
        """Read partitions again from their checkpoint whose lease was given up while they are still assigned.

        That is so after a refused commit that was not followed by a rebalance: nothing of it counts, and what was in
        memory is gone.
        """
        ended = [partition for partition, lease in self._leases.items() if not lease.active]
        if not ended or self._abandoned:
            return
        try:
            committed = consumer.committed([TopicPartition(self.topic, partition) for partition in ended], timeout=5)
        except KafkaException as error:
            logger.warning("%s: the checkpoints of %s cannot be read yet: %s", self.topic, ended, error)
            return
        for found in committed:
            if found.error is None:
                lease = Lease(found.topic, found.partition, from_commit(found.offset, found.metadata))
                self._leases[found.partition] = lease
                consumer.incremental_unassign([TopicPartition(found.topic, found.partition)])
                consumer.incremental_assign([_start(lease)])
                self._pause_or_resume(consumer, [TopicPartition(found.topic, found.partition)])
                logger.info("%s: reading partition %d again from its checkpoint", self.topic, found.partition)

    def _hold_requested(self, consumer: Consumer) -> None:
        while True:
            try:
                lease, offset = self._holds.get_nowait()
            except queue.Empty:
                return
            if not lease.active:
                continue
            place = TopicPartition(lease.topic, lease.partition)
            consumer.incremental_unassign([place])
            if offset is None:
                lease.held = True
                consumer.incremental_assign([_start(lease)])
                consumer.pause([place])
            else:
                lease.held, lease.position, lease.pass_ = False, offset, lease.pass_ + 1
                self._last_message[lease.partition] = time.monotonic()
                consumer.incremental_assign([TopicPartition(lease.topic, lease.partition, offset)])
                self._pause_or_resume(consumer, [place])

    def _pause_or_resume(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Partitions just assigned do as the others do: a pause outlives the assignment it was made in."""
        if self._paused:
            consumer.pause(partitions)
        else:
            consumer.resume(partitions)

    def _on_gone(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Drop revoked or lost partitions: their next owner rebuilds the windows by replay."""
        self._end_leases([gone.partition for gone in partitions])
        consumer.incremental_unassign(partitions)
        logger.info("%s: gave up %s", self.topic, sorted(gone.partition for gone in partitions))

    def _end_leases(self, partitions: list[int]) -> None:
        for partition in partitions:
            lease = self._leases.pop(partition, None)
            if lease is not None:
                lease.active = False
                with contextlib.suppress(KeyError):
                    LAG.remove(self.topic, str(partition))

    def _commit_requested(self, consumer: Consumer) -> None:
        while True:
            try:
                commits, future = self._requests.get_nowait()
            except queue.Empty:
                return
            try:
                future.set_result(self._commit(consumer, commits))
            except BaseException as error:
                future.set_exception(error)

    def _commit(self, consumer: Consumer, commits: Commits) -> set[Lease]:
        owned = {lease: checkpoint for lease, checkpoint in commits.items() if lease.active}
        if not owned or self._abandoned:
            return set()
        offsets = [to_commit(lease.topic, lease.partition, checkpoint) for lease, checkpoint in owned.items()]
        try:
            answers = consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() in FENCED:
                logger.warning("%s: commit refused, nothing of it counts: %s", self.topic, error.args[0].str())
                return set()
            raise TransientError(f"The offsets of {self.topic} cannot be committed: {error.args[0].str()}.") from error
        refused = {answer.partition for answer in answers if answer.error is not None}
        return {lease for lease in owned if lease.partition not in refused}

    def _refuse_requests(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._requests.get_nowait()[1].set_result(set())


def _end(consumer: Consumer, lease: Lease) -> int | None:
    """End of the log as of the last fetch; None before the first."""
    _, high = consumer.get_watermark_offsets(TopicPartition(lease.topic, lease.partition), cached=True)
    return None if high < 0 else high


def _position(lease: Lease) -> int:
    """The next offset to hand over."""
    if lease.position is not None:
        return lease.position
    return lease.checkpoint.replay if lease.checkpoint else 0


def _start(lease: Lease) -> TopicPartition:
    """Return where a lease begins to read: its replay point, or the start of the log."""
    return TopicPartition(
        lease.topic, lease.partition, lease.checkpoint.replay if lease.checkpoint else OFFSET_BEGINNING
    )
