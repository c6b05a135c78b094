import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from confluent_kafka import Message

from streams.engine.fetch import Fetch, Lease
from streams.engine.joining_queue import JoiningQueue

Answer = TypeVar("Answer")


def fetch(lease: Lease, count: int, *, behind: bool = False) -> Fetch:
    return Fetch(lease, [Message() for _ in range(count)], behind=behind)


def run(awaitable: Awaitable[Answer]) -> Answer:
    async def wait() -> Answer:
        return await asyncio.wait_for(awaitable, 1.0)

    return asyncio.run(wait())


def test_waiting_fetches_of_one_lease_become_one_in_order() -> None:
    queue, lease = JoiningQueue(10, 1_000), Lease("t", 0, None)
    first, second = fetch(lease, 3, behind=True), fetch(lease, 4)
    queue.put(first)
    queue.put(second)
    taken = run(queue.get())
    assert taken.messages == [*first.messages, *second.messages]
    assert not taken.behind


def test_block_does_not_grow_beyond_its_limit() -> None:
    queue, lease = JoiningQueue(10, 1_000), Lease("t", 0, None)
    for count in (6, 5, 4):
        queue.put(fetch(lease, count))
    assert [len(run(queue.get()).messages) for _ in range(2)] == [6, 9]


def test_leases_are_never_mixed_and_take_turns() -> None:
    queue, one, two = JoiningQueue(10, 1_000), Lease("t", 0, None), Lease("t", 0, None)
    for lease, count in ((one, 8), (two, 2), (one, 7), (two, 1)):
        queue.put(fetch(lease, count))
    taken = [run(queue.get()) for _ in range(3)]
    assert [(each.lease is one, len(each.messages)) for each in taken] == [(True, 8), (False, 3), (True, 7)]


def test_clock_of_a_silent_partition_keeps_its_place() -> None:
    queue, lease = JoiningQueue(10, 1_000), Lease("t", 0, None)
    queue.put(fetch(lease, 1))
    queue.put(Fetch(lease, [], clock_ms=5))
    queue.put(fetch(lease, 2))
    assert [(len(run(queue.get()).messages)) for _ in range(3)] == [1, 0, 2]


def test_taker_waits_for_the_first_fetch() -> None:
    async def wait() -> Fetch:
        queue, lease = JoiningQueue(10, 1_000), Lease("t", 0, None)
        taking = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        queue.put(fetch(lease, 2))
        return await asyncio.wait_for(taking, 1.0)

    assert len(asyncio.run(wait()).messages) == 2
