"""Workers as processes: they share partitions, take over from each other, are killed, and say what is missing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import polars as pl
import pytest
from confluent_kafka import Producer

from connectors.kafka.client import kafka_client_config
from connectors.postgres.devices import register
from tests.free_ports import free_port
from tests.sender import Sender
from tests.stack_under_test import StackUnderTest
from tests.stored import dead_letters, stored_readings, stored_windows
from tests.waiting import patient, wait_until
from tests.worker_process import WorkerProcess
from tests.world import World, world_on
from weir.stack.child import Child, Command
from weir.verify.compare import compare_readings, compare_windows
from weir.verify.recompute import HOUR_MS, MINUTE_MS, expected_readings, expected_windows

DEVICES = [f"device-{number}" for number in range(12)]
SETTLING_SECONDS = 40.0


@pytest.fixture
def fleet(stack: StackUnderTest, tmp_path: Path) -> Iterator[World]:
    """Twelve devices of two sensors, and no worker yet; they store in small blocks, so that kills fall between."""
    with world_on(stack, tmp_path, {"stream": {"flush_rows": 400, "fetch_messages": 300}}) as world:
        names = [(device, sensor) for device in DEVICES for sensor in ("a", "b")]
        register(world.dsn, "acme", None, pl.DataFrame(names, schema=["device_id", "sensor"], orient="row"))
        yield world


class History:
    """Readings of the fleet, second by second, over the two whole hours before the last; with resends and disorder."""

    def __init__(self, sender: Sender) -> None:
        """Begin two hours before the begin of the last whole hour."""
        self._sender = sender
        self._begin = (time.time_ns() // 1_000_000 // HOUR_MS - 3) * HOUR_MS
        self._number = 0

    def send(self, rounds: int, step_ms: int = 7_000) -> None:
        """Each round every sensor once; every fifth reading comes a round late, every seventh twice."""
        for number in range(self._number, self._number + rounds):
            for place, device in enumerate(DEVICES):
                for sensor in ("a", "b"):
                    ts = self._begin + (number - (place + number) % 5 // 4) * step_ms + place
                    value = float((number * 31 + place * 7) % 101)
                    self._sender.reading(device, sensor, ts, value)
                    if (number + place) % 7 == 0:
                        self._sender.reading(device, sensor, ts, value)
        self._number += rounds
        self._sender.flush()


def assert_nothing_lost_or_doubled(world: World, sender: Sender) -> None:
    """Readings, minutes and hours equal the recomputation from what was acknowledged."""
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
    doubled = "SELECT count() - uniqExact(partition, offset) FROM raw_readings"
    assert world.value(doubled) == 0, "a message was inserted twice"


def taken_in(worker: WorkerProcess) -> float:
    """Readings that it has taken in."""
    return sum(each for labels, each in worker.metrics("weir_messages_total").items() if ".readings" in labels)


def test_two_workers_share_the_partitions_and_everything_is_stored_once(fleet: World) -> None:
    with Sender(fleet.settings) as sender:
        history = History(sender)
        first = fleet.start_worker()
        history.send(200)
        second = fleet.start_worker()
        history.send(200)
        fleet.wait(lambda: taken_in(first) and taken_in(second), "both take readings in")
        first.stop()
        history.send(200)
        assert_nothing_lost_or_doubled(fleet, sender)
        assert first.exit_code == 0


def test_after_a_kill_nothing_is_lost_or_doubled(fleet: World) -> None:
    rows = "SELECT count() FROM raw_readings"
    interrupted = 0
    with Sender(fleet.settings) as sender:
        history = History(sender)
        for _ in range(3):
            worker = fleet.start_worker()
            before = fleet.value(rows)
            history.send(500, step_ms=2_500)
            wait_until(lambda before=before: fleet.value(rows) > before, "it has begun to store", poll=0.01)  # type: ignore[misc]
            worker.kill()
            interrupted += len(stored_readings(fleet)) < len(expected_readings(sender.acknowledged))
        assert interrupted, "no kill fell into the work; the test proves nothing"
        fleet.start_worker()
        assert_nothing_lost_or_doubled(fleet, sender)


def test_the_faust_command_runs_the_same_worker(world: World, tmp_path: Path) -> None:
    port = free_port()
    environment = world.environment | {"WEIR_WORKER__WEB_PORT": str(port)}
    arguments = [sys.executable, "-m", "faust", "-A", "streams.app", "worker", "-l", "info"]
    child = Child("faust", Command(arguments, grace_seconds=20.0), environment, tmp_path / "faust.log")
    try:

        def page() -> int:
            assert child.exit_code() is None, child.last_lines()
            try:
                return httpx.get(f"http://127.0.0.1:{port}/", timeout=patient(5.0), trust_env=False).status_code
            except httpx.TransportError:
                return 0

        assert wait_until(page, "the web page answers", 60.0) == httpx.codes.OK
        metrics = httpx.get(
            f"http://127.0.0.1:{port}/metrics", timeout=patient(5.0), trust_env=False, follow_redirects=True
        )
        assert "weir_messages" in metrics.text
    finally:
        child.request_stop()
        child.wait_stopped()


def run_worker(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """``weir worker`` to its end, which must come by itself."""
    command = [sys.executable, "-m", "weir", "worker"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=patient(60), check=False)


def test_a_worker_without_its_topics_says_what_to_run(world: World) -> None:
    ended = run_worker(world.environment | {"WEIR_NAMESPACE": "nobody-migrated-this"})
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "weir: Topic nobody-migrated-this.readings does not exist; run `weir migrate`.\n"


def test_a_worker_without_its_tables_says_what_to_run(world: World) -> None:
    ended = run_worker(world.environment | {"WEIR_CLICKHOUSE__DATABASE": "nobody_migrated_this"})
    assert ended.returncode == 2
    assert "run `weir migrate`" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_worker_with_a_setting_out_of_range_names_the_variable(world: World) -> None:
    ended = run_worker(world.environment | {"WEIR_STREAM__FLUSH_ROWS": "0"})
    assert ended.returncode == 2
    assert "WEIR_STREAM__FLUSH_ROWS" in ended.stderr


def test_a_worker_waits_for_a_registry_that_is_away_and_says_so(world: World) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/apis/ccompat/v7"
    worker = world.start_worker(ready=False, WEIR_REGISTRY__URL=nowhere)
    wait_until(lambda: "registry" in worker.log, "it says that the registry is away")
    assert worker.exit_code is None, "it waits: the registry may come back"
    (sentence, *_) = [line for line in worker.log.splitlines() if "registry" in line]
    assert nowhere in sentence
    assert "Traceback" not in worker.log
    worker.kill()


def test_device_may_send_the_moment_it_is_registered(world: World) -> None:
    world.start_worker(WEIR_POSTGRES__REFRESH_SECONDS="3600")
    sensors = pl.DataFrame({"device_id": ["just-now"], "sensor": ["temperature"]})
    register(world.dsn, "acme", None, sensors)
    with Sender(world.settings) as sender:
        sender.reading("just-now", "temperature", time.time_ns() // 1_000_000, 1.5)
        sender.flush()
    stored = "SELECT count() FROM readings WHERE device_id = 'just-now'"
    world.wait(lambda: world.value(stored) == 1, "the reading is stored")


def test_taken_web_port_is_one_sentence(world: World) -> None:
    world.start_worker()
    second = world.start_worker(ready=False, WEIR_WORKER__WEB_PORT=str(world.settings.worker.web_port))
    wait_until(lambda: second.exit_code is not None, "the second worker ends", 30)
    assert second.exit_code == 2
    assert "set WEIR_WORKER__WEB_PORT" in second.log
    assert "Traceback" not in second.log


def test_giants_become_dead_letters_and_their_neighbours_are_stored(world: World) -> None:
    register(world.dsn, "acme", None, pl.DataFrame({"device_id": ["d"], "sensor": ["t"]}))
    world.start_worker()
    config = kafka_client_config(world.settings.kafka) | {"compression.type": "lz4", "message.max.bytes": 8_000_000}
    producer, now = Producer(config), time.time_ns() // 1_000_000
    small = {"device_id": "d", "sensor": "t", "value": 1.0}
    values = [
        json.dumps(small | {"ts": now}).encode(),
        b"\0\0\0\0\1" + b"\xff" * 3_000_000,  # Kafka's limit is on the compressed batch
        json.dumps(small | {"ts": now + 1, "fw_ver": "v" * 3_000_000}).encode(),
        json.dumps(small | {"ts": now + 2}).encode(),
    ]
    for value in values:
        producer.produce(world.settings.topics.readings, value, key="d")
    assert producer.flush(20) == 0
    world.wait(lambda: world.value("SELECT count() FROM readings") == 2, "both neighbours are stored")
    world.wait(lambda: len(dead_letters(world.settings)) == 2, "both giants are dead letters")
    assert sorted(letter.headers["reason"] for letter in dead_letters(world.settings)) == ["too_long", "undecodable"]
