"""The gateway's log on a real broker: what each record's outcome says is so."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from connectors.gateway import errors
from connectors.gateway.errors import GatewayError
from connectors.gateway.log import broker_producer
from connectors.gateway.log.broker_log import MOST_SPOOLED_BYTES, BrokerLog
from connectors.gateway.log.spool import Spool
from connectors.gateway.records import SPOOLED_OFFSET, Outgoing, Written
from connectors.kafka.client import kafka_client_config
from tests.stack_under_test import StackUnderTest, settings_from
from tests.waiting import patient
from weir.settings import Settings

Scenario = Callable[[BrokerLog], Awaitable[Any]]
TOO_MUCH = 1_500_000
"""More than a topic takes by default, and less than the client does."""


@pytest.fixture(scope="module")
def topic(stack: StackUnderTest) -> Iterator[str]:
    """One with two partitions and Kafka's own limits."""
    name = f"t{uuid.uuid4().hex[:10]}.plain"
    admin = AdminClient(kafka_client_config(stack.settings.kafka) | {"log_level": 0})
    admin.create_topics([NewTopic(name, 2, 1)])[name].result()
    yield name
    admin.delete_topics([name])[name].result()


@contextlib.contextmanager
def own_topic(stack: StackUnderTest, config: dict[str, str]) -> Iterator[str]:
    """An empty one with one partition."""
    name = f"t{uuid.uuid4().hex[:10]}.own"
    admin = AdminClient(kafka_client_config(stack.settings.kafka) | {"log_level": 0})
    admin.create_topics([NewTopic(name, 1, 1, config=config)])[name].result()
    yield name
    admin.delete_topics([name])[name].result()


def away() -> Settings:
    """A Kafka on a port where nobody listens."""
    return settings_from({"kafka": {"bootstrap_servers": "127.0.0.1:1"}, "gateway": {"produce_seconds": 0.2}})


def on_log(settings: Settings, folder: Path, scenario: Scenario) -> Any:
    """Run a scenario on a log that is stopped afterwards."""

    async def run() -> Any:
        log = BrokerLog(settings, folder)
        await log.start()
        try:
            return await scenario(log)
        finally:
            await log.stop(5.0)

    return asyncio.run(run())


async def nothing_waits(log: BrokerLog) -> None:
    end = time.monotonic() + patient(30.0)
    while log.spooled_records or not log.is_up:
        assert time.monotonic() < end, "replay does not end"
        await asyncio.sleep(0.01)


def at(stack: StackUnderTest, topic: str, place: Written) -> Message:
    """The record that lies where the log said."""
    consumer = Consumer(kafka_client_config(stack.settings.kafka) | {"group.id": "none", "log_level": 0})
    try:
        consumer.assign([TopicPartition(topic, place.partition, place.offset)])
        (message,) = consumer.consume(1, timeout=10.0)
        return message
    finally:
        consumer.close()


def following(stack: StackUnderTest, topic: str, place: Written, count: int) -> list[bytes]:
    """So many values from there on."""
    consumer = Consumer(kafka_client_config(stack.settings.kafka) | {"group.id": "none", "log_level": 0})
    try:
        consumer.assign([TopicPartition(topic, place.partition, place.offset)])
        found: list[bytes] = []
        while len(found) < count:
            found += [message.value() or b"" for message in consumer.consume(count - len(found), timeout=10.0)]
        return found
    finally:
        consumer.close()


async def spooled(folder: Path) -> list[int]:
    """What a gateway that starts on the folder would replay."""
    spool, found = Spool(folder, 1_000_000_000), list[int]()
    await spool.open()
    while (chunk := await spool.read(10_000)).records:
        found += [int(each.value or b"") for each in chunk.records]
        await spool.replayed(chunk, [])
    await spool.close()
    return found


def codes(outcomes: list[Written | GatewayError]) -> list[int]:
    """0 for a record that was written."""
    return [each.code if isinstance(each, GatewayError) else 0 for each in outcomes]


def test_a_written_record_lies_with_all_its_parts_where_its_outcome_says(
    stack: StackUnderTest, topic: str, tmp_path: Path
) -> None:
    records = [
        Outgoing(topic, b"key", b"value", 1, (("name", b"\xff"), ("empty", None)), 1_700_000_000_000),
        Outgoing(topic, None, b"no key"),
        Outgoing(topic, b"tombstone", None),
        Outgoing(topic, b"", b""),
    ]
    outcomes = on_log(stack.settings, tmp_path, lambda log: log.send(records))
    for record, outcome in zip(records, outcomes, strict=True):
        message = at(stack, topic, outcome)
        assert (message.offset(), message.partition()) == (outcome.offset, outcome.partition)
        assert (message.key(), message.value()) == (record.key, record.value)
    first = at(stack, topic, outcomes[0])
    assert outcomes[0].partition == 1
    assert first.headers() == [("name", b"\xff"), ("empty", None)]
    assert first.timestamp()[1] == outcomes[0].timestamp_ms == 1_700_000_000_000


def test_a_record_that_kafka_refuses_is_refused_alone_and_kafka_is_not_thought_away(
    stack: StackUnderTest, topic: str, tmp_path: Path
) -> None:
    async def scenario(log: BrokerLog) -> list[int]:
        first = await log.send(
            [
                Outgoing(topic, b"k", b"v", 0),
                Outgoing(topic, b"k", random.Random(1).randbytes(TOO_MUCH), 0),
                Outgoing(topic, b"k", b"v", 0),
                Outgoing(f"{topic}.gone", b"k", b"v"),
                Outgoing(topic, b"k", b"v", 99),
                Outgoing("not a topic's name", b"k", b"v"),
                Outgoing("nul\0topic", b"k", b"v"),
                Outgoing("half a \ud800 topic", b"k", b"v"),
                Outgoing(topic, b"k", b"v", -1, (("half a \ud800 name", b""),)),
                Outgoing(topic, b"k", b"v", -1, (("nul\0name", b""),)),
                Outgoing(topic, b"k", b"v", -1, (), 2**70),
                Outgoing(topic, b"k", bytes(broker_producer.MOST_BYTES + 1)),
            ]
        )
        second = await log.send([Outgoing(topic, b"k", b"v")])
        assert (log.stalls, log.spooled_total, log.is_up) == (0, 0, True)
        return codes([*first, *second])

    bad = errors.INVALID_PAYLOAD
    assert on_log(stack.settings, tmp_path, scenario) == [
        0,
        errors.TOO_LARGE,
        0,
        errors.TOPIC_NOT_FOUND,
        errors.PARTITION_NOT_FOUND,
        errors.TOPIC_NOT_FOUND,
        bad,
        bad,
        bad,
        bad,
        bad,
        errors.TOO_LARGE,
        0,
    ]


TOO_FAR_AHEAD_MS = 3 * 3_600_000
"""More than the hour that Kafka allows."""


@pytest.mark.parametrize("bad", ["timestamp", "no key", "size"])
def test_a_record_that_kafka_refuses_takes_none_of_those_in_its_batch_with_it(
    stack: StackUnderTest, tmp_path: Path, bad: str
) -> None:
    now_ms = round(time.time() * 1000)
    limits = {"no key": {"cleanup.policy": "compact"}, "size": {"max.message.bytes": "3000"}}.get(bad, {})
    with own_topic(stack, limits) as topic:
        poison = {
            "timestamp": Outgoing(topic, b"bad", b"v", 0, (), now_ms + TOO_FAR_AHEAD_MS),
            "no key": Outgoing(topic, None, b"v", 0),
            "size": Outgoing(topic, b"bad", random.Random(1).randbytes(5_000), 0),
        }[bad]
        good = [Outgoing(topic, b"k%d" % (n % 3), b"%d" % n, 0, (("name", b"x"),)) for n in range(90)]

        async def scenario(log: BrokerLog) -> tuple[list[Any], Any]:
            first, refused, second = await asyncio.gather(
                log.send(good[:45]), log.send([poison, poison]), log.send(good[45:])
            )
            assert (log.stalls, log.is_up, log.in_flight) == (0, True, 0)
            return [*first, *second], refused

        taken, refused = on_log(stack.settings, tmp_path, scenario)
        assert codes(taken) == [0] * 90
        assert codes(refused) == [errors.TOO_LARGE if bad == "size" else errors.KAFKA_ERROR] * 2
        assert [place.offset for place in taken] == list(range(90)), "in order of admission"
        values = following(stack, topic, taken[0], 90)
        assert [int(value) for value in values] == list(range(90))


def test_a_spooled_record_that_kafka_refuses_takes_none_of_those_in_its_batch_with_it(
    stack: StackUnderTest, tmp_path: Path
) -> None:
    with own_topic(stack, {}) as topic:
        ahead_ms = round(time.time() * 1000) + TOO_FAR_AHEAD_MS
        records = [Outgoing(topic, b"k%d" % (n % 3), b"%d" % n, 0) for n in range(60)]
        records[30] = records[30]._replace(timestamp_ms=ahead_ms)
        assert codes(on_log(away(), tmp_path, lambda log: log.send(records))) == [0] * 60

        async def bring_over(log: BrokerLog) -> Written:
            await nothing_waits(log)
            assert (log.replayed_total, log.refused_total) == (60, 1)
            (last,) = await log.send([Outgoing(topic, b"k", b"60", 0)])
            assert isinstance(last, Written)
            return last

        last = on_log(stack.settings, tmp_path, bring_over)
        values = following(stack, topic, last._replace(offset=0), last.offset + 1)
    (line,) = (tmp_path / "refused" / "refused.jsonl").read_text().splitlines()
    assert json.loads(line)["value"] == base64.b64encode(b"30").decode()
    assert [int(value) for value in values] == [*range(30), *range(31, 61)]


def test_records_that_come_while_those_of_their_key_are_sent_one_by_one_stay_behind_them(
    stack: StackUnderTest, tmp_path: Path
) -> None:
    with own_topic(stack, {}) as topic:
        ahead_ms = round(time.time() * 1000) + TOO_FAR_AHEAD_MS
        first = [Outgoing(topic, b"k%d" % (n % 3), b"%d" % n, 0) for n in range(900)]
        poison = Outgoing(topic, b"bad", b"v", 0, (), ahead_ms)
        unsound = Outgoing(topic, b"k1", b"v", 0, (("half a \ud800 name", b""),))

        async def scenario(log: BrokerLog) -> tuple[list[Any], list[Any]]:
            sending = asyncio.create_task(log.send([poison, *first]))
            while (alone := log._producer._alone) is None or not alone.waiting:
                await asyncio.sleep(0)
            later = [Outgoing(topic, b"k%d" % (n % 3), b"%d" % n, 0) for n in range(900, 930)]
            later_places = await log.send([*later, unsound, Outgoing(topic, b"other", b"ahead", 0)])
            return (await sending)[1:], later_places

        early, late = on_log(stack.settings, tmp_path, scenario)
        assert codes(early) == [0] * 900
        assert codes(late) == [0] * 30 + [errors.INVALID_PAYLOAD, 0]
        assert late[-1].offset < late[0].offset, "a key that has nothing there does not wait"
        values = following(stack, topic, early[0]._replace(offset=0), 931)
        assert [int(value) for value in values if value != b"ahead"] == list(range(930))


def test_what_the_producer_has_no_room_for_is_told_to_come_again_and_never_half_accepted(
    stack: StackUnderTest, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_producer, "MOST_WAITING", 100)
    records = [Outgoing(topic, b"k", b"%d" % number) for number in range(150)]

    async def scenario(log: BrokerLog) -> list[Written | GatewayError]:
        outcomes = await log.send(records)
        assert log.spooled_total == 0
        assert codes(await log.send(records[:100])) == [0] * 100  # the queue is free again
        return outcomes

    outcomes = on_log(stack.settings, tmp_path, scenario)
    assert codes(outcomes) == [0] * 100 + [errors.KAFKA_RETRIABLE] * 50
    assert isinstance(outcomes[-1], GatewayError) and outcomes[-1].retry_after == 1.0


def test_a_caller_who_goes_away_takes_no_record_back(stack: StackUnderTest, topic: str, tmp_path: Path) -> None:
    complaints: list[dict[str, Any]] = []

    async def scenario(log: BrokerLog) -> Written:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        gone = asyncio.create_task(log.send([Outgoing(topic, b"gone", b"1", 0)]))
        await asyncio.sleep(0)
        gone.cancel()
        (after,) = await log.send([Outgoing(topic, b"gone", b"2", 0)])
        assert isinstance(after, Written)
        return after

    after = on_log(stack.settings, tmp_path, scenario)
    assert at(stack, topic, after._replace(offset=after.offset - 1)).value() == b"1"
    assert complaints == []


def test_without_kafka_a_record_is_accepted_only_while_the_disk_has_room(topic: str, tmp_path: Path) -> None:
    values = away().model_dump()
    values["gateway"] |= {"spool_bytes": 10_000, "produce_seconds": 1.0}

    async def scenario(log: BrokerLog) -> tuple[list[int], list[int], float]:
        small = await log.send([Outgoing(topic, b"k", bytes(1_000), 1)] * 3)
        assert small == [Written(1, SPOOLED_OFFSET)] * 3
        begin = time.monotonic()
        large = await log.send([Outgoing(topic, b"k", bytes(4_000))] * 2)
        last = await log.send([Outgoing(topic, b"k", bytes(1_000))])
        return codes(large), codes(last), time.monotonic() - begin

    large, last, seconds = on_log(settings_from(values), tmp_path, scenario)
    assert large == [errors.SPOOL_FULL] * 2, "all of a request, or nothing"
    assert last == [0]
    assert seconds < 0.75, "once Kafka is known to be away nobody waits for it"


def test_thousands_that_come_back_at_once_are_all_on_disk_in_order(topic: str, tmp_path: Path) -> None:
    async def scenario(log: BrokerLog) -> None:
        sending = [
            asyncio.create_task(log.send([Outgoing(topic, b"k", b"%d" % (each * 500 + n), 1) for n in range(500)]))
            for each in range(60)
        ]
        assert {code for each in sending for code in codes(await each)} == {0}

    on_log(away(), tmp_path, scenario)
    assert asyncio.run(spooled(tmp_path)) == list(range(30_000))


def test_without_kafka_what_no_replay_could_bring_over_is_refused_alone(topic: str, tmp_path: Path) -> None:
    async def scenario(log: BrokerLog) -> list[list[int]]:
        records = [
            Outgoing(topic, b"k", bytes(MOST_SPOOLED_BYTES)),
            Outgoing(topic, b"k", b"v", -1, (("half a \ud800 name", b""),)),
            Outgoing(topic, b"k", b"v", -1, (), 2**70),
            Outgoing(topic, b"k", b"v"),
        ]
        return [codes(await log.send(records)) for _ in range(2)]

    bad, later = errors.INVALID_PAYLOAD, errors.KAFKA_RETRIABLE
    assert on_log(away(), tmp_path, scenario) == [[later, bad, bad, 0]] * 2


def test_what_waits_on_disk_goes_to_kafka_and_what_kafka_then_refuses_is_kept_with_the_reason(
    stack: StackUnderTest, topic: str, tmp_path: Path
) -> None:
    records = [
        Outgoing(topic, b"late", b"1", 0),
        Outgoing(f"{topic}.gone", b"late", b"2"),
        Outgoing(topic, b"late", b"3", 0, (("name", None),), 1_700_000_000_000),
    ]
    assert codes(on_log(away(), tmp_path, lambda log: log.send(records))) == [0, 0, 0]
    accepted_ms = time.time() * 1000

    async def bring_over(log: BrokerLog) -> Written:
        assert log.spooled_records == 3
        await nothing_waits(log)
        assert (log.replayed_total, log.refused_total, log.spooled_bytes) == (3, 1, 0)
        (after,) = await log.send([Outgoing(topic, b"late", b"4", 0)])
        assert isinstance(after, Written) and after.offset >= 0
        return after

    after = on_log(stack.settings, tmp_path, bring_over)
    first = at(stack, topic, after._replace(offset=after.offset - 2))
    assert first.value() == b"1"
    assert first.timestamp()[1] <= accepted_ms, "the time at which it was accepted, not brought over"
    third = at(stack, topic, after._replace(offset=after.offset - 1))
    assert (third.value(), third.headers(), third.timestamp()[1]) == (b"3", [("name", None)], 1_700_000_000_000)
    (line,) = (tmp_path / "refused" / "refused.jsonl").read_text().splitlines()
    said = json.loads(line)
    assert (said["error_code"], said["topic"], said["value"]) == (errors.TOPIC_NOT_FOUND, f"{topic}.gone", "Mg==")


def test_while_a_key_waits_on_disk_its_new_records_stay_behind_and_others_go_ahead(
    stack: StackUnderTest, topic: str, tmp_path: Path
) -> None:
    older = [Outgoing(topic, b"waits", b"%d" % number, 0) for number in range(3_000)]
    on_log(away(), tmp_path, lambda log: log.send(older))

    async def scenario(log: BrokerLog) -> tuple[Written, Written]:  # replay has not had its first turn yet
        newer = Outgoing(topic, b"waits", b"3000", 0), Outgoing(topic, b"other", b"ahead", 0)
        behind, ahead = await log.send(newer)
        await nothing_waits(log)
        (last,) = await log.send([Outgoing(topic, b"waits", b"3001", 0)])
        assert codes([behind, ahead, last]) == [0, 0, 0]
        assert isinstance(ahead, Written) and isinstance(last, Written)
        return ahead, last

    ahead, last = on_log(stack.settings, tmp_path, scenario)
    values = following(stack, topic, last._replace(offset=last.offset - 3_002), 3_003)
    assert [int(value) for value in values if value != b"ahead"] == list(range(3_002))
    assert 0 <= ahead.offset < last.offset - 1


def test_senders_in_a_hurry_do_not_keep_the_spool_from_ending(
    stack: StackUnderTest, topic: str, tmp_path: Path
) -> None:
    records = [Outgoing(topic, b"%d" % key, bytes(100)) for key in range(100)]

    async def fill(log: BrokerLog) -> None:
        for _ in range(300):
            await log.send(records)

    async def scenario(log: BrokerLog) -> tuple[int, int]:
        ended, sent = asyncio.Event(), 0

        async def hurry() -> None:
            nonlocal sent
            while not ended.is_set():
                sent += codes(await log.send(records)).count(0)

        senders = [asyncio.create_task(hurry()) for _ in range(16)]
        try:
            await nothing_waits(log)
        finally:
            ended.set()
            await asyncio.gather(*senders)
        return log.spooled_total, sent

    on_log(away(), tmp_path, fill)
    spooled, sent = on_log(stack.settings, tmp_path, scenario)
    assert spooled <= 30_000 + 20_000, "at most as many as were there, and what one step let through"
    assert sent > 0


def test_a_client_that_gave_up_for_good_is_replaced_and_its_records_are_not_lost(
    stack: StackUnderTest, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Producer] = []

    class Broken(Producer):
        def __init__(self, config: dict[str, Any]) -> None:
            super().__init__(config)
            made.append(self)

        def produce(self, *arguments: Any, **named: Any) -> None:
            if len(made) == 1:
                raise KafkaException(KafkaError(KafkaError._FATAL, "the sequence is broken", fatal=True))
            super().produce(*arguments, **named)

    monkeypatch.setattr(broker_producer, "Producer", Broken)

    async def scenario(log: BrokerLog) -> None:
        assert await log.send([Outgoing(topic, b"k", b"v")]) == [Written(-1, SPOOLED_OFFSET)]
        await nothing_waits(log)
        assert log.replayed_total == 1
        assert codes(await log.send([Outgoing(topic, b"k", b"v")])) == [0]

    on_log(stack.settings, tmp_path, scenario)
    assert len(made) == 2


def test_a_log_that_stops_takes_no_more(stack: StackUnderTest, topic: str, tmp_path: Path) -> None:
    async def run() -> list[list[int]]:
        log = BrokerLog(stack.settings, tmp_path)
        await log.start()
        under_way = asyncio.create_task(log.send([Outgoing(topic, b"k", b"v")] * 100))
        await asyncio.sleep(0)
        await log.stop(10.0)
        late = await log.send([Outgoing(topic, b"k", b"v")] * 2)
        assert await log.send([]) == []
        return [codes(await under_way), codes(late)]

    assert asyncio.run(run()) == [[0] * 100, [errors.KAFKA_RETRIABLE] * 2]
