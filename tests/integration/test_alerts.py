"""Alerts between real servers: thresholds, silence, rules that change, and a worker that is killed in between."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from typing import Any

import polars as pl
import psycopg
import pytest
from confluent_kafka import Message

from connectors.kafka.client import kafka_client_config
from connectors.postgres.alert_events import record_alerts
from connectors.postgres.alert_rules import load_rules
from connectors.postgres.devices import register
from connectors.registry import Registry, value_subject
from schemas import load_schema
from streams.engine.codec import Codec
from streams.engine.encoder import Encoder
from streams.engine.producer import AcknowledgedProducer, producer_config
from streams.telemetry.alerts.alert import Alert, State
from streams.telemetry.alerts.announcement import AlertAnnouncement
from streams.telemetry.alerts.history import StoredHistory
from tests.expected_alerts import Expected, Rule, expected_alerts
from tests.one_server import postgres_database
from tests.sender import Sender
from tests.stack_under_test import StackUnderTest
from tests.stored import read_topic
from tests.world import World, world_on

SENSORS = ("plain", "slow", "unruled")
RULES = {
    "plain": Rule(15.0, 30.0, hysteresis=1.0),
    "slow": Rule(None, 30.0, for_ms=20_000),
}
DEVICES = [f"node-{number}" for number in range(4)]
SILENT_SECONDS = 1.5


@pytest.fixture(scope="module")
def line(stack: StackUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with ruled devices and a worker."""
    with world_on(stack, tmp_path_factory.mktemp("alerts"), {"stream": {"idle_seconds": 1.0}}) as world:
        names = [(device, sensor) for device in [*DEVICES, "mute", "late"] for sensor in SENSORS]
        register(world.dsn, "acme", "lab", pl.DataFrame(names, schema=["device_id", "sensor"], orient="row"))
        set_properties(world.dsn, "sensor", "plain", {"alert": {"min": 15, "max": 30, "hysteresis": 1}})
        set_properties(world.dsn, "sensor", "slow", {"alert": {"max": 30, "for_seconds": 20}})
        set_properties(world.dsn, "device", "mute", {"config": {"silentAfterSeconds": SILENT_SECONDS}})
        world.start_worker()
        yield world


def set_properties(dsn: str, kind: str, key: str, properties: dict[str, Any]) -> None:
    with psycopg.connect(dsn) as conn:
        changed = conn.execute(
            "UPDATE entities SET properties = properties || %s::jsonb WHERE kind = %s AND key = %s",
            [json.dumps(properties), kind, key],
        )
        assert changed.rowcount


class Announced:
    """What is on the alerts topic."""

    def __init__(self, world: World) -> None:
        self.messages: list[Message] = read_topic(world.settings, world.settings.topics.alerts)
        with Registry(world.settings.registry) as registry:
            values = [message.value() for message in self.messages]
            self.rows = Codec(load_schema("Alert"), registry).decode(values).frame.to_dicts()

    def of(self, *devices: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["device_id"] in devices]

    def took(self, appended: dict[tuple[int, int], int], *devices: str) -> list[int]:
        """Milliseconds from each of these readings to its alert, by the broker's clock."""
        return [
            message.timestamp()[1] - appended[row["partition"], row["offset"]]
            for message, row in zip(self.messages, self.rows, strict=True)
            if row["device_id"] in devices and (row["partition"], row["offset"]) in appended
        ]


def told(rows: list[dict[str, Any]]) -> set[Expected]:
    return {
        Expected(row["device_id"], row["sensor"], row["kind"], row["window_start"], row["state"], row["ts"])
        for row in rows
    }


def walk(sender: Sender, devices: list[str], rng: random.Random, begin_ms: int, steps: int) -> int:
    """Values that wander across the thresholds, a second apart, some late, some texts; returns the time after them."""
    for step in range(steps):
        for device in devices:
            for sensor in SENSORS:
                ts = begin_ms + step * 1000 - (rng.choice([0, 0, 0, 0, 2500, 60_000]) if step else 0)
                value = 22.0 + 14.0 * rng.choice([-1, 0, 0, 1]) * rng.random()
                if rng.random() < 0.05:
                    sender.reading(device, sensor, ts, str_value="off")
                elif sensor == "slow":
                    sender.reading(device, sensor, ts, 31.0 if step % 60 < 40 else value)
                else:
                    sender.reading(device, sensor, ts, value)
    return begin_ms + steps * 1000


def expected_of(sender: Sender, *devices: str) -> set[Expected]:
    rules = {(device, sensor): rule for device in devices for sensor, rule in RULES.items()}
    return expected_alerts(sender.acknowledged, rules)


def await_announced(line: World, expected: set[Expected], *devices: str) -> list[dict[str, Any]]:
    line.wait(lambda: expected <= told(Announced(line).of(*devices)), f"{len(expected)} alerts are announced", 20.0)
    rows = Announced(line).of(*devices)
    assert told(rows) == expected
    return rows


def test_alerts_come_within_two_seconds_and_are_what_the_readings_say(line: World) -> None:
    rng = random.Random(4)
    with Sender(line.settings) as sender:
        alone = one_alone(line, sender)
        at = time.time_ns() // 1_000_000 - 300_000
        for _ in range(15):
            at = walk(sender, DEVICES[:2], rng, at, 8)
            sender.flush()
            time.sleep(rng.uniform(0.0, 2 * alone / 1000))  # a pace that leaves the machine room
        await_announced(line, expected_of(sender, *DEVICES[:2]), *DEVICES[:2])
        appended = {(sent.partition, sent.offset): sent.append_ts for sent in sender.sent}
        took = sorted(Announced(line).took(appended, *DEVICES[:2]))
    assert len(took) > 50
    # 0.1 to 0.3 s alone on two idle cores; a machine that is slow with one must not be fast with many
    assert took[len(took) * 95 // 100] < max(2_000, 4 * alone), (alone, took)


def one_alone(line: World, sender: Sender) -> int:
    """Milliseconds from a reading that begins or ends an alert to its word, when nothing else is sent."""
    before = [row["state"] for row in Announced(line).of("late") if row["sensor"] == "plain"]
    sender.reading("late", "plain", time.time_ns() // 1_000_000, 20.0 if before[-1:] == ["triggered"] else 40.0)
    sender.flush()
    sent = sender.sent[-1]
    appended = {(sent.partition, sent.offset): sent.append_ts}
    return line.wait(lambda: Announced(line).took(appended, "late"), "one alert is announced")[-1]


def test_an_alert_reaches_the_table_and_the_log_of_events_once_with_one_id(line: World) -> None:
    announced = await_announced_of_first(line)
    rows = line.query("SELECT id, toString(state), project_id FROM alerts FINAL WHERE device_id = 'node-0'")
    assert sorted(rows) == sorted((row["id"], row["state"], "lab") for row in announced)
    with psycopg.connect(line.dsn) as conn:
        events = conn.execute(
            "SELECT event_type, data ->> 'id', data ->> 'sensor' FROM events WHERE entity_key = 'node-0' "
            "AND event_type LIKE 'alert.%'"
        ).fetchall()
    assert sorted(events) == sorted((f"alert.{row['state']}", row["id"], row["sensor"]) for row in announced)


def await_announced_of_first(line: World) -> list[dict[str, Any]]:
    if not Announced(line).of("node-0"):
        with Sender(line.settings) as sender:
            walk(sender, ["node-0"], random.Random(1), time.time_ns() // 1_000_000 - 60_000, 30)
            sender.flush()
            await_announced(line, expected_of(sender, "node-0"), "node-0")
    rows = Announced(line).of("node-0")

    def recorded() -> bool:
        with psycopg.connect(line.dsn) as conn:
            found = conn.execute(
                "SELECT count(*) FROM events WHERE entity_key = 'node-0' AND event_type LIKE 'alert.%'"
            ).fetchone()
        stored = line.value("SELECT count() FROM alerts FINAL WHERE device_id = 'node-0'")
        return found == (len(rows),) and stored == len(rows)

    line.wait(recorded, f"{len(rows)} states of alerts are stored and recorded")
    return rows


def test_a_changed_rule_holds_within_two_seconds_and_the_nearest_one_wins(line: World) -> None:
    def triggered() -> list[dict[str, Any]]:
        rows = Announced(line).of("late")
        return [row for row in rows if row["sensor"] == "unruled" and row["state"] == "triggered"]

    with Sender(line.settings) as sender:

        def unnoticed(value: float) -> list[float]:
            """Seconds from now to each reading of this value that came before the one that raised an alert."""
            known, first, changed = len(triggered()), len(sender.sent), time.time_ns() // 1_000_000

            def raised() -> list[dict[str, Any]]:
                sender.reading("late", "unruled", time.time_ns() // 1_000_000, value)
                sender.flush()
                return triggered()[known:]

            (alert,) = line.wait(raised, f"{value} raises an alert")
            before = (sent for sent in sender.sent[first:] if sent.offset < alert["offset"])
            return [(sent.append_ts - changed) / 1000 for sent in before]

        set_properties(line.dsn, "project", "lab", {"settings": {"alert_thresholds": {"unruled": {"max": 50}}}})
        unnoticed(60.0)
        slow = one_alone(line, sender) / 1000
        set_properties(
            line.dsn, "device", "late", {"config": {"alertThresholds": {"unruled": {"min": -10, "max": 90}}}}
        )
        assert max(unnoticed(-20.0), default=0.0) < 2.0 + 2 * slow
        sender.reading("late", "unruled", time.time_ns() // 1_000_000, 60.0)
        sender.flush()
        below = triggered()[-1]["id"], "resolved"
        line.wait(
            lambda: below in [(row["id"], row["state"]) for row in Announced(line).of("late")],
            "60 is known, and has ended what -20 began",
        )
    assert [row["threshold"] for row in triggered()] == [50.0, -10.0]


def test_what_was_announced_is_known_at_once_whether_it_is_in_the_table_or_only_on_the_topic(line: World) -> None:
    settings, partition, now = line.settings, 77, time.time_ns() // 1_000_000
    with Registry(settings.registry) as registry:
        latest = registry.latest(value_subject(settings.topics.alerts))
        assert latest is not None
        announcement = AlertAnnouncement(settings.topics.alerts, Encoder(load_schema("Alert"), latest.id))
        history = StoredHistory(settings, Codec(load_schema("Alert"), registry))
        producer = AcknowledgedProducer(producer_config(kafka_client_config(settings.kafka)))

        def announce(number: int, state: State, offset: int) -> None:
            alert = Alert(f"x{number}", "above", state, "acme", "", "x", "s", now, 1.0, 2.0, now, partition, offset)
            producer.write(announcement.records([alert]))

        for number in range(10):
            announce(number, "triggered", number)
            assert len(history.known(partition, 100)) == number + 1
        for number in range(5):
            announce(number, "resolved", 95 + 2 * number)
        known = history.known(partition, 100)
        line.wait(
            lambda: line.value("SELECT count() FROM alerts FINAL WHERE device_id = 'x'") == 15, "all of it is stored"
        )
        assert history.known(partition, 100) == known
    assert [(each.id, each.offset, each.resolved) for each in known] == [
        (f"x{number}", number, number in (3, 4)) for number in range(3, 10)
    ]


def test_a_state_is_recorded_once_and_only_for_a_device_that_is_known(line: World) -> None:
    alert = {"id": "twice", "kind": "above", "state": "triggered", "device_id": "late", "sensor": "s", "ts": 1}
    assert record_alerts(line.dsn, [alert, alert | {"state": "resolved"}, alert | {"device_id": "stranger"}]) == 2
    assert record_alerts(line.dsn, [alert]) == 0
    assert record_alerts(line.dsn, []) == 0


def test_malformed_rules_are_left_out_and_named(stack: StackUnderTest) -> None:
    with postgres_database(stack) as dsn:
        names = [("node", "a"), ("node", "b"), ("other", "a")]
        register(dsn, "acme", "lab", pl.DataFrame(names, schema=["device_id", "sensor"], orient="row"))
        set_properties(dsn, "project", "lab", {"settings": {"alert_thresholds": {"a": {"max": 9}}}})
        set_properties(dsn, "device", "node", {"config": {"alertThresholds": {"a": {"max": "hot"}, "b": [1, 2]}}})
        set_properties(dsn, "device", "other", {"config": {"alertThresholds": 3, "silentAfterSeconds": "soon"}})
        rules = load_rules(dsn)
        some = load_rules(dsn, pl.Series("device_id", ["other"]))
        with psycopg.connect(dsn) as conn:
            conn.execute("UPDATE entities SET is_active = false WHERE key = 'node'")
        active = load_rules(dsn).thresholds
    assert rules.thresholds.select("device_id", "sensor", "high").rows() == [("node", "a", 9.0), ("other", "a", 9.0)]
    assert len(rules.silences) == 0
    named = [" ".join(fault.split()[:2]) for fault in rules.faults]
    assert sorted(named) == ["Device node", "Device node", "Device other", "Device other"]
    assert some.thresholds["device_id"].to_list() == active["device_id"].to_list() == ["other"]


def test_a_device_that_stops_sending_is_silent_until_it_sends_again(line: World) -> None:
    with Sender(line.settings) as sender:
        sender.reading("mute", "unruled", time.time_ns() // 1_000_000, 1.0)
        sender.flush()
        last = sender.sent[-1].append_ts
        line.wait(lambda: Announced(line).of("mute"), "the device is found silent", 15.0)
        silent = Announced(line).of("mute")
        assert [(row["kind"], row["state"], row["sensor"]) for row in silent] == [("silent", "triggered", "")]
        assert (silent[0]["window_start"], silent[0]["ts"]) == (last, last + 1500)
        sender.reading("mute", "unruled", time.time_ns() // 1_000_000, 2.0)
        sender.flush()
        line.wait(lambda: len(Announced(line).of("mute")) > 1, "the silence is over")
        again = Announced(line).of("mute")[1]
        assert (again["id"], again["state"], again["ts"]) == (silent[0]["id"], "resolved", sender.sent[-1].append_ts)

    def events() -> list[tuple[str, ...]]:
        with psycopg.connect(line.dsn) as conn:
            return conn.execute(
                "SELECT event_type FROM events WHERE entity_key = 'mute' AND data ->> 'kind' = 'silent' ORDER BY id"
            ).fetchall()

    line.wait(lambda: events() == [("device.silent",), ("alert.resolved",)], "both are in the log of events")


def test_a_worker_that_is_killed_between_trigger_and_resolve_repeats_and_forgets_nothing(line: World) -> None:
    rng = random.Random(8)
    devices = DEVICES[2:]
    with Sender(line.settings) as sender:
        at = time.time_ns() // 1_000_000 - 600_000
        for device in devices:
            for second in range(12):  # outside of "slow" for less than it lasts, and of "plain"
                sender.reading(device, "slow", at + second * 1000, 31.0)
                sender.reading(device, "plain", at + second * 1000, 35.0)
        sender.flush()
        line.wait(lambda: len(Announced(line).of(*devices)) == len(devices), "the alerts of plain are announced")
        line.workers[-1].kill()
        walk(sender, devices, rng, at + 12_000, 60)
        sender.flush()
        line.start_worker(ready=False)
        rows = await_announced(line, expected_of(sender, *devices), *devices)
    assert len({(row["id"], row["state"]) for row in rows}) == len(told(rows))
    assert any(row["sensor"] == "slow" and row["state"] == "triggered" for row in rows)
