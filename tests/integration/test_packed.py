"""Messages of many readings with real workers: mixed with single ones, with bad readings in them, through a kill."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from connectors.contracts import contract_text, record_subject
from connectors.postgres.devices import register
from connectors.registry import Registry
from schemas import load_schema
from sinks.clickhouse.client import connect
from sinks.clickhouse.ddl import apply
from sinks.clickhouse.tables import tables
from tests.sender import Sender, acknowledged, framed
from tests.stack_under_test import StackUnderTest
from tests.stored import dead_letters, read_topic, stored_readings, stored_windows
from tests.waiting import wait_until
from tests.weir_command import weir
from tests.world import World, world_on
from weir.cli.dlq import command
from weir.settings import Settings
from weir.verify.compare import compare_readings, compare_windows
from weir.verify.recompute import HOUR_MS, MINUTE_MS, expected_readings, expected_windows

DEVICES = [f"packed-{number}" for number in range(8)]
SETTLING_SECONDS = 60.0

Readings = Sequence[Mapping[str, Any]]


class BatchSender(Sender):
    """Writes batches, too; of a reading that is ``refused`` it does not expect that it is stored."""

    def __init__(self, settings: Settings) -> None:
        """Ask the registry for the id of the ReadingBatch schema."""
        super().__init__(settings)
        with Registry(settings.registry) as registry:
            subject = record_subject(settings.topics.readings, "ReadingBatch")
            self.batch_id = registry.register(subject, contract_text("ReadingBatch"))
        self._batches: dict[bytes, tuple[str, Readings]] = {}

    def batch(self, device_id: str, readings: Readings, refused: Sequence[int] = ()) -> None:
        """One message of these readings, of which those at the places ``refused`` are bad."""
        value = framed(self.batch_id, {"device_id": device_id, "readings": readings}, load_schema("ReadingBatch"))
        good = [each for place, each in enumerate(readings) if place not in refused]
        self._batches[value] = (device_id, good)
        self.message(value, device_id)

    def flush(self) -> None:
        """Send, and note each reading of each batch that was acknowledged."""
        before = len(self.sent)
        super().flush()
        for place in self.sent[before:]:
            device_id, good = self._batches.get(place.value or b"", ("", ()))
            self.acknowledged += [acknowledged({"device_id": device_id, **each}, place) for each in good]


@pytest.fixture
def fleet(stack: StackUnderTest, tmp_path: Path) -> Iterator[World]:
    """Eight devices of two sensors; small blocks, so that a kill falls between."""
    with world_on(stack, tmp_path, {"stream": {"flush_rows": 400, "fetch_messages": 40}}) as world:
        names = [(device, sensor) for device in DEVICES for sensor in ("a", "b")]
        register(world.dsn, "acme", None, pl.DataFrame(names, schema=["device_id", "sensor"], orient="row"))
        yield world


def reading(sensor: str, ts: int, value: float) -> dict[str, Any]:
    """One reading of a batch."""
    return {"sensor": sensor, "ts": ts, "value": value}


def send_history(sender: BatchSender, begin: int, rounds: int) -> None:
    """Each round of every device a batch of twelve readings and a single one; every fifth round comes late.

    Some identities come again: in the other form, with another value, and twice in one batch, of which the later place
    holds. In every third batch one reading is of a sensor that nobody registered.
    """
    for number in range(begin, begin + rounds):
        for place, device in enumerate(DEVICES):
            ts = BEGIN + (number - 8 * (number % 5 == 4)) * 6_000 + place
            readings = [reading("a" if step % 2 else "b", ts + step * 500, float(number + step)) for step in range(12)]
            readings.append(reading("b", ts, float(number) + 0.5))
            bad = [6] if (number + place) % 3 == 0 else []
            if bad:
                readings[6] = reading("nobody", ts, 1.0)
            sender.batch(device, readings, bad)
            sender.reading(device, "a", ts + 500, float(number) - 0.25)
            if number % 4 == 0:
                sender.batch(device, [reading("a", ts + 500, float(number) - 0.75)])
                sender.batch(device, [])
    sender.flush()


BEGIN = (time.time_ns() // 1_000_000 // HOUR_MS - 3) * HOUR_MS


def assert_everything_once(world: World, sender: BatchSender) -> None:
    """Readings, minutes and hours equal the recomputation from what was acknowledged; no reading was inserted twice."""
    expected = expected_readings(sender.acknowledged)
    world.wait(lambda: len(stored_readings(world)) >= len(expected), "every reading is stored", SETTLING_SECONDS)
    assert compare_readings(expected, stored_readings(world)) == []
    for view, size_ms in (("aggregates_1m", MINUTE_MS), ("aggregates_1h", HOUR_MS)):
        windows = expected_windows(expected, size_ms)
        world.wait(
            lambda view=view, windows=windows: not compare_windows(view, windows, stored_windows(world, view)),  # type: ignore[misc]
            f"{view} equal their recomputation",
            SETTLING_SECONDS,
        )
    doubled = "SELECT count() - uniqExact(partition, offset, device_id, sensor, ts) FROM raw_readings"
    assert world.value(doubled) == 0, "a message was inserted twice, or holds an identity twice"


def test_batches_and_single_readings_through_a_kill_are_stored_once_and_a_bad_reading_costs_no_other(
    fleet: World,
) -> None:
    rows = "SELECT count() FROM raw_readings"
    with BatchSender(fleet.settings) as sender:
        worker = fleet.start_worker()
        send_history(sender, 0, 60)
        wait_until(lambda: fleet.value(rows) > 0, "it has begun to store", poll=0.01)
        worker.kill()
        interrupted = len(stored_readings(fleet)) < len(expected_readings(sender.acknowledged))
        assert interrupted, "the kill did not fall into the work; the test proves nothing"
        fleet.start_worker()
        send_history(sender, 60, 20)
        assert_everything_once(fleet, sender)
        bad = sum((number + place) % 3 == 0 for number in range(80) for place in range(len(DEVICES)))
        origins = "SELECT uniqExact(partition, offset, position) FROM dead_letters FINAL"
        fleet.wait(lambda: fleet.value(origins) == bad, "each bad reading is a dead letter", SETTLING_SECONDS)
        assert {row[0] for row in fleet.query("SELECT DISTINCT position FROM dead_letters")} == {7}


def test_bad_readings_of_one_batch_are_letters_of_their_own_and_a_replay_brings_back_just_these(fleet: World) -> None:
    fleet.start_worker()
    now = time.time_ns() // 1_000_000
    with BatchSender(fleet.settings) as sender:
        readings = [reading("later" if step in (1, 3) else "a", now + step, float(step)) for step in range(5)]
        sender.batch(DEVICES[0], readings, refused=[1, 3])
        sender.message(framed(sender.batch_id, {"device_id": DEVICES[0], "readings": readings}, BATCH)[:-9], DEVICES[0])
        sender.flush()
        reading_id = sender.schema_id
    fleet.wait(lambda: len(dead_letters(fleet.settings)) == 3, "two readings and a batch are refused")
    letters = {each.headers["reason"]: each for each in dead_letters(fleet.settings)}
    assert letters["unknown_sensor"].headers["detail"].startswith("reading 4 of 5: ")
    record = {"device_id": DEVICES[0], **readings[3]}
    assert letters["unknown_sensor"].value == framed(reading_id, record)
    assert letters["undecodable"].value == sender.sent[-1].value
    assert "position" not in letters["undecodable"].headers
    table = "SELECT position, replay_count FROM dead_letters FINAL WHERE reason = 'unknown_sensor' ORDER BY position"
    fleet.wait(lambda: fleet.query(table) == [(2, 0), (4, 0)], "the table has both readings of one offset")

    sensors = pl.DataFrame({"device_id": [DEVICES[0]], "sensor": ["later"]})
    register(fleet.dsn, "acme", None, sensors)
    replay = ("replay", "--yes", "--json", "--reason", "unknown_sensor")
    first, second = (CliRunner().invoke(command, replay, env=fleet.environment) for _ in range(2))
    assert json.loads(first.stdout)["put_back"] == 2
    assert json.loads(second.stdout)["left"] == {"put_back_before": 2}
    stored = "SELECT groupArray(value) FROM (SELECT value FROM readings ORDER BY ts)"
    fleet.wait(lambda: fleet.value(stored) == [0.0, 1.0, 2.0, 3.0, 4.0], "all five are stored, each once")
    assert fleet.value("SELECT count() FROM raw_readings") == 5


BATCH = load_schema("ReadingBatch")


def test_of_one_identity_twice_in_a_batch_the_later_place_holds_and_the_conflict_is_counted(fleet: World) -> None:
    fleet.start_worker()
    with BatchSender(fleet.settings) as sender:
        sender.batch(DEVICES[1], [reading("a", BEGIN, 1.0), reading("b", BEGIN, 9.0), reading("a", BEGIN, 2.0)])
        sender.batch(DEVICES[1], [reading("a", BEGIN + HOUR_MS, 0.0)])
        sender.flush()
        assert_everything_once(fleet, sender)
    assert fleet.query("SELECT value FROM readings WHERE sensor = 'a' ORDER BY ts") == [(2.0,), (0.0,)]
    conflicts = "SELECT sum(conflicts) FROM usage WHERE reason = 'conflict'"
    fleet.wait(lambda: fleet.value(conflicts) == 1, "the conflict is counted")


def test_a_table_of_letters_from_before_batches_gets_the_position_into_its_order_and_loses_no_row(world: World) -> None:
    client = connect(world.settings.clickhouse)
    try:
        (table,) = [each for each in tables(world.settings) if each.name == "dead_letters"]
        columns = tuple(each for each in table.columns if each.name != "position")
        older = replace(table, columns=columns, order_by=table.order_by.removesuffix(", position"))
        client.command("DROP TABLE dead_letters")
        client.command(older.create(world.settings.clickhouse.database))
        client.command("INSERT INTO dead_letters (reason, offset, first_seen) VALUES ('undecodable', 7, now())")
        told = {each.name: each for each in apply(client, world.settings)}["dead_letters"]
        assert (told.action, told.detail) == ("alter", "column position and order")
        twice = "INSERT INTO dead_letters (reason, offset, position, first_seen) VALUES ('undecodable', 7, {}, now())"
        for position in (1, 2):
            client.command(twice.format(position))
        client.command("OPTIMIZE TABLE dead_letters FINAL")
        assert world.query("SELECT position FROM dead_letters ORDER BY position") == [(0,), (1,), (2,)]
        assert {each.action for each in apply(client, world.settings)} == {"unchanged"}
    finally:
        client.close()


def test_a_load_of_batches_with_every_fault_is_what_is_stored_by_its_ledger(world: World, tmp_path: Path) -> None:
    world.start_worker()
    ledger = tmp_path / "packed.ledger"
    faults = "--disorder 0.05 --resends 0.05 --conflicts 0.02 --late 0.02 --texts 0.01 --bad 0.01"
    pace = "--readings 4000 --rate 2000 --devices 3 --packed 20"
    loaded = weir(world.environment, "load", "--ledger", str(ledger), "--json", *pace.split(), *faults.split())
    assert loaded.code == 0, loaded.err
    told = loaded.json()
    assert told["acknowledged"] == told["sent"] > 4_000
    messages = len(read_topic(world.settings, world.settings.topics.readings))
    assert messages < told["sent"] / 5, "they went in batches"
    compared = weir(world.environment, "verify", str(ledger), "--json", "--wait", "90", seconds=120)
    assert compared.code == 0, compared.out


def test_batches_and_json_or_a_gateway_do_not_go_together(tmp_path: Path) -> None:
    told = weir({}, "load", "--ledger", str(tmp_path / "l"), "--packed", "5", "--json-values", "--no-register")
    assert (told.code, told.sentence()) == (
        2,
        "weir: Batches are Avro: give --packed without --json-values, and without --gateway.",
    )
