"""The log of the gateway while its broker dies and comes back: nothing acknowledged is lost, and keys stay in order."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from connectors.gateway.log.broker_log import BrokerLog
from connectors.gateway.records import SPOOLED_OFFSET, Outgoing, Written
from tests.fault.own_broker import OwnBroker
from tests.stack_under_test import StackUnderTest, environment_of, plain_environment, settings_from
from tests.waiting import patient
from weir.settings import Settings

TOPIC = "fleet.readings"
KEYS = 20


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    with OwnBroker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
def settings(broker: OwnBroker) -> Settings:
    """Of a gateway with little patience, and an empty topic."""
    values = broker.before(StackUnderTest(settings_from({}))).settings.model_dump()
    values["gateway"]["produce_seconds"] = 1.0
    settings = settings_from(values)
    admin = AdminClient({"bootstrap.servers": settings.kafka.bootstrap_servers, "log_level": 0})
    if TOPIC in admin.list_topics(timeout=patient(20.0)).topics:
        admin.delete_topics([TOPIC])[TOPIC].result()
        time.sleep(0.5)
    admin.create_topics([NewTopic(TOPIC, 3, 1)])[TOPIC].result()
    return settings


class Numbered:
    """Sends the numbers 0, 1, 2 … of each key, a batch of all keys at a time, and notes what was acknowledged."""

    def __init__(self, log: BrokerLog) -> None:
        self._log = log
        self.taken: dict[bytes, list[int]] = defaultdict(list)
        self.spooled = 0
        self._number = 0

    async def batch(self) -> None:
        """One number of each key."""
        number, self._number = self._number, self._number + 1
        records = [Outgoing(TOPIC, b"key-%d" % key, b"%d" % number) for key in range(KEYS)]
        for record, outcome in zip(records, await self._log.send(records), strict=True):
            if isinstance(outcome, Written):
                assert record.key is not None
                self.taken[record.key].append(number)
                self.spooled += outcome.offset == SPOOLED_OFFSET

    async def until(self, event: asyncio.Event) -> None:
        """Batch after batch, several under way at a time."""
        under_way: set[asyncio.Task[None]] = set()
        while not event.is_set():
            under_way.add(asyncio.create_task(self.batch()))
            await asyncio.sleep(0.01)
            under_way = {task for task in under_way if not task.done()}
        await asyncio.gather(*under_way)


def stored(settings: Settings) -> dict[bytes, list[int]]:
    """What the topic has of each key, in order."""
    consumer = Consumer(
        {"bootstrap.servers": settings.kafka.bootstrap_servers, "group.id": "none", "enable.partition.eof": False}
    )
    found: dict[bytes, list[int]] = defaultdict(list)
    try:
        for partition in range(3):
            low, high = consumer.get_watermark_offsets(TopicPartition(TOPIC, partition), timeout=patient(10.0))
            consumer.assign([TopicPartition(TOPIC, partition, low)])
            while low < high:
                for message in consumer.consume(1_000, timeout=5.0):
                    assert message.error() is None
                    low = (message.offset() or 0) + 1
                    found[message.key() or b""].append(int(message.value() or b""))
    finally:
        consumer.close()
    return found


def first_times(numbers: list[int]) -> list[int]:
    """Without what came again: a record that was spooled may have reached Kafka before."""
    return list(dict.fromkeys(numbers))


async def replayed(log: BrokerLog, seconds: float = 60.0) -> None:
    """Wait until nothing waits on disk."""
    end = time.monotonic() + patient(seconds)
    while log.spooled_records or not log.is_up:
        assert time.monotonic() < end, f"{log.spooled_records} records still wait"
        await asyncio.sleep(0.02)


async def in_thread(work: Any) -> None:
    await asyncio.to_thread(work)


def check(taken: dict[bytes, list[int]], settings: Settings) -> int:
    """All that was acknowledged is stored, in order of admission; how often something came again."""
    found = stored(settings)
    for key, numbers in taken.items():
        assert set(numbers) <= set(found[key]), key
        firsts = first_times(found[key])
        assert firsts == sorted(firsts), key
    return sum(len(numbers) - len(set(numbers)) for numbers in found.values())


@pytest.mark.parametrize("way", ["kill", "stop"])
def test_a_broker_that_dies_under_load_and_returns_has_all_that_was_acknowledged_in_order_of_each_key(
    broker: OwnBroker, settings: Settings, tmp_path: Path, way: str
) -> None:
    async def scenario() -> Numbered:
        log = BrokerLog(settings, tmp_path / "spool")
        await log.start()
        load, enough = Numbered(log), asyncio.Event()
        sending = asyncio.create_task(load.until(enough))
        await asyncio.sleep(0.5)
        await in_thread(broker.kill if way == "kill" else broker.stop)
        await asyncio.sleep(3.0)
        assert not log.is_up
        await in_thread(broker.start)
        await asyncio.sleep(2.0)
        enough.set()
        await sending
        await replayed(log)
        await log.stop(5.0)
        return load

    load = asyncio.run(scenario())
    print("again", check(load.taken, settings), "spooled", load.spooled)
    assert load.spooled > KEYS * 100
    assert all(len(numbers) > 200 for numbers in load.taken.values())


def test_a_broker_that_hangs_and_goes_on_may_have_records_again_but_none_out_of_order(
    broker: OwnBroker, settings: Settings, tmp_path: Path
) -> None:
    async def scenario() -> tuple[Numbered, int]:
        log = BrokerLog(settings, tmp_path / "spool")
        await log.start()
        load, enough = Numbered(log), asyncio.Event()
        sending = asyncio.create_task(load.until(enough))
        for _ in range(3):
            await asyncio.sleep(0.5)
            broker.signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(2.5)
            finally:
                broker.signal(signal.SIGCONT)
            await replayed(log)
        enough.set()
        await sending
        await replayed(log)
        await log.stop(5.0)
        return load, log.stalls

    load, stalls = asyncio.run(scenario())
    again = check(load.taken, settings)
    print("again", again, "spooled", load.spooled, "stalls", stalls)
    assert stalls >= 3
    assert again > 0, "what was in flight when the broker hung comes again; else this test shows nothing"


def test_a_gateway_that_is_killed_loses_nothing_that_it_acknowledged_while_kafka_was_away(
    broker: OwnBroker, settings: Settings, tmp_path: Path
) -> None:
    acknowledged = killed_sender(tmp_path / "spool")
    assert len(acknowledged) > 100

    async def scenario() -> None:
        log = BrokerLog(settings, tmp_path / "spool")
        await log.start()
        assert log.spooled_records >= len(acknowledged)
        await replayed(log)
        await log.stop(5.0)

    asyncio.run(scenario())
    assert check({b"the key": acknowledged}, settings) == 0


def killed_sender(folder: Path) -> list[int]:
    """Numbers that a process acknowledged before SIGKILL; its Kafka is a port where nobody listens."""
    values = settings_from({"kafka": {"bootstrap_servers": "127.0.0.1:1"}, "gateway": {"produce_seconds": 0.3}})
    command = [sys.executable, "-m", "tests.fault.spooling_sender", str(folder), TOPIC]
    environment = plain_environment() | environment_of(values)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as sender:
        assert sender.stdout is not None
        lines = [sender.stdout.readline() for _ in range(200)]
        os.kill(sender.pid, signal.SIGKILL)
        lines += sender.stdout.readlines()
    return [int(line) for line in lines if line.endswith("\n")]


def test_stopping_while_kafka_is_away_leaves_every_record_in_flight_on_disk(
    broker: OwnBroker, settings: Settings, tmp_path: Path
) -> None:
    away = settings_from({"kafka": {"bootstrap_servers": "127.0.0.1:1"}, "gateway": {"produce_seconds": 30.0}})
    records = [Outgoing(TOPIC, b"the key", b"%d" % number) for number in range(500)]

    async def stop_early() -> list[Written]:
        log = BrokerLog(away, tmp_path / "spool")
        await log.start()
        sending = asyncio.create_task(log.send(records))
        await asyncio.sleep(0.2)
        await log.stop(0.5)
        return [outcome for outcome in await sending if isinstance(outcome, Written)]

    async def bring_over() -> None:
        log = BrokerLog(settings, tmp_path / "spool")
        await log.start()
        await replayed(log)
        await log.stop(5.0)

    assert asyncio.run(stop_early()) == [Written(-1, SPOOLED_OFFSET)] * 500
    asyncio.run(bring_over())
    assert stored(settings) == {b"the key": list(range(500))}
