"""Answers of v2, negotiation of types, and requests that are repeated under an Idempotency-Key."""

from __future__ import annotations

import asyncio
import json

import pytest

from connectors.gateway.app import negotiated
from connectors.gateway.errors import FORBIDDEN, KAFKA_RETRIABLE, OVER_QUOTA, GatewayError
from connectors.gateway.http import V2, Reply, Request, Route, Router
from connectors.gateway.idempotency import Idempotency
from connectors.gateway.records import SAMPLED_OUT, Caller, Written
from connectors.gateway.v2.answer import produced

KEY = Caller("p", "acme", "device")


def test_one_good_record_makes_it_200_and_the_bad_ones_name_their_places() -> None:
    reply = produced(
        [Written(1, 7), GatewayError(FORBIDDEN, "no"), Written(2, -1), SAMPLED_OUT], {"value_schema_id": 4}
    )
    assert reply.status == 200
    assert json.loads(reply.body) == {
        "offsets": [
            {"partition": 1, "offset": 7, "error_code": None, "error": None},
            {"partition": None, "offset": None, "error_code": 40301, "error": "Record 1: no"},
            {"partition": 2, "offset": -1, "error_code": None, "error": None},
            {"partition": -1, "offset": -2, "error_code": None, "error": None},
        ],
        "key_schema_id": None,
        "value_schema_id": 4,
    }
    assert dict(reply.headers) == {b"weir-spooled": b"1", b"weir-sampled-out": b"1"}


def test_when_nothing_was_taken_the_status_says_so_and_the_wait_is_the_longest() -> None:
    errors = [
        GatewayError(OVER_QUOTA, "slow", retry_after=0.2, extra={"limit": "x"}),
        GatewayError(KAFKA_RETRIABLE, "a", retry_after=2.1),
    ]
    reply = produced(errors, {})
    assert reply.status == 429
    body = json.loads(reply.body)
    assert (body["error_code"], body["message"], body["limit"]) == (42901, "Record 0: slow", "x")
    assert [each["error_code"] for each in body["offsets"]] == [42901, 50003]
    assert dict(reply.headers) == {b"retry-after": b"3"}
    assert json.loads(produced(errors[:1], {}).body)["message"] == "slow"


@pytest.mark.parametrize(
    ("accept", "found"),
    [
        (b"application/vnd.kafka.v2+json", V2),
        (b"application/json", "application/json"),
        (b"text/html, */*;q=0.1", V2),
        (b"application/*", V2),
        (b"application/json;q=0.2, application/vnd.kafka.v2+json;q=0.1", "application/json"),
        (b"text/html", None),
        (b"*/*;q=0", None),
        (b"application/json;q=x", None),
        (b"", None),
    ],
)
def test_the_answer_is_of_a_type_that_the_client_takes(accept: bytes, found: str | None) -> None:
    assert negotiated((V2, "application/json"), accept) == found


def test_a_path_is_found_with_its_parameters() -> None:
    async def nothing(_: Request) -> Reply:
        return Reply(200, b"")

    routes = [
        Route("GET", "/topics", nothing),
        Route("GET", "/topics/{topic}", nothing),
        Route("POST", "/topics/{topic}", nothing),
    ]
    routes += [
        Route("POST", "/v3/clusters/{c}/topics/{t}/records:batch", nothing),
        Route("POST", "/v3/clusters/{c}/topics/{t}/records", nothing),
    ]
    router = Router(routes)
    assert router.find("/topics") == ({"GET": routes[0]}, {})
    assert router.find("/topics/a.b-c") == ({"GET": routes[1], "POST": routes[2]}, {"topic": "a.b-c"})
    found = router.find("/v3/clusters/x/topics/y/records:batch")
    assert found is not None and found[0] == {"POST": routes[3]} and found[1] == {"c": "x", "t": "y"}
    for path in ("/topics/", "/topics/a/b", "/", "/topicsx", "/topics/a\nb/c", "//topics"):
        assert router.find(path) is None


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def a_request(body: bytes, path: str = "/topics/x", caller: Caller = KEY) -> Request:
    return Request("POST", path, {}, b"", (), V2, caller, body)


class Work:
    """Answers with the number of times that it was done."""

    def __init__(self, status: int = 200) -> None:
        self.times = 0
        self.status = status

    async def __call__(self) -> Reply:
        self.times += 1
        await asyncio.sleep(0)
        return Reply(self.status, str(self.times).encode())


def test_the_same_request_again_gets_the_same_answer_and_is_not_done_again() -> None:
    async def run() -> None:
        kept, work = Idempotency(60, 10_000), Work()
        both = await asyncio.gather(*(kept.answer(b"k", a_request(b"1"), work) for _ in range(2)))
        later = await kept.answer(b"k", a_request(b"1"), work)
        assert [each.body for each in (*both, later)] == [b"1"] * 3 and work.times == 1
        assert [(b"idempotency-replayed", b"true") in each.headers for each in (*both, later)] == [False, True, True]

    asyncio.run(run())


def test_another_body_under_the_same_key_is_refused_and_other_callers_and_paths_are_not() -> None:
    async def run() -> None:
        kept, work = Idempotency(60, 10_000), Work()
        await kept.answer(b"k", a_request(b"1"), work)
        with pytest.raises(GatewayError, match="another body") as caught:
            await kept.answer(b"k", a_request(b"2"), work)
        assert caught.value.status == 422
        await kept.answer(b"k", a_request(b"2", caller=Caller("other", "acme", "device")), work)
        await kept.answer(b"k", a_request(b"2", path="/topics/y"), work)
        assert work.times == 3
        for bad in (b"", b"x" * 256):
            with pytest.raises(GatewayError, match="characters"):
                await kept.answer(bad, a_request(b"1"), work)

    asyncio.run(run())


def test_one_organisation_does_not_push_out_the_answers_of_another() -> None:
    async def run() -> None:
        kept, work = Idempotency(60, 8 * 5_000), Work()
        other = Caller("b", "birch", "device")
        await kept.answer(b"k", a_request(b"1", caller=other), work)
        for number in range(500):
            await kept.answer(b"%d" % number, a_request(b"1"), work)
        assert (await kept.answer(b"k", a_request(b"1", caller=other), work)).body == b"1"
        assert work.times == 501

    asyncio.run(run())


@pytest.mark.parametrize("status", [408, 422, 429, 500, 503, 507])
def test_an_answer_that_sending_again_may_mend_is_not_kept(status: int) -> None:
    async def run() -> None:
        kept, work = Idempotency(60, 10_000), Work(status)
        await kept.answer(b"k", a_request(b"1"), work)
        await kept.answer(b"k", a_request(b"1"), work)
        assert work.times == 2

    asyncio.run(run())


def test_an_answer_with_a_record_that_may_be_sent_again_is_not_kept_either() -> None:
    async def run() -> None:
        kept, times = Idempotency(60, 10_000), 0

        async def partly() -> Reply:
            nonlocal times
            times += 1
            return produced([Written(0, times), GatewayError(OVER_QUOTA, "slow", retry_after=1.0)], {})

        for _ in range(2):
            await kept.answer(b"k", a_request(b"1"), partly)
        assert times == 2

    asyncio.run(run())


def test_answers_are_forgotten_after_their_time_and_the_oldest_when_there_are_too_many() -> None:
    async def run() -> None:
        clock, work = Clock(), Work()
        kept = Idempotency(60, 8 * 1_200, clock)
        for key in (b"a", b"b", b"c", b"d"):
            await kept.answer(key, a_request(b"1"), work)
        await kept.answer(b"d", a_request(b"1"), work)
        assert work.times == 4
        await kept.answer(b"a", a_request(b"1"), work)
        assert work.times == 5
        clock.now = 61
        await kept.answer(b"d", a_request(b"2"), work)
        assert work.times == 6

    asyncio.run(run())


def test_a_fault_leaves_the_key_free_and_tells_whoever_waited() -> None:
    async def run() -> None:
        kept, work = Idempotency(60, 10_000), Work()

        async def fails() -> Reply:
            await asyncio.sleep(0.01)
            raise ValueError("broken")

        first = asyncio.create_task(kept.answer(b"k", a_request(b"1"), fails))
        await asyncio.sleep(0)
        with pytest.raises(GatewayError, match="broken off"):
            await kept.answer(b"k", a_request(b"1"), work)
        with pytest.raises(ValueError, match="broken"):
            await first
        assert (await kept.answer(b"k", a_request(b"1"), work)).body == b"1"

    asyncio.run(run())
