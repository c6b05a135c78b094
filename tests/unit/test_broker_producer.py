"""The way back from Kafka's client, when it gives records back by the thousand, and when it never does."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from connectors.gateway.log import broker_log, broker_producer
from connectors.gateway.log.broker_log import BrokerLog
from connectors.gateway.log.spool import Spool
from connectors.gateway.records import SPOOLED_OFFSET, Outgoing, Written
from tests.stack_under_test import settings_from

Reports = deque[Callable[[KafkaError | None, Any], None]]


class Silent:
    """Kafka's client without Kafka: gives back what is purged, a report at a time as the real one does."""

    gives_back = True
    most_at_once = 0

    def __init__(self, config: dict[str, Any]) -> None:
        self._reports: Reports = deque()
        self._purged = False

    def produce(self, *arguments: Any, **_: Any) -> None:
        self._reports.append(arguments[4])

    def purge(self, **_: Any) -> None:
        self._purged = self.gives_back

    def poll(self, _: float) -> int:
        count = 0
        while self._purged and self._reports:
            count += 1
            Silent.most_at_once = max(Silent.most_at_once, count)
            self._reports.popleft()(KafkaError(KafkaError._PURGE_QUEUE), None)
        return 0

    def list_topics(self, *_: Any) -> None:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    def __len__(self) -> int:
        return len(self._reports)


def requests(count: int, records: int) -> list[list[Outgoing]]:
    """Numbered from 0 on over all requests."""
    return [
        [Outgoing("t", b"k", b"%d" % (each * records + number)) for number in range(records)] for each in range(count)
    ]


async def spooled(folder: Path) -> list[int]:
    """What a gateway that starts on the folder would replay."""
    spool, found = Spool(folder, 1_000_000_000), list[int]()
    await spool.open()
    while (chunk := await spool.read(10_000)).records:
        found += [int(each.value or b"") for each in chunk.records]
        await spool.replayed(chunk, [])
    await spool.close()
    return found


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> type[Silent]:
    monkeypatch.setattr(broker_producer, "Producer", Silent)
    monkeypatch.setattr(Silent, "gives_back", True)
    monkeypatch.setattr(Silent, "most_at_once", 0)
    return Silent


def test_records_are_taken_back_in_slices_and_wait_on_disk_in_order_of_admission(
    silent: type[Silent], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slices: list[int] = []
    real = BrokerLog._take_back

    async def scenario() -> None:
        settings = settings_from({"gateway": {"produce_seconds": 0.05}})
        log = BrokerLog(settings, tmp_path)
        turn = 0

        def take_back(self: BrokerLog, batch: Any, places: Any) -> None:
            slices.extend([turn] * len(places))
            real(self, batch, places)

        monkeypatch.setattr(BrokerLog, "_take_back", take_back)
        await log.start()
        sending = [asyncio.ensure_future(log.send(each)) for each in requests(100, 100)]
        late: list[asyncio.Future[Any]] = []
        while not all(each.done() for each in sending):
            turn += 1
            if slices and not late:  # one that comes meanwhile
                late.append(asyncio.ensure_future(log.send([Outgoing("t", b"k", b"10000")])))
            await asyncio.sleep(0)
        for each in [*sending, *late]:
            assert all(isinstance(outcome, Written) for outcome in await each)
        await log.stop(1.0)

    asyncio.run(scenario())
    assert 0 < silent.most_at_once <= broker_producer.SLICE_RECORDS
    assert max(slices.count(turn) for turn in set(slices)) <= broker_producer.SLICE_RECORDS
    assert asyncio.run(spooled(tmp_path)) == list(range(10_001))


def test_a_client_that_never_gives_its_records_back_does_not_keep_the_log_from_stopping(
    silent: type[Silent], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Silent, "gives_back", False)
    monkeypatch.setattr(broker_log, "RETURN_SECONDS", 0.2)

    async def scenario() -> None:
        log = BrokerLog(settings_from({"gateway": {"produce_seconds": 30.0}}), tmp_path)
        await log.start()
        sending = [asyncio.ensure_future(log.send(each)) for each in requests(3, 10)]
        await asyncio.sleep(0.01)
        await asyncio.wait_for(log.stop(0.1), 5.0)
        for each in sending:
            assert await asyncio.wait_for(each, 1.0) == [Written(-1, SPOOLED_OFFSET)] * 10

    asyncio.run(scenario())
    assert asyncio.run(spooled(tmp_path)) == list(range(30))
