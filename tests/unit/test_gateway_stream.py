"""Streams of v3: readings that are read in one go, and reports that nobody reads yet."""

from __future__ import annotations

import asyncio
import json

import pytest

from connectors.gateway.v3.quick import quick_reading
from connectors.gateway.v3.stream import Unread


def test_reports_wait_up_to_their_limit_and_go_out_in_order() -> None:
    async def run() -> list[bytes]:
        unread = Unread(most_bytes=10)
        assert await unread.put(b"12345", 0.01)
        assert await unread.put(b"67890", 0.01)
        unread.close()
        return [chunk async for chunk in unread]

    assert asyncio.run(run()) == [b"12345", b"67890"]


def test_a_client_that_does_not_read_is_waited_for_and_then_given_up() -> None:
    async def run() -> None:
        unread = Unread(most_bytes=10)
        assert not await unread.put(b"x" * 11, 0.01)

    asyncio.run(run())


def test_a_client_that_reads_again_makes_room() -> None:
    async def run() -> bool:
        unread = Unread(most_bytes=10)
        waiting = asyncio.create_task(unread.put(b"x" * 11, 10.0))
        await asyncio.sleep(0)
        assert not waiting.done()
        chunks = aiter(unread)
        await anext(chunks)
        await asyncio.sleep(0)
        assert not waiting.done()  # taken, and not yet sent
        unread.close()
        assert await anext(chunks, None) is None
        return await waiting

    assert asyncio.run(run())


READING = {"device_id": "acme-1", "sensor": "t", "ts": 1, "value": 21.5}


def text_of(data: object, **more: object) -> bytes:
    return json.dumps({"value": {"type": "JSON", "data": data, **more}}).encode()


def test_a_plain_reading_is_read_in_one_go() -> None:
    found = quick_reading(text_of(READING))
    assert found is not None
    reading, size = found
    assert (reading.device_id, reading.sensor, reading.ts, reading.value) == ("acme-1", "t", 1, 21.5)
    assert size == len(json.dumps(READING, separators=(",", ":")))


@pytest.mark.parametrize(
    "text",
    [
        text_of(READING).replace(b'"ts": 1', b'"ts": 1, "ts": 2'),
        text_of(READING).replace(b'"type": "JSON"', b'"type": "JSON", "type": "JSON"'),
        text_of(READING).replace(b'"sensor": "t"', b'"sensor": "t", "unit": null'),
        text_of(READING).replace(b'"sensor": "t"', b'"sensor": "t", "\\u0074s": 2'),
        text_of(READING).replace(b"21.5", b"NaN"),
        text_of(READING)[:-1],
        text_of(READING) + b"{}",
        text_of(READING).replace(b"acme-1", b"\xff"),
        text_of(READING | {"colour": 1}),
        text_of(READING | {"ts": "1"}),
        text_of(READING, schema_id=1),
        text_of([READING]),
        b'{"value": {"type": "BINARY", "data": "AA=="}}',
        b"{}",
    ],
)
def test_whatever_is_not_surely_right_is_left_to_the_checks(text: bytes) -> None:
    assert quick_reading(text) is None
