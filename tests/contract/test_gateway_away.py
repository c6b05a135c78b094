"""Every case of a gateway whose Kafka is away, and what becomes of the spool once it is back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest
from confluent_kafka import KafkaException

from tests.contract.gateway_cases.case import Case
from tests.contract.gateway_cases.kafka_away import KAFKA_AWAY
from tests.contract.gateway_contract import exchanges, hold
from tests.fault.own_broker import OwnBroker
from tests.gateway_world import GatewayWorld, gateway_world
from tests.stack_under_test import StackUnderTest
from tests.waiting import wait_until

VIEW_SECONDS = 1.1
"""For so long the gateway believes what Kafka said of its topics last."""


@dataclass(frozen=True)
class Away:
    """A gateway whose broker was killed, and how many records two topics had before."""

    gateway: GatewayWorld
    broker: OwnBroker
    readings: int
    notes: int


@pytest.fixture(scope="module")
def away(stack: StackUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Away]:
    limits = {"produce_seconds": 0.5, "spool_bytes": 30_000}
    folder = tmp_path_factory.mktemp("away")
    with OwnBroker(folder / "broker") as broker, gateway_world(broker.before(stack), folder, limits) as gateway:
        readings, notes = gateway.end(gateway.settings.topics.readings), gateway.end(gateway.acme.topic)
        broker.kill()
        time.sleep(VIEW_SECONDS)
        try:
            yield Away(gateway, broker, readings, notes)
        finally:
            broker.start()  # what is dropped at the end is dropped from it


@pytest.mark.parametrize(("case", "via"), exchanges([KAFKA_AWAY]))
def test_without_kafka_the_gateway_answers_as_the_table_says(away: Away, case: Case, via: str) -> None:
    hold(away.gateway, case, via)


def test_what_was_answered_as_spooled_is_in_kafka_once_it_is_back(away: Away) -> None:
    away.broker.start()
    readings, notes = away.gateway.settings.topics.readings, away.gateway.acme.topic

    def handed_on() -> bool:
        with suppress(KafkaException):  # the partitions are without a leader for a moment
            return (away.gateway.end(readings), away.gateway.end(notes)) == (away.readings + 4, away.notes + 2)
        return False

    wait_until(handed_on, "four readings and two notes are in Kafka", 30.0)
