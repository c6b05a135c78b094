"""How the demo posts: with a key that ends with it, and with every answer in its ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from connectors.entities.actor import SYSTEM
from connectors.entities.directory import open_directory
from schemas import load_schema
from tests.fake_gateway import KEY, Answered, FakeGateway, Posted, fake_gateway, offsets, refused, stored
from tests.waiting import patient
from tests.world import World
from weir.demo.bad_records import KINDS, BadRecords
from weir.demo.gateway_key import demo_key
from weir.demo.ledger import Ledger
from weir.demo.posting import ONLY_KAFKA, GatewayUplink
from weir.demo.reading import Framing, Outgoing, Reading
from weir.demo.registration import register_demo
from weir.errors import TransientError, UsageError
from weir.load.gateway_door import Door

FRAMING = Framing(load_schema("Reading"), 1)


class FakeProducer:
    """Stands in for the way straight to Kafka."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []

    def send(self, message: Outgoing) -> None:
        self.sent.append(message)

    def poll(self) -> None:
        pass

    def flush(self, seconds: float) -> None:
        pass


@contextmanager
def uplink(answer: Callable[[Posted], Answered], ledger: Ledger) -> Iterator[tuple[GatewayUplink, FakeGateway]]:
    """The demo's way to a gateway that answers like this."""
    with fake_gateway(answer) as gateway:
        way = GatewayUplink(Door(gateway.url, KEY), "t", ledger, FakeProducer())
        try:
            yield way, gateway
        finally:
            way.close()


def good(number: int, value: float = 1.0) -> Outgoing:
    return FRAMING.message(Reading("d", "t", 1_000 + number, value=value, seq=number), "reading")


def test_the_key_holds_for_the_run_and_ends_with_it(world: World) -> None:
    register_demo(world.settings, "host-x", [], 1)
    with demo_key(world.dsn, 2.5) as text:
        with open_directory(world.dsn, SYSTEM) as directory:
            actor = directory.keys.verify(text)
            (listed,) = directory.keys.list(organisation="weir-demo").items
        assert actor is not None
        assert (actor.organisation, actor.role) == ("weir-demo", "device")
        assert listed.expires_at is not None, "a demo that is killed leaves none for ever"
    with open_directory(world.dsn, SYSTEM) as directory:
        assert directory.keys.verify(text) is None


def test_every_reading_is_entered_with_the_place_that_the_gateway_tells() -> None:
    ledger = Ledger()
    with uplink(stored, ledger) as (way, gateway):
        for number in range(300):
            way.send(good(number))
        way.flush(10.0)
        way.poll()
    assert sorted(each.offset for each in ledger.readings) == list(range(300))
    assert gateway.values()[0] == {"device_id": "d", "sensor": "t", "ts": 1_000, "value": 1.0, "seq": 0}
    assert len(gateway.posted) < 300, "what waits goes together"


def test_a_spooled_reading_is_promised_until_a_later_value_takes_its_place() -> None:
    ledger = Ledger()
    with uplink(lambda post: offsets([{"partition": -1, "offset": -1}] * len(post.records)), ledger) as (way, _):
        for message in (good(1), good(2), good(2, 9.0)):
            way.send(message)
            way.flush(10.0)
    assert [(each.intent.ts, each.is_last) for each in ledger.promised()] == [
        (1_001, True),
        (1_002, False),
        (1_002, True),
    ]
    assert ledger.messages == 3


def test_bad_records_go_where_they_can_come_from_and_refusals_are_counted() -> None:
    ledger = Ledger()
    producer = FakeProducer()
    with fake_gateway(lambda _: refused(422, 42203)) as gateway:
        way = GatewayUplink(Door(gateway.url, KEY), "t", ledger, producer)
        bad = BadRecords(FRAMING, Framing(load_schema("Alert"), 2))
        for _ in KINDS:
            for message in bad.next(Reading("d", "t", 1_000, value=1.0)):
                way.send(message)
        way.flush(10.0)
        way.close()
    assert {message.kind for message in producer.sent} == ONLY_KAFKA
    assert {kind for kind, _ in ledger.turned_away} == KINDS.keys() - ONLY_KAFKA
    assert all(len(post.records) == 1 for post in gateway.posted), "one cannot spoil another"
    assert not ledger.unacknowledged


def test_a_good_reading_that_is_refused_is_a_problem() -> None:
    ledger = Ledger()
    with uplink(lambda _: refused(403, 40301), ledger) as (way, _):
        way.send(good(1))
        way.flush(10.0)
    assert len(ledger.unacknowledged) == 1


def test_a_gateway_that_does_not_answer_is_told_after_the_time_given() -> None:
    with uplink(lambda _: refused(503, 50003), Ledger()) as (way, _):
        way.send(good(1))
        began = time.monotonic()
        with pytest.raises(TransientError, match="has not answered 1 readings"):
            way.flush(0.5)
        assert time.monotonic() - began < patient(3.0)


def test_a_key_that_holds_no_longer_ends_the_demo_with_a_sentence() -> None:
    with uplink(lambda _: refused(401, 40101), Ledger()) as (way, _):
        way.send(good(1))
        way.flush(10.0)
        with pytest.raises(UsageError, match="key"):
            for _ in range(50):
                way.poll()
                time.sleep(0.05)
