"""What requests hold of the process's memory: for each key, each organisation, and in all."""

from __future__ import annotations

import pytest

from connectors.gateway import errors
from connectors.gateway.errors import GatewayError
from connectors.gateway.records import Caller
from connectors.gateway.server.held_bytes import HeldBytes

ONE, OTHER = Caller("one", "acme", "device"), Caller("other", "acme", "device")
THIRD, FOREIGN = Caller("third", "acme", "device"), Caller("foreign", "birch", "device")


def held() -> HeldBytes:
    return HeldBytes(most=100, most_of_organisation=80, most_of_key=50)


def test_one_key_cannot_take_what_its_organisation_has() -> None:
    memory = held()
    with memory.share(ONE) as first, memory.share(ONE) as second, memory.share(OTHER) as other:
        first.hold(30)
        with pytest.raises(GatewayError) as caught:
            second.hold(21)
        assert caught.value.status == 429
        assert caught.value.retry_after
        second.hold(20)
        other.hold(30)


def test_one_organisation_cannot_take_what_all_have() -> None:
    memory = held()
    with memory.share(ONE) as one, memory.share(OTHER) as other, memory.share(FOREIGN) as foreign:
        one.hold(50)
        with pytest.raises(GatewayError):
            other.hold(31)
        foreign.hold(50)
        with pytest.raises(GatewayError) as caught:
            other.hold(1)
        assert (caught.value.code, caught.value.reason) == (errors.KAFKA_RETRIABLE, "too_many")
        assert caught.value.retry_after


def test_what_is_held_no_more_is_there_for_others() -> None:
    memory = held()
    with memory.share(ONE) as one, memory.share(THIRD) as third:
        one.hold(50)
        one.hold(10)
        third.hold(50)
        assert memory.total == 60
    assert memory.total == 0
    with memory.share(ONE) as again:
        again.hold(50)


def test_a_refused_request_holds_what_it_held_and_gives_it_back() -> None:
    memory = held()
    with pytest.raises(GatewayError), memory.share(ONE) as one:
        one.hold(40)
        one.hold(60)
    assert memory.total == 0
