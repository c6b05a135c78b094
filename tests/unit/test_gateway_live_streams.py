"""Streams of v3 in the whole application: what ends them, and what they may take."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.gateway.errors import GatewayError
from connectors.gateway.records import Caller
from connectors.gateway.server.held_bytes import HELD
from connectors.gateway.v3 import record as v3_record
from connectors.gateway.v3 import stream as v3_stream
from connectors.gateway.v3.live_streams import MOST_OF_KEY, LiveStreams
from tests.gateway_in_process import CLUSTER, KEY, NOTES, GatewayInProcess

HEADERS = [(b"x-api-key", KEY), (b"content-type", b"application/json")]
RECORDS = f"/v3/clusters/{CLUSTER}/topics/{NOTES}/records"
BAD = b'{"a":1}'
GOOD = b'{"value":{"type":"JSON","data":1}}'


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayInProcess]:
    running = GatewayInProcess(tmp_path)
    yield running
    running.close()
    assert HELD.total == 0, "whatever happened, nothing is held"


def reports(gateway: GatewayInProcess, *pieces: bytes) -> list[dict[str, Any]]:
    answer = gateway.ask("POST", RECORDS, HEADERS, *pieces)
    assert answer.status == 200, answer.body
    return [json.loads(line) for line in answer.body.split(b"\r\n")[:-1]]


def codes(found: list[dict[str, Any]]) -> list[int]:
    return [each["error_code"] for each in found]


def test_a_stream_ends_once_its_key_is_a_viewers(gateway: GatewayInProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = gateway.app._parts.identity
    roles = iter(("editor", "editor", "viewer"))  # of the request, the first record, the second
    monkeypatch.setattr(identity, "known", lambda _: Caller("AAAAAAAAAAAA", "acme", next(roles)))  # type: ignore[arg-type]
    assert codes(reports(gateway, GOOD, GOOD, GOOD)) == [200, 40301]
    assert len(gateway.log.records) == 1


def test_a_stream_under_an_idempotency_key_is_refused_unread(gateway: GatewayInProcess) -> None:
    answer = gateway.ask("POST", RECORDS, [*HEADERS, (b"idempotency-key", b"once")], GOOD)
    assert answer.status == 400
    assert b"records:batch" in answer.body
    assert gateway.log.records == []


@pytest.mark.parametrize("between", [b"", GOOD])
def test_a_stream_of_hardly_anything_but_refusals_ends(gateway: GatewayInProcess, between: bytes) -> None:
    found = reports(gateway, *[BAD * 499 + between] * 100)
    refused = codes(found).count(400)
    assert v3_stream.MOST_REFUSED <= refused < v3_stream.MOST_REFUSED + 1_000
    assert found[-1]["error_code"] == 413


def test_refusals_do_not_end_a_stream_that_is_mostly_good(gateway: GatewayInProcess) -> None:
    assert len(reports(gateway, *[(BAD * 5 + GOOD) * 50] * 50)) == 15_000


def test_others_have_their_turn_between_a_few_dozen_refusals(gateway: GatewayInProcess) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = gateway.loop.create_task(others())
    reports(gateway, BAD * 30_000)
    beside.cancel()
    assert turns > v3_stream.MOST_REFUSED / 200


def test_a_record_of_too_many_values_is_refused_and_the_stream_goes_on(gateway: GatewayInProcess) -> None:
    crowd = b'{"value":{"type":"JSON","data":[' + b"1," * v3_record.MOST_VALUES + b"1]}}"
    assert codes(reports(gateway, GOOD + crowd + GOOD)) == [200, 413, 200]


def test_half_a_record_has_a_limit_of_its_own(gateway: GatewayInProcess) -> None:
    half = b'{"value":{"type":"STRING","data":"' + b"a" * v3_stream.MOST_RECORD_BYTES
    assert codes(reports(gateway, GOOD, half)) == [200, 413]


def test_a_record_that_comes_drop_by_drop_ends_the_stream(tmp_path: Path) -> None:
    gateway = GatewayInProcess(tmp_path, body_seconds=0.05)
    piece = b'{"value":{"type":"STRING","data":"' + b"a" * 3_000_000
    try:
        begun = time.monotonic()
        seconds = itertools.count()  # one at each look
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(time, "monotonic", lambda: begun + next(seconds))
            found = reports(gateway, GOOD, piece)
        assert codes(found) == [200, 408]
    finally:
        gateway.close()


def test_what_streams_hold_is_counted_and_given_back(
    gateway: GatewayInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HELD, "_most_of_key", 100_000)
    half = b'{"value":{"type":"STRING","data":"' + b"a" * 60_000
    found = reports(gateway, GOOD, half, b"a" * 60_000)
    assert codes(found) == [200, 42901]


def test_a_stream_for_which_there_is_no_room_is_told_when_to_come_back(
    gateway: GatewayInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HELD, "_most", 10)
    for path in (RECORDS, RECORDS + ":batch"):
        answer = gateway.ask("POST", path, HEADERS, GOOD)
        assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert gateway.log.records == []


def test_one_key_has_so_many_streams_and_room_again_when_one_ends() -> None:
    live = LiveStreams(lambda: False)
    for _ in range(MOST_OF_KEY):
        live.enter("one")
    with pytest.raises(GatewayError) as caught:
        live.enter("one")
    assert (caught.value.status, caught.value.retry_after) == (429, 5.0)
    live.enter("other")
    live.leave("one")
    live.enter("one")


def test_streams_that_have_ended_or_never_began_do_not_count(gateway: GatewayInProcess) -> None:
    for body in (GOOD, b"", b"]") * MOST_OF_KEY:
        assert gateway.ask("POST", RECORDS, HEADERS, body).status in (200, 422)


def test_an_empty_accept_is_any_type(gateway: GatewayInProcess) -> None:
    assert gateway.ask("GET", "/topics", [*HEADERS, (b"accept", b"")]).status == 200


def test_a_time_that_kafka_would_not_take_costs_that_record_only(gateway: GatewayInProcess) -> None:
    late = GOOD[:-1] + b',"timestamp":"9999-01-02T03:04:05Z"}'
    assert codes(reports(gateway, GOOD + late + GOOD)) == [200, 42203, 200]


def test_nan_in_a_batch_names_its_entry(gateway: GatewayInProcess) -> None:
    body = b'{"entries":[{"id":"1","value":{"type":"JSON","data":1}},{"id":"2","value":{"type":"JSON","data":NaN}}]}'
    answer = gateway.ask("POST", RECORDS + ":batch", HEADERS, body)
    assert answer.status == 422
    assert b"Entry 1 holds NaN" in answer.body
