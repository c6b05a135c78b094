"""Events as they are read from Postgres: in order, none passed over, by one reader at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from connectors.postgres import outbox as module
from connectors.postgres.outbox import BEGINNING, Outbox, OutboxEvent, open_outbox
from tests.fault.tcp_proxy import Fault, TcpProxy
from tests.happenings import add_command, add_entity, add_event, add_organisation
from tests.one_server import postgres_database
from tests.stack_under_test import StackUnderTest
from tests.waiting import patient, wait_until
from weir.errors import TransientError


@pytest.fixture(scope="module")
def dsn(stack: StackUnderTest) -> Iterator[str]:
    """A database for all tests here; each begins behind what the others wrote."""
    with postgres_database(stack) as found:
        with psycopg.connect(found) as conn:
            organisation = add_organisation(conn, "acme")
            add_entity(conn, organisation, "device.esp32", "d1")
        yield found


@pytest.fixture
def conn(dsn: str) -> Iterator[psycopg.Connection]:
    """A connection that commits each statement."""
    with psycopg.connect(dsn, autocommit=True) as found:
        yield found


@pytest.fixture
def device(conn: psycopg.Connection) -> str:
    """The entity id of device d1."""
    return str(conn.execute("SELECT id FROM entities WHERE key = 'd1'").fetchall()[0][0])


def organisation_of(conn: psycopg.Connection) -> str:
    return str(conn.execute("SELECT id FROM entities WHERE key = 'acme'").fetchall()[0][0])


@pytest.fixture
def outbox(dsn: str) -> Iterator[Outbox]:
    """The one reader, behind everything that there is."""
    with open_outbox(dsn, "test") as found:
        wait_until(found.hold, "the lock is free")
        while found.lag().events:
            for event in found.batch():
                found.save(event.position)
        yield found


def taken(outbox: Outbox, least: int) -> list[OutboxEvent]:
    """The next batch, once it has so many events."""
    return wait_until(lambda: batch if len(batch := outbox.batch()) >= least else [], f"{least} events")


def test_an_event_that_is_committed_late_is_not_passed_over(dsn: str, outbox: Outbox, device: str) -> None:
    with psycopg.connect(dsn) as slow, psycopg.connect(dsn) as quick:
        first = add_event(slow, device, "device.updated", who="slow")
        second = add_event(quick, device, "device.updated", who="quick")
        quick.commit()
        visible = quick.execute("SELECT id FROM events WHERE id >= %s ORDER BY id", [first]).fetchall()
        assert visible == [(second,)], "whoever reads by id alone takes the second now and never the first"
        assert outbox.batch() == []
        slow.commit()
    assert [event.id for event in taken(outbox, 2)] == [first, second]


def test_a_transaction_that_stays_open_holds_back_what_follows_and_the_lag_tells(
    dsn: str, conn: psycopg.Connection, outbox: Outbox, device: str
) -> None:
    with psycopg.connect(dsn) as forgotten:
        forgotten.execute("SELECT pg_current_xact_id()")
        add_event(conn, device, "device.updated")
        began = time.monotonic()
        time.sleep(0.3)
        assert outbox.batch() == []
        lag = outbox.lag()
        assert lag.events == 1
        assert 0.3 <= lag.seconds <= time.monotonic() - began + 1.0
        forgotten.rollback()
    (event,) = taken(outbox, 1)
    outbox.save(event.position)
    assert outbox.lag() == (0, 0.0)


def test_a_transaction_that_only_reads_holds_nothing_back(
    dsn: str, conn: psycopg.Connection, outbox: Outbox, device: str
) -> None:
    with psycopg.connect(dsn) as reader:
        reader.execute("SELECT count(*) FROM events")
        number = add_event(conn, device, "device.updated")
        assert [event.id for event in taken(outbox, 1)] == [number]


def test_a_transaction_of_another_database_holds_nothing_back(
    stack: StackUnderTest, conn: psycopg.Connection, outbox: Outbox, device: str
) -> None:
    elsewhere = make_conninfo(stack.settings.postgres.dsn.get_secret_value(), dbname="postgres")
    with psycopg.connect(elsewhere) as foreign:
        foreign.execute("SELECT pg_current_xact_id()")
        number = add_event(conn, device, "device.updated")
        assert [event.id for event in taken(outbox, 1)] == [number]
        foreign.rollback()


def test_what_is_saved_is_where_the_next_reader_goes_on(dsn: str, conn: psycopg.Connection, device: str) -> None:
    with open_outbox(dsn, "next") as first:
        wait_until(first.hold, "the lock is free")
        for event in taken(first, 1):
            first.save(event.position)
        while rest := first.batch():
            first.save(rest[-1].position)
        number = add_event(conn, device, "device.updated")
        assert [event.id for event in taken(first, 1)] == [number]  # and it is gone before it has saved that
    with open_outbox(dsn, "next") as second:
        wait_until(second.hold, "the lock is free")
        assert [event.id for event in taken(second, 1)] == [number]


def test_one_reader_at_a_time_and_the_next_takes_over_when_it_is_gone(dsn: str) -> None:
    with open_outbox(dsn, "test") as standing_by:
        with open_outbox(dsn, "test") as active:
            wait_until(active.hold, "the lock is free")
            assert standing_by.hold() is False
            assert active.hold() is True
        began = time.monotonic()
        wait_until(standing_by.hold, "the lock is free")
        assert time.monotonic() - began < patient(2.0)


def test_a_server_that_takes_questions_and_never_answers_is_left_after_a_while(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.5)
    parts = conninfo_to_dict(dsn)
    with TcpProxy(str(parts["host"]), int(str(parts["port"]))) as proxy:
        through = make_conninfo(dsn, host="127.0.0.1", port=proxy.port)
        with pytest.raises(TransientError, match="cannot be reached"), open_outbox(through, "test") as held_up:
            proxy.set(Fault("hang"))
            began = time.monotonic()
            held_up.hold()
    assert time.monotonic() - began < patient(5.0)


def test_readers_of_two_databases_do_not_exclude_each_other(dsn: str, stack: StackUnderTest) -> None:
    with postgres_database(stack) as other, open_outbox(dsn, "test") as here, open_outbox(other, "test") as there:
        wait_until(here.hold, "the lock is free")
        assert there.hold() is True


def test_large_events_come_in_several_batches_and_small_ones_in_one(
    conn: psycopg.Connection, outbox: Outbox, device: str
) -> None:
    numbers = [add_event(conn, device, "device.updated", text="x" * 1_000_000) for _ in range(12)]
    found = []
    for _ in range(12):
        batch = taken(outbox, 1)
        assert sum(len(event.data) for event in batch) <= module.BATCH_BYTES + 1_100_000
        found += [event.id for event in batch]
        outbox.save(batch[-1].position)
        if len(found) == len(numbers):
            break
    assert found == numbers
    assert len(batch) < len(numbers)


def test_an_event_of_a_sensor_names_its_device_and_one_of_a_project_none(
    conn: psycopg.Connection, outbox: Outbox, device: str
) -> None:
    organisation = organisation_of(conn)
    conn.execute("INSERT INTO metrics (name) VALUES ('air.temperature')")
    sensor = add_entity(conn, organisation, "sensor", "t", device, metric="air.temperature")
    project = add_entity(conn, organisation, "project", "p1")
    for entity, kind in ((device, "device"), (sensor, "sensor"), (project, "project"), (organisation, "organisation")):
        add_event(conn, entity, f"{kind}.updated", was=kind)
    told = [(event.entity_key, event.device_id, event.org_id, event.data) for event in taken(outbox, 4)]
    assert told == [
        ("d1", "d1", "acme", '{"was": "device"}'),
        ("t", "d1", "acme", '{"was": "sensor"}'),
        ("p1", "", "acme", '{"was": "project"}'),
        ("acme", "", "acme", '{"was": "organisation"}'),
    ]


def test_a_time_without_an_end_stops_nobody(conn: psycopg.Connection, outbox: Outbox, device: str) -> None:
    conn.execute(
        "INSERT INTO events (ts, event_type, entity_id, entity_type, entity_key, organisation_id) "
        "SELECT 'infinity', 'device.updated', id, entity_type, key, organisation_id FROM entities WHERE id = %s",
        [device],
    )
    (event,) = taken(outbox, 1)
    assert event.ts == 0
    assert outbox.lag().events == 1


def test_a_position_of_another_server_begins_again_because_its_transactions_never_come(
    dsn: str, conn: psycopg.Connection, device: str, caplog: pytest.LogCaptureFixture
) -> None:
    add_event(conn, device, "device.updated")
    conn.execute("INSERT INTO relay_positions (name, written_in, id) VALUES ('restored', '99999999999', 12)")
    with open_outbox(dsn, "restored") as restored:
        wait_until(restored.hold, "the lock is free")
        first = conn.execute("SELECT id FROM events ORDER BY written_in, id LIMIT 1").fetchall()[0][0]
        assert taken(restored, 1)[0].id == first
    assert "in another server than this: all are passed on again" in caplog.text


def test_whoever_waits_is_woken_by_a_commit_and_not_before(dsn: str, outbox: Outbox, device: str) -> None:
    while outbox.wait(0.05):
        pass  # what earlier tests have told
    with psycopg.connect(dsn) as writing:
        add_event(writing, device, "device.updated")
        assert outbox.wait(0.2) is False
        writing.commit()
        began = time.monotonic()
        assert outbox.wait(5.0) is True
        assert time.monotonic() - began < patient(1.0)


def test_what_waits_for_a_device_is_told_without_what_has_expired(
    conn: psycopg.Connection, outbox: Outbox, device: str
) -> None:
    other = add_entity(conn, organisation_of(conn), "project", "p2")
    reboot = add_command(conn, device, "reboot", "1 h")
    add_command(conn, device, "too_late", "-1 s")
    sent = add_event(conn, device, "command.sent", command=reboot)
    add_event(conn, device, "device.updated")
    (found,) = outbox.waiting_commands([device, other])
    assert (found.device_id, found.org_id, found.revision) == ("d1", "acme", sent)
    assert [(each.id, each.command, each.parameters, each.status) for each in found.commands] == [
        (reboot, "reboot", '{"n": 1}', "pending")
    ]
    conn.execute("UPDATE commands SET status = 'cancelled'")
    cancelled = add_event(conn, device, "command.cancelled", command=reboot)
    (found,) = outbox.waiting_commands([device])
    assert (found.commands, found.revision) == ([], cancelled)


def test_among_many_events_a_batch_is_read_from_the_index_in_order(stack: StackUnderTest) -> None:
    with postgres_database(stack) as many, psycopg.connect(many, autocommit=True) as conn:
        organisation = add_organisation(conn, "acme")
        conn.execute(
            "INSERT INTO events (event_type, entity_id, entity_type, entity_key, organisation_id) "
            "SELECT 'organisation.updated', %(id)s, 'organisation', 'acme', %(id)s FROM generate_series(1, 20000)",
            {"id": organisation},
        )
        conn.execute("ANALYZE events")
        sizes = {"most_bytes": module.BATCH_BYTES, "most_data": 1_000, "most_metadata": 1_000}
        values = {**BEGINNING._asdict(), "most": 1_000, **sizes}
        plan = "\n".join(row[0] for row in conn.execute("EXPLAIN " + module._BATCH, values))
    assert "Index Scan using events_by_writing" in plan
    assert "Sort Key: events" not in plan


def test_an_event_that_kafka_would_not_take_holds_nothing_back(
    conn: psycopg.Connection, outbox: Outbox, device: str
) -> None:
    huge = add_event(conn, device, "device.updated", name="x")
    with conn.transaction():
        conn.execute("SET LOCAL session_replication_role = replica")  # events cannot be changed otherwise
        numbers = ",".join(["1e130000"] * 80)
        conn.execute(
            "UPDATE events SET data = jsonb_build_object('numbers', %s::jsonb) WHERE id = %s", [f"[{numbers}]", huge]
        )
    small = add_event(conn, device, "device.updated", name="y")
    events = taken(outbox, 2)
    assert [event.id for event in events] == [huge, small]
    assert events[0].data == '{"left_out_bytes": 10400253}'
