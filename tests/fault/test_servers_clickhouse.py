"""ClickHouse misbehaves in every way that a network knows: the worker waits in its group, skips nothing, catches up."""

from __future__ import annotations

import random
import time
from pathlib import Path

import polars as pl
import psutil

from connectors.postgres.devices import register
from tests.fault.patience import group_history
from tests.fault.proxied_servers import proxy_to, through
from tests.fault.scenario import scenario_on
from tests.fault.server_faults import CLICKHOUSE, misbehave, start_before_clickhouse
from tests.fault.tcp_proxy import PASS, Fault
from tests.sender import Sender
from tests.stack_under_test import StackUnderTest
from tests.stored import stored_readings
from tests.worker_process import WorkerProcess
from tests.world import SESSION_SECONDS, Changes, world_on
from weir.verify.compare import compare_readings
from weir.verify.recompute import expected_readings

SEED = 20

BACKLOG = 40_000
TEXT_BYTES = 7_000
DEVICES = [f"device-{number}" for number in range(20)]
BOUNDED: Changes = {"stream": {"queue_messages": 2_000, "fetch_messages": 1_000, "flush_rows": 2_000}}
ALLOWED_BYTES = 250_000_000
"""Seen: 127 MB more with these limits, 414 MB more with limits that the whole backlog stays below."""


def test_whatever_clickhouse_does_the_worker_waits_in_its_group_and_nothing_is_lost(
    stack: StackUnderTest, tmp_path: Path
) -> None:
    with scenario_on(stack, tmp_path, SEED) as scenario, proxy_to(stack.settings.clickhouse.url) as proxy:
        worker = start_before_clickhouse(scenario, proxy)
        group = group_history(worker)
        for name in CLICKHOUSE:
            misbehave(scenario, worker, proxy, name)
            scenario.world.wait(scenario.settled, f"everything is stored after ClickHouse was {name}")
        result = scenario.outcome("ClickHouse misbehaves", SEED)
        assert result.differences == [], result.words()
        assert group_history(worker) == group, "the worker lost its place in the group"
        scenario.world.query("INSERT INTO raw_readings SELECT * FROM raw_readings LIMIT 1")
        assert scenario.outcome("control", SEED).duplicated, "the comparison misses a row that is there twice"


def test_while_clickhouse_is_away_a_backlog_waits_in_kafka_and_not_in_memory(
    stack: StackUnderTest, tmp_path: Path
) -> None:
    with world_on(stack, tmp_path, BOUNDED) as world, proxy_to(stack.settings.clickhouse.url) as proxy:
        register(world.dsn, "acme", None, pl.DataFrame({"device_id": DEVICES, "sensor": ["t"] * len(DEVICES)}))
        worker = world.start_worker(WEIR_CLICKHOUSE__URL=through(stack.settings.clickhouse.url, proxy))
        stored = "SELECT count() FROM raw_readings"
        with Sender(world.settings) as sender:
            for device in DEVICES:  # every partition is at work before ClickHouse goes away
                sender.reading(device, "t", time.time_ns() // 1_000_000, 0.0)
            sender.flush()
            world.wait(lambda: world.value(stored) == len(DEVICES), "the first readings are stored")
            group, before = group_history(worker), resident_bytes(worker)
            proxy.set(Fault("refuse"))
            send_backlog(sender, BACKLOG)
            largest = watch_memory(worker, SESSION_SECONDS + 1.0)
            assert largest - before < ALLOWED_BYTES, f"{(largest - before) / 1e6:.0f} MB more than without a backlog"
            assert world.value(stored) == len(DEVICES), "ClickHouse was not away"
            proxy.set(PASS)
            expected = expected_readings(sender.acknowledged)
        world.wait(lambda: world.value(stored) == BACKLOG + len(DEVICES), "the backlog is stored", 150.0)
        assert compare_readings(expected, stored_readings(world)) == []
        assert group_history(worker) == group, "the worker lost its place in the group"


def send_backlog(sender: Sender, readings: int) -> None:
    """Readings of a second each, device after device; their texts do not compress, or one fetch would hold them all."""
    texts = random.Random(SEED)
    begin = time.time_ns() // 1_000_000 - readings // len(DEVICES) * 1_000
    for number in range(readings // len(DEVICES)):
        for device in DEVICES:
            text = texts.randbytes(TEXT_BYTES // 2).hex()
            sender.reading(device, "t", begin + number * 1_000, float(number), str_value=text)
        if number % 100 == 0:
            sender.flush()
    sender.flush()


def watch_memory(worker: WorkerProcess, seconds: float) -> int:
    """The largest resident memory seen, in bytes."""
    until, largest = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        worker.check()
        largest = max(largest, resident_bytes(worker))
        time.sleep(0.1)
    return largest


def resident_bytes(worker: WorkerProcess) -> int:
    """Its resident memory now."""
    return int(psutil.Process(worker.pid).memory_info().rss)
