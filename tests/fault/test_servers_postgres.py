"""Postgres away when a worker starts, away while it works, and there without answering."""

from __future__ import annotations

import time
from pathlib import Path

import polars as pl

from connectors.postgres.devices import register
from tests.fault.load import partition_of
from tests.fault.patience import tries
from tests.fault.proxied_servers import dsn_through, proxy_to_postgres
from tests.fault.scenario import Scenario, scenario_on
from tests.fault.tcp_proxy import PASS, Fault
from tests.stack_under_test import StackUnderTest
from tests.worker_process import WorkerProcess

SEED = 22
NEWCOMER = "device-13"


def metadata_age(worker: WorkerProcess) -> float:
    """Seconds since the metadata in use was known to be current."""
    return worker.metrics("weir_metadata_age_seconds")[""]


def send_newcomer(scenario: Scenario) -> None:
    """One reading of a device that was not there from the start."""
    now = time.time_ns() // 1_000_000
    scenario.sender.reading(NEWCOMER, "a", now, 1.0, partition=partition_of(NEWCOMER))
    scenario.sender.flush()


def test_postgres_away_is_waited_for_at_the_start_and_later_the_last_metadata_stays_in_use(
    stack: StackUnderTest, tmp_path: Path
) -> None:
    with scenario_on(stack, tmp_path, SEED) as scenario, proxy_to_postgres(stack.settings) as proxy:
        world = scenario.world
        proxy.set(Fault("refuse"))
        worker = world.start_worker(ready=False, WEIR_POSTGRES__DSN=dsn_through(world.settings, proxy))
        world.wait(lambda: tries(worker), "it asks again")
        assert "Postgres at" in worker.log and "cannot be reached" in worker.log
        scenario.load.send(10)
        proxy.set(PASS)
        worker.wait_ready()
        world.wait(scenario.settled, "everything is stored after Postgres came")

        proxy.set(Fault("refuse"))
        world.wait(lambda: metadata_age(worker) > 3.0, "the metadata grow old")
        assert "stays in use" in worker.log
        scenario.load.send(10)
        world.wait(scenario.settled, "everything is stored with the last metadata")
        register(world.dsn, "acme", None, pl.DataFrame({"device_id": [NEWCOMER], "sensor": ["a"]}))
        proxy.set(PASS)
        world.wait(lambda: metadata_age(worker) < 3.0, "the metadata are current again")
        send_newcomer(scenario)
        result = scenario.outcome("Postgres away", SEED)
        assert result.differences == [], result.words()
        assert "Traceback" not in worker.log


def test_postgres_that_takes_questions_and_never_answers_holds_nothing_up(
    stack: StackUnderTest, tmp_path: Path
) -> None:
    with scenario_on(stack, tmp_path, SEED) as scenario, proxy_to_postgres(stack.settings) as proxy:
        world = scenario.world
        worker = world.start_worker(WEIR_POSTGRES__DSN=dsn_through(world.settings, proxy))
        proxy.set(Fault("hang", rb"metadata_version"))
        proxy.wait_fired(1)
        scenario.load.send(10)  # with poison of devices that nobody knows, which makes the worker ask once more
        world.wait(scenario.settled, "everything is stored while Postgres hangs", 45.0)
        world.wait(lambda: metadata_age(worker) > 3.0, "the metadata grow old")
        proxy.set(PASS)
        world.wait(lambda: metadata_age(worker) < 3.0, "the metadata are current again", 45.0)
        result = scenario.outcome("Postgres hangs", SEED)
        assert result.differences == [], result.words()
