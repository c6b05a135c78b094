"""The consumer thread against a real broker: leases, commits, back-pressure, silence."""

import queue
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Message, Producer

from connectors.kafka.client import kafka_client_config
from streams.engine.checkpoint import Checkpoint
from streams.engine.consumer import ConsumerOptions, ConsumerThread, consumer_config
from streams.engine.fetch import Fetch, Lease
from tests.waiting import patient
from tests.world import World

PARTITION = 2


class Reader:
    """A consumer thread and what it has delivered."""

    def __init__(self, world: World, queue_messages: int = 10_000) -> None:
        options = ConsumerOptions(100, queue_messages, idle_seconds=0.3, session_timeout_seconds=45)
        config = consumer_config(kafka_client_config(world.settings.kafka), f"{world.settings.namespace}.test", options)
        self.fetches: queue.Queue[Fetch] = queue.Queue()
        self.failures: list[BaseException] = []
        self.thread = ConsumerThread(
            config, world.settings.topics.readings, options, self.fetches.put, self.failures.append
        )
        self.thread.start()

    def take(self, values: list[str], *, release: bool = True, seconds: float = 20) -> Lease:
        """Wait for exactly these values, in order and under one lease, and return the lease."""
        got: list[Message] = []
        leases: set[Lease] = set()
        size = 0
        deadline = time.monotonic() + patient(seconds)
        while len(got) < len(values) and time.monotonic() < deadline:
            fetch = self.next(deadline - time.monotonic())
            if fetch.messages:
                got += fetch.messages
                leases.add(fetch.lease)
                size += fetch.size
            if release:
                self.thread.taken(len(fetch.messages), fetch.size)
        assert [(message.value() or b"").decode() for message in got] == values
        assert size == sum(map(len, values))
        assert len(leases) == 1
        return leases.pop()

    def next(self, seconds: float) -> Fetch:
        try:
            return self.fetches.get(timeout=max(0.01, seconds))
        except queue.Empty:
            raise AssertionError(f"nothing was delivered; failures: {self.failures}") from None

    def stop(self) -> None:
        self.thread.stop()
        self.thread.join(patient(20))
        assert not self.thread.is_alive()
        assert self.failures == []


@pytest.fixture
def reader(world: World) -> Iterator[Reader]:
    reading = Reader(world)
    yield reading
    reading.stop()


def send(world: World, values: list[str]) -> None:
    producer = Producer(kafka_client_config(world.settings.kafka))
    for value in values:
        producer.produce(world.settings.topics.readings, value.encode(), partition=PARTITION)
    assert producer.flush(20) == 0


def numbers(first: int, end: int) -> list[str]:
    return [str(number) for number in range(first, end)]


def test_lease_given_up_is_read_again_from_its_checkpoint(world: World, reader: Reader) -> None:
    send(world, numbers(0, 50))
    lease = reader.take(numbers(0, 50))
    assert reader.thread.commit({lease: Checkpoint(10, 30, 50, 7)}).result(patient(20)) == {lease}
    lease.active = False  # as a stage does whose commit was refused
    again = reader.take(numbers(10, 50))
    assert again is not lease
    assert again.checkpoint == Checkpoint(10, 30, 50, 7)


def test_commit_of_an_ended_lease_does_not_reach_the_broker(world: World, reader: Reader) -> None:
    send(world, numbers(0, 5))
    lease = reader.take(numbers(0, 5))
    lease.active = False
    assert reader.thread.commit({lease: Checkpoint(3, 3, 3)}).result(patient(20)) == set()
    assert reader.take(numbers(0, 5)).checkpoint is None


def test_next_owner_begins_at_the_replay_point_with_the_checkpoint(world: World) -> None:
    send(world, numbers(0, 20))
    first = Reader(world)
    lease = first.take(numbers(0, 20))
    first.thread.commit({lease: Checkpoint(4, 12, 20, 99)}).result(patient(20))
    first.stop()
    assert not lease.active
    second = Reader(world)
    try:
        assert second.take(numbers(4, 20)).checkpoint == Checkpoint(4, 12, 20, 99)
    finally:
        second.stop()


def test_agent_that_is_behind_gets_no_more_until_it_has_caught_up(world: World) -> None:
    send(world, numbers(0, 500))
    reading = Reader(world, queue_messages=150)
    try:
        reading.take(numbers(0, 200), release=False)
        time.sleep(1.5)  # beyond the moment that it waits before it pauses the partitions
        while not reading.fetches.empty():
            assert reading.next(1).messages == []  # the clock of partitions that have nothing to read
        reading.thread.taken(200, 0)
        reading.take(numbers(200, 500))
    finally:
        reading.stop()


def test_caught_up_partition_tells_the_time_when_it_is_silent(world: World, reader: Reader) -> None:
    send(world, numbers(0, 3))
    lease = reader.take(numbers(0, 3))
    deadline = time.monotonic() + patient(10)
    fetch = reader.next(patient(10))
    while fetch.lease is not lease and time.monotonic() < deadline:
        fetch = reader.next(patient(10))
    assert fetch.messages == []
    assert abs(fetch.clock_ms - time.time() * 1000) < 10_000
