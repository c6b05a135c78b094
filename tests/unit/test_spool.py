"""The spool as the gateway uses it: groups that share a sync, limits on disk and in memory, and keys that wait."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from connectors.gateway import errors
from connectors.gateway.errors import GatewayError
from connectors.gateway.log.spool import MOST_UNWRITTEN, SLICE_RECORDS, Spool
from connectors.gateway.log.spool_layout import encode
from connectors.gateway.log.waiting_keys import WaitingKeys
from connectors.gateway.records import Outgoing
from tests.spool_on_disk import failing, numbers, opened, record, rest


class Answers:
    """What the spool answered to each append, by name."""

    def __init__(self) -> None:
        self.by_name: dict[str, int | None] = {}

    def named(self, name: str) -> Callable[[GatewayError | None], None]:
        return lambda refusal: self.by_name.update({name: refusal.code if refusal else None})

    async def all(self, count: int) -> dict[str, int | None]:
        while len(self.by_name) < count:
            await asyncio.sleep(0.001)
        return self.by_name


def test_requests_that_wait_at_the_same_moment_share_one_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, syncs = os.fdatasync, []

    def counted(file: int) -> None:
        syncs.append(file)
        real(file)

    async def scenario() -> None:
        spool, answers = Spool(tmp_path, 10_000_000), Answers()
        await spool.open()
        monkeypatch.setattr(os, "fdatasync", counted)
        for number in range(100):
            spool.append([record(number)], answers.named(str(number)))
        assert spool.records == 100
        await answers.all(100)
        assert numbers((await spool.read(1_000)).records) == list(range(100))
        await spool.close()

    asyncio.run(scenario())
    assert 1 <= len(syncs) <= 2


def test_a_full_spool_says_507_takes_what_still_fits_and_has_room_again_after_replay(tmp_path: Path) -> None:
    size = len(encode(record(1)))

    async def scenario() -> dict[str, int | None]:
        spool, answers = Spool(tmp_path, most_bytes=3 * size), Answers()
        await spool.open()
        spool.append([record(1), record(2)], answers.named("fits"))
        spool.append([record(3), record(4)], answers.named("too many"))
        spool.append([record(5)], answers.named("fits exactly"))
        spool.append([record(6)], answers.named("no more"))
        await answers.all(4)
        chunk = await spool.read(10)
        assert numbers(chunk.records) == [1, 2, 5]
        await spool.replayed(chunk, [])
        assert (spool.records, spool.bytes) == (0, 0)
        assert (await spool.read(10)).records == []
        assert spool.drained()
        spool.append([record(7)], answers.named("room again"))
        await answers.all(5)
        await spool.close()
        return answers.by_name

    full = errors.SPOOL_FULL
    assert asyncio.run(scenario()) == {
        "fits": None,
        "too many": full,
        "fits exactly": None,
        "no more": full,
        "room again": None,
    }
    assert GatewayError(full, "").status == 507


def test_a_disk_that_hangs_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = threading.Event()
    large = Outgoing("t", b"k", bytes(MOST_UNWRITTEN // 4))

    async def scenario() -> dict[str, int | None]:
        spool, answers = Spool(tmp_path, 1_000_000_000), Answers()
        await spool.open()
        monkeypatch.setattr(os, "fdatasync", lambda _: hangs.wait(20))
        for number in range(5):
            spool.append([large], answers.named(str(number)))
        await answers.all(2)
        hangs.set()
        await answers.all(5)
        spool.append([large], answers.named("later"))
        await answers.all(6)
        await spool.close()
        return answers.by_name

    away = errors.KAFKA_RETRIABLE
    expected = {"0": None, "1": None, "2": None, "3": away, "4": away, "later": None}
    assert asyncio.run(scenario()) == expected


@pytest.mark.parametrize(("code", "answer"), [(errno.ENOSPC, errors.SPOOL_FULL), (errno.EIO, errors.KAFKA_RETRIABLE)])
def test_what_the_disk_refuses_is_refused_and_waits_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, answer: int
) -> None:
    async def scenario() -> dict[str, int | None]:
        spool, answers = Spool(tmp_path, 1_000), Answers()
        await spool.open()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", failing(code))
            spool.append([record(1)], answers.named("refused"))
            await answers.all(1)
        assert (spool.records, spool.bytes, spool.failed_writes) == (0, 0, 1)
        assert not spool.holds("weir.readings", b"device")
        spool.append([record(2)], answers.named("taken"))
        await answers.all(2)
        assert numbers((await spool.read(10)).records) == [2]
        await spool.close()
        return answers.by_name

    assert asyncio.run(scenario()) == {"refused": answer, "taken": None}
    assert rest(tmp_path) == [2]


def test_a_key_waits_from_the_moment_of_its_append_until_its_last_record_is_replayed(tmp_path: Path) -> None:
    async def scenario() -> None:
        spool, answers = Spool(tmp_path, 10_000), Answers()
        await spool.open()
        spool.append([record(1), record(2), record(3, b"other")], answers.named("first"))
        assert spool.holds("weir.readings", b"device")
        assert not spool.holds("weir.events", b"device")
        assert not spool.holds("weir.readings", None)
        await answers.all(1)
        for left in (True, False):
            chunk = await spool.read(1)
            await spool.replayed(chunk, [])
            assert spool.holds("weir.readings", b"device") is left
        assert spool.holds("weir.readings", b"other")
        await spool.close()

    asyncio.run(scenario())


def test_what_is_appended_between_reading_the_last_and_asking_is_not_forgotten(tmp_path: Path) -> None:
    async def scenario() -> None:
        spool, answers = Spool(tmp_path, 10_000), Answers()
        await spool.open()
        assert (await spool.read(10)).records == []
        spool.append([record(1)], answers.named("late"))
        assert not spool.drained()
        await answers.all(1)
        assert not spool.drained()
        assert spool.records == 1
        await spool.close()

    asyncio.run(scenario())


def test_the_memory_for_keys_that_wait_does_not_grow_with_them(tmp_path: Path) -> None:
    records = [record(number, b"device-%d" % number) for number in range(100_000)]
    keys = WaitingKeys()
    tracemalloc.start()
    try:
        for each in range(0, len(records), 1_000):
            keys.add_all(records[each : each + 1_000])
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 100_000
    assert all(keys.holds(each.topic, each.key) for each in records)
    files = opened(tmp_path)
    files.write(b"".join(map(encode, records)))
    files.close()
    tracemalloc.start()
    try:
        found = files.open()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        files.close()
    assert found.keys.waiting == len(records)
    assert most < 4 * 1_048_576 * 2 + sum(len(encode(each)) for each in records) * 1.5


def test_two_keys_with_one_counter_wait_for_each_other_and_neither_is_let_go_too_early() -> None:
    keys = WaitingKeys(1)
    keys.add_all([record(1, b"a"), record(2, b"b"), record(3, None)])
    assert keys.holds("weir.readings", b"c")
    keys.remove_all([record(1, b"a"), record(3, None)])
    assert keys.holds("weir.readings", b"b")
    keys.remove_all([record(2, b"b"), record(2, b"b")])
    assert not keys.holds("weir.readings", b"b") and keys.waiting == 0


def test_senders_are_told_some_at_a_time_in_the_order_of_their_records(tmp_path: Path) -> None:
    turns: list[int] = []
    told: list[int] = []

    async def scenario() -> None:
        spool, turn = Spool(tmp_path, 10_000_000), 0
        await spool.open()

        def tell(number: int, _: GatewayError | None) -> None:
            told.append(number)
            turns.append(turn)

        for number in range(5_000):
            spool.append([record(number)], partial(tell, number))
        while len(told) < 5_000:
            turn += 1
            await asyncio.sleep(0)
        assert numbers((await spool.read(10_000)).records) == list(range(5_000))
        await spool.close()

    asyncio.run(scenario())
    assert told == list(range(5_000))
    assert max(Counter(turns).values()) <= SLICE_RECORDS
