"""Events on their way through a worker: from Postgres to their topic to ClickHouse, and the commands beside them."""

from __future__ import annotations

import io
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import psycopg
import pytest
from confluent_kafka import Message
from fastavro import parse_schema, schemaless_reader
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from connectors.entities.actor import SYSTEM
from connectors.entities.command_models import CommandCreate
from connectors.entities.directory import open_directory
from connectors.postgres.outbox import open_outbox
from schemas import load_schema
from sinks.clickhouse.client import connect
from streams.engine.producer import Record
from streams.events.relay import Relay
from tests.fault.proxied_servers import dsn_through, proxy_to_postgres
from tests.fault.tcp_proxy import PASS, Fault, TcpProxy
from tests.happenings import add_entity, add_event, add_organisation
from tests.one_server import postgres_database
from tests.stack_under_test import StackUnderTest
from tests.stored import read_topic
from tests.waiting import wait_until
from tests.worker_process import WorkerProcess
from tests.world import World, world_on
from weir.errors import ConfigError, TransientError

BEFORE = 1_500
"""Events from before the first worker; its relay writes 1,000 of them at a time."""

COUNTED = "SELECT count(), uniqExact(id) FROM {} WHERE event_type = 'device.counted'"


@dataclass
class Line:
    """A world with a device and one worker, which a killed one came before."""

    world: World
    worker: WorkerProcess
    proxy: TcpProxy
    organisation: str
    device: str
    written_before: int
    saved_before: list[tuple[Any, ...]]

    def connect(self) -> psycopg.Connection:
        """Straight to Postgres, not through the proxy."""
        return psycopg.connect(self.world.dsn, autocommit=True)

    def happen(self, event_type: str = "device.updated", **data: object) -> int:
        """Write an event of the device."""
        with self.connect() as conn:
            return add_event(conn, self.device, event_type, **data)

    def wait_logged(self, number: int, seconds: float = 20.0) -> None:
        """Wait until the event is in ClickHouse."""
        query = "SELECT count() FROM event_log WHERE id = {id:Int64}"
        self.world.wait(lambda: self.world.value(query, id=number) == 1, f"event {number} is logged", seconds)

    def lag_seconds(self) -> float:
        """What the worker says of its relay."""
        return self.worker.metrics("weir_relay_lag_seconds")[""]

    def wait_lists(self, device: bytes, count: int) -> list[Message]:
        """Wait for so many lists of commands of a device, and return them."""
        topic = self.world.settings.topics.commands

        def lists() -> list[Message]:
            found = [each for each in read_topic(self.world.settings, topic) if each.key() == device]
            return found if len(found) == count else []

        return self.world.wait(lists, f"{count} lists are on the topic")


@pytest.fixture(scope="module")
def line(stack: StackUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    with world_on(stack, tmp_path_factory.mktemp("relay")) as world, proxy_to_postgres(world.settings) as proxy:
        with psycopg.connect(world.dsn) as conn:
            organisation = add_organisation(conn, "acme")
            device = add_entity(conn, organisation, "device.esp32", "d1")
            for number in range(BEFORE):
                add_event(conn, device, "device.counted", number=number)
        client = connect(world.settings.clickhouse)
        client.command("SYSTEM STOP MERGES events")  # they would hide what was written twice
        client.close()
        dying = world.start_worker(ready=False, module=("tests.fault.dying_relay",))
        dying.expect_end()
        wait_until(lambda: dying.exit_code is not None, "the relay has died", 60.0)
        assert dying.exit_code == 128 + signal.SIGKILL, dying.log[-3000:]
        written = len(read_topic(world.settings, world.settings.topics.events))
        with psycopg.connect(world.dsn) as conn:
            saved = conn.execute("SELECT * FROM relay_positions").fetchall()
        worker = world.start_worker(WEIR_POSTGRES__DSN=dsn_through(world.settings, proxy))
        yield Line(world, worker, proxy, organisation, device, written, saved)


def listed(message: Message) -> dict[str, Any]:
    value = message.value()
    assert isinstance(value, bytes)
    found = schemaless_reader(io.BytesIO(value[5:]), parse_schema(load_schema("Commands")), None)
    assert isinstance(found, dict)
    return found


def revision_of(message: Message) -> int:
    ((name, value),) = cast("list[tuple[str, bytes]]", message.headers())
    assert name == "revision"
    return int(value)


def test_a_kill_between_writing_and_saving_loses_nothing_and_the_log_has_each_event_once(line: Line) -> None:
    assert (line.written_before, line.saved_before) == (1_000, []), "the kill did not fall between the two"
    line.world.wait(lambda: line.world.query(COUNTED.format("event_log")) == [(BEFORE, BEFORE)], "all are logged")
    assert line.world.query(COUNTED.format("events")) == [(BEFORE + 1_000, BEFORE)], "nothing was written twice"
    number = "JSONExtractInt(data, 'number')"
    numbers = f"SELECT min({number}), max({number}), uniqExact({number}) FROM event_log"  # noqa: S608 - all of it is here
    counted = f"{numbers} WHERE event_type = 'device.counted'"
    assert line.world.query(counted) == [(0, BEFORE - 1, BEFORE)]


def test_the_topic_has_events_in_the_order_in_which_they_were_written(line: Line) -> None:
    numbers = [line.happen(step=step) for step in range(3)]
    line.wait_logged(numbers[-1])
    messages = read_topic(line.world.settings, line.world.settings.topics.events)
    assert {message.key() for message in messages} == {f"acme/{line.device}".encode()}
    query = "SELECT id FROM event_log WHERE id >= {first:Int64} ORDER BY id"
    assert [row[0] for row in line.world.query(query, first=numbers[0])] == numbers


def test_an_event_is_in_clickhouse_within_two_seconds_of_its_commit(line: Line) -> None:
    line.wait_logged(line.happen())
    took = []
    for _ in range(5):
        began = time.monotonic()
        line.wait_logged(line.happen())
        took.append(time.monotonic() - began)
    assert sorted(took)[2] < 2.0, took


def test_every_column_of_an_event_says_what_was_written(line: Line) -> None:
    line.wait_logged(line.happen("device.status_changed", old="online", new="maintenance"))
    (row,) = line.world.query(
        "SELECT org_id, device_id, entity_id, entity_type, entity_key, JSONExtractString(data, 'new'), actor,"
        " source, abs(dateDiff('second', ts, now())) < 60 FROM event_log WHERE event_type = 'device.status_changed'"
    )
    assert row == ("acme", "d1", line.device, "device.esp32", "d1", "maintenance", "ada", "test", True)


def test_a_device_finds_what_waits_for_it_under_its_id_and_a_tombstone_when_all_is_done(line: Line) -> None:
    with line.connect() as conn:
        add_entity(conn, line.organisation, "device", "told")
    with open_directory(line.world.dsn, SYSTEM) as directory:
        command = directory.commands.send("told", CommandCreate(command="reboot", parameters={"in": 5}))
    (sent,) = line.wait_lists(b"told", 1)
    found = listed(sent)
    assert (found["device_id"], found["org_id"], revision_of(sent)) == ("told", "acme", found["revision"])
    assert [(each["id"], each["command"], each["parameters"], each["status"]) for each in found["commands"]] == [
        (str(command.id), "reboot", '{"in": 5}', "pending")
    ]
    with open_directory(line.world.dsn, SYSTEM) as directory:
        directory.commands.waiting("told")
    delivered = line.wait_lists(b"told", 2)[-1]
    assert [each["status"] for each in listed(delivered)["commands"]] == ["delivered"]
    with open_directory(line.world.dsn, SYSTEM) as directory:
        directory.commands.answer(command.id, {"done": True})
    answered = line.wait_lists(b"told", 3)[-1]
    assert answered.value() is None
    assert revision_of(sent) < revision_of(delivered) < revision_of(answered)


def test_what_waiting_does_not_mend_is_an_error_that_says_what_to_do(line: Line) -> None:
    empty = make_conninfo(line.world.dsn, dbname="postgres")
    postgres = line.world.settings.postgres.model_copy(update={"dsn": SecretStr(empty)})
    with pytest.raises(ConfigError, match="lacks Weir's tables .* run `weir migrate`"):
        Relay(line.world.settings.model_copy(update={"postgres": postgres})).run(threading.Event())


def test_the_largest_event_that_postgres_takes_passes_and_so_does_the_next(line: Line) -> None:
    large = line.happen("device.large", text="\x01" * 1_040_000)
    line.wait_logged(line.happen())
    assert line.world.value("SELECT length(data) FROM event_log WHERE id = {id:Int64}", id=large) > 6_000_000


def test_while_postgres_is_away_the_lag_grows_and_afterwards_everything_comes(line: Line) -> None:
    line.world.wait(lambda: line.lag_seconds() < 1.5, "the lag is small")
    line.proxy.set(Fault("refuse"))
    number = line.happen()
    line.world.wait(lambda: line.lag_seconds() > 2.0, "the lag grows")
    assert line.worker.metrics("weir_relay_active")[""] == 0.0
    line.proxy.set(PASS)
    line.wait_logged(number)
    line.world.wait(lambda: line.lag_seconds() < 1.5, "the lag is small again")
    assert line.worker.metrics("weir_relay_active")[""] == 1.0
    assert line.worker.metrics("weir_relay_lag_events")[""] == 0.0


class FakeProducer:
    """Fails once, and keeps what it then acknowledges."""

    def __init__(self) -> None:
        self.failures = 1
        self.written: list[Record] = []

    def write(self, records: Sequence[Record]) -> None:
        if self.failures:
            self.failures -= 1
            raise TransientError("Kafka did not acknowledge.")
        self.written += records


def test_what_the_broker_did_not_acknowledge_is_written_again(line: Line, stack: StackUnderTest) -> None:
    relay, producer = Relay(line.world.settings), FakeProducer()
    relay._producer = producer  # type: ignore[assignment]
    with postgres_database(stack) as dsn, open_outbox(dsn, "test") as outbox, psycopg.connect(dsn) as conn:
        add_event(conn, add_organisation(conn, "acme"), "organisation.created")
        conn.commit()
        wait_until(outbox.hold, "the lock is free")
        wait_until(outbox.batch, "the event may be passed on")
        with pytest.raises(TransientError):
            relay.step(outbox)
        assert outbox.lag().events == 1
        assert (relay.step(outbox), relay.step(outbox)) == (1, 0)
        assert ([each.topic for each in producer.written], outbox.lag().events) == (
            [line.world.settings.topics.events],
            0,
        )
