"""Posting to a gateway: what each answer makes of a record, and what is sent again."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable

import pytest

from tests.fake_gateway import KEY, Answered, Posted, fake_gateway, offsets, refused, stored
from tests.waiting import patient, wait_until
from weir.errors import UsageError
from weir.load.gateway_door import Door, DoorConnection, Fate, Locked, Placed, Refused, Silent, Spooled
from weir.load.gateway_lanes import GatewayLanes, Post
from weir.load.gateway_uplink import GatewayUplink
from weir.load.outcomes import Outcomes
from weir.load.source import Message


def value(number: int, device: str = "d") -> bytes:
    return json.dumps({"device_id": device, "seq": number}).encode()


def posted(answer: Callable[[Posted], Answered], *values: bytes | None, patience: float = 5.0) -> list[Fate]:
    """What becomes of records that go to a gateway which answers like this."""
    with fake_gateway(answer) as gateway:
        connection = DoorConnection(Door(gateway.url, KEY), "t.readings", patience)
        try:
            return connection.post("json", values)
        finally:
            connection.close()


def polled_until(uplink: GatewayUplink, done: Callable[[], bool]) -> None:
    """Let outcomes in, for a few seconds at most."""
    deadline = time.monotonic() + patient(5.0)
    while not done() and time.monotonic() < deadline:
        uplink.poll(0.05)


def in_turn(*answers: Answered | Callable[[Posted], Answered]) -> Callable[[Posted], Answered]:
    """One after another; the last one again and again."""
    left = list(answers)

    def answer(post: Posted) -> Answered:
        given = left.pop(0) if len(left) > 1 else left[0]
        return given if isinstance(given, Answered) else given(post)

    return answer


def test_each_record_has_the_fate_that_its_own_line_tells() -> None:
    told = offsets(
        [
            {"partition": 3, "offset": 41},
            {"partition": -1, "offset": -1},
            {"partition": -1, "offset": -2},
            {"error_code": 42203, "error": "no such field"},
        ]
    )
    placed, spooled, sampled, bad = posted(lambda _: told, *[value(number) for number in range(4)])
    assert (placed, spooled, bad) == (Placed(3, 41), Spooled(), Refused(42203, "no such field"))
    assert isinstance(sampled, Refused), "nothing is stored of it"


def test_a_post_without_an_answer_is_sent_again_under_the_same_idempotency_key() -> None:
    with fake_gateway(in_turn(Answered(hangs_up=True), refused(503, 50003), stored)) as gateway:
        connection = DoorConnection(Door(gateway.url, KEY), "t.readings", 10.0)
        assert connection.post("json", [value(7)]) == [Placed(0, 7)]
        connection.close()
    assert len(gateway.posted) == 3
    assert len({each.headers["Idempotency-Key"] for each in gateway.posted}) == 1
    assert {each.path for each in gateway.posted} == {"/topics/t.readings"}
    assert gateway.posted[0].headers["Authorization"] == f"Bearer {KEY}"


def test_only_the_records_that_may_still_pass_are_sent_again_as_another_request() -> None:
    first = offsets([{"partition": 0, "offset": 5}, {"error_code": 42901, "error": "wait"}, {"error_code": 40301}])
    with fake_gateway(in_turn(first, stored)) as gateway:
        connection = DoorConnection(Door(gateway.url, KEY), "t", 10.0)
        fates = connection.post("json", [value(5), value(6), value(7)])
        connection.close()
    assert (fates[0], fates[1]) == (Placed(0, 5), Placed(0, 6))
    assert isinstance(fates[2], Refused)
    assert [len(each.records) for each in gateway.posted] == [3, 1]
    assert len({each.headers["Idempotency-Key"] for each in gateway.posted}) == 2


def test_the_gateway_says_how_long_to_wait() -> None:
    began = time.monotonic()
    assert posted(in_turn(refused(429, 42901, Retry_After="1"), stored), value(1)) == [Placed(0, 1)]
    assert 1.0 <= time.monotonic() - began < 1.0 + patient(2.0)


@pytest.mark.parametrize(
    ("answer", "fate"),
    [
        (Answered(hangs_up=True), Silent),
        (refused(503, 50003), Silent),
        (refused(507, 50701), Silent),
        (Answered(200, b"<html>"), Silent),
        (offsets([]), Silent),
        (refused(429, 42901), Refused),
        (refused(404, 40401), Refused),
        (refused(413, 413), Refused),
        (Answered(400, b"not JSON"), Refused),
        (Answered(422, [1, 2]), Refused),
    ],
    ids=lambda each: f"{each.status}{' hangs up' if each.hangs_up else ''}" if isinstance(each, Answered) else "",
)
def test_when_patience_ends_only_what_cannot_be_stored_counts_as_refused(answer: Answered, fate: type[Fate]) -> None:
    (found,) = posted(lambda _: answer, value(1), patience=0.3)
    assert isinstance(found, fate)


def test_a_gateway_that_is_away_is_waited_for_and_then_nothing_is_known() -> None:
    connection = DoorConnection(Door("http://127.0.0.1:9", KEY), "t", 0.3)
    assert connection.post("json", [value(1)]) == [Silent("no answer: ConnectionRefusedError")]


def test_a_key_that_holds_no_longer_ends_it_at_once() -> None:
    with pytest.raises(Locked):
        posted(lambda _: refused(401, 40101), value(1))


@pytest.mark.parametrize("url", ["", "gateway:29405", "ftp://h/", "http://", "http://me:secret@h/", "http://h/?a=b"])
def test_an_address_that_is_none_is_refused_without_telling_the_key(url: str) -> None:
    with pytest.raises(UsageError) as error:
        Door(url, KEY)
    assert KEY not in str(error.value)


@pytest.mark.parametrize("key", ["", "wr_ä", "a\r\nX: y"])
def test_a_key_that_would_break_a_header_is_refused(key: str) -> None:
    with pytest.raises(UsageError):
        Door("http://h", key)


def test_the_key_is_in_no_text_of_the_door() -> None:
    assert KEY not in repr(Door("http://h", KEY))


def test_the_records_of_a_device_come_in_order_over_several_connections_even_when_answers_fail() -> None:
    devices = [f"d-{number}" for number in range(9)]
    settled: list[tuple[tuple[str, int], Fate]] = []
    calls = iter(range(10**9))

    def answer(post: Posted) -> Answered:
        return refused(503, 50003) if next(calls) % 5 == 2 else stored(post)

    with fake_gateway(answer) as gateway:
        lanes: GatewayLanes[tuple[str, int]] = GatewayLanes(
            Door(gateway.url, KEY), "t", 20.0, lambda tag, fate: settled.append((tag, fate))
        )
        for number in range(200):
            for device in devices:
                lanes.put(Post((device, number), device, "json", value(number, device)))
        wait_until(lambda: len(settled) == 200 * len(devices), "every record has its fate", 20.0)
        lanes.close()
    assert all(fate == Placed(0, number) for (_, number), fate in settled)
    for device in devices:
        came = [each["seq"] for each in gateway.values() if each["device_id"] == device]
        new = [number for place, number in enumerate(came) if number == max(came[: place + 1])]
        assert list(dict.fromkeys(new)) == list(range(200))


def test_giving_up_ends_a_post_that_is_under_way() -> None:
    release = threading.Event()

    def answer(post: Posted) -> Answered:
        release.wait(20.0)
        return stored(post)

    outcomes = Outcomes()
    with fake_gateway(answer) as gateway:
        uplink = GatewayUplink(Door(gateway.url, KEY), "t", outcomes, 60.0)
        uplink.send([Message(number, f"d-{number}", value(number)) for number in range(10)])
        wait_until(lambda: gateway.posted, "a request is under way")
        began = time.monotonic()
        uplink.give_up()
        release.set()
    assert time.monotonic() - began < patient(5.0)
    assert (outcomes.unknown, outcomes.settled) == (10, 10)


def test_what_is_no_json_goes_as_the_bytes_that_it_is() -> None:
    outcomes = Outcomes()

    def answer(post: Posted) -> Answered:
        binary = "binary" in post.headers["Content-Type"]
        return offsets(
            [{"error_code": 42203, "error": "no"} if binary else {"partition": 1, "offset": 1}] * len(post.records)
        )

    broken, avro = b'{"device_id": "d', b"\0\0\0\0\7rest"
    with fake_gateway(answer) as gateway:
        uplink = GatewayUplink(Door(gateway.url, KEY), "t", outcomes, 5.0)
        uplink.send([Message(0, "d", value(1)), Message(1, "d", broken, bad=True), Message(2, "d", avro, bad=True)])
        polled_until(uplink, lambda: outcomes.settled == 3)
        uplink.close()
    assert (outcomes.acknowledged, outcomes.failed, outcomes.turned_away) == (1, 2, 2)
    assert base64.b64encode(broken).decode() in gateway.values()
    assert base64.b64encode(avro).decode() in gateway.values()


def test_a_wrong_key_ends_a_load_with_a_sentence() -> None:
    with fake_gateway(lambda _: refused(401, 40101)) as gateway:
        uplink = GatewayUplink(Door(gateway.url, KEY), "t", Outcomes(), 60.0)
        uplink.send([Message(0, "d", value(1))])
        with pytest.raises(UsageError, match="key"):
            polled_until(uplink, lambda: False)
        uplink.close()
