"""Parity on a real worker: sound windows pass, every broken one is found, and a repair mends minutes and hours."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from connectors.postgres.devices import register
from sinks.clickhouse.client import connect
from tests.sender import Sender
from tests.stack_under_test import StackUnderTest
from tests.stored import stored_windows
from tests.weir_command import Ended, weir
from tests.worker_process import WorkerProcess
from tests.world import World, world_on
from weir.verify.compare import compare_windows
from weir.verify.recompute import HOUR_MS, MINUTE_MS, expected_readings, expected_windows

DEVICES = [f"device-{number}" for number in range(4)]
PARITY = {"interval_seconds": 0.5, "recheck_seconds": 0.2}
VIEWS = (("aggregates_1m", MINUTE_MS), ("aggregates_1h", HOUR_MS))


@pytest.fixture
def fleet(stack: StackUnderTest, tmp_path: Path) -> Iterator[World]:
    """Four devices of one sensor each; their worker checks twice a second."""
    with world_on(stack, tmp_path, {"parity": PARITY}) as world:
        names = [(device, "t") for device in DEVICES]
        register(world.dsn, "acme", None, pl.DataFrame(names, schema=["device_id", "sensor"], orient="row"))
        yield world


class Sent:
    """A reading of each device every three seconds of the two whole hours before the last, some of them texts."""

    def __init__(self, world: World, sender: Sender) -> None:
        """Send them, and wait until every minute and hour is stored."""
        self.begin = (time.time_ns() // 1_000_000 // HOUR_MS - 3) * HOUR_MS
        self._sender = sender
        for ts in range(self.begin, self.begin + 2 * HOUR_MS, 3_000):
            for place, device in enumerate(DEVICES):
                if (ts // 3_000 + place) % 11 == 0:
                    sender.reading(device, "t", ts + place, str_value="n/a")
                else:
                    sender.reading(device, "t", ts + place, 1e6 + ts % 7_919 / 100 + place)
        sender.flush()
        self.await_windows(world)

    def await_windows(self, world: World) -> None:
        """Wait until both views hold what follows from all that was sent."""
        expected = expected_readings(self._sender.acknowledged)
        for view, size_ms in VIEWS:
            windows = expected_windows(expected, size_ms)
            world.wait(
                lambda view=view, windows=windows: len(stored_windows(world, view)) == len(windows),  # type: ignore[misc]
                f"all {view} are stored",
                60.0,
            )

    def differences(self, world: World) -> list[Any]:
        """What the views hold against an independent recomputation; revisions are raised by a repair."""
        expected = expected_readings(self._sender.acknowledged)
        return [
            each
            for view, size_ms in VIEWS
            for each in compare_windows(view, expected_windows(expected, size_ms), stored_windows(world, view))
            if each.field != "revision"
        ]


def parity(world: World, *arguments: str) -> Ended:
    """``weir parity`` on a world; the hours before the present are what was sent."""
    return weir(world.environment, "parity", "--from", "5h", *arguments, seconds=120.0)


def counted(ended: Ended) -> dict[str, dict[str, int]]:
    """Windows by level and verdict, verdicts without a window left out."""
    rows = ended.json()["compared"]
    names = ("equal", "missing", "different", "phantom", "left_out")
    return {row["level"]: {name: row[name] for name in names if row[name]} for row in rows}


def write(world: World, statement: str, **parameters: int) -> None:
    """Change what is stored behind the streams' back."""
    client = connect(world.settings.clickhouse)
    client.command(statement, parameters=parameters)
    client.close()


def copied(table: str, **changes: str) -> str:
    """An INSERT of one minute's row of device-1 with changed columns."""
    columns = ", ".join(f"{expression} AS {name}" for name, expression in changes.items())
    return (
        f"INSERT INTO {table} SELECT * REPLACE({columns}) FROM {table} FINAL WHERE device_id = 'device-1' "
        "AND window_start = fromUnixTimestamp64Milli({start:Int64})"
    )


def break_windows(world: World, begin: int) -> None:
    """Three minutes of device-0 go, one of device-1 is wrong, sensors that never were have a minute and hours."""
    gone = "fromUnixTimestamp64Milli({begin:Int64})"
    write(
        world,
        f"ALTER TABLE agg_1m DELETE WHERE device_id = 'device-0' AND window_start >= {gone} "
        f"AND window_start < {gone} + INTERVAL 3 MINUTE SETTINGS mutations_sync = 1",
        begin=begin,
    )
    start = begin + 5 * MINUTE_MS
    write(world, copied("agg_1m", sum="sum + 1", count="count + 1", revision="revision + 1000"), start=start)
    write(world, copied("agg_1m", sensor="'ghost'"), start=start)
    write(world, copied("agg_1h", sensor="'ghost'"), start=begin)
    write(world, copied("agg_1h", sensor="'spook'"), start=begin)


def gauge(worker: WorkerProcess, name: str, level: str) -> float | None:
    """A gauge of the continuous check."""
    return worker.metrics(f"weir_parity_{name}").get(f'level="{level}"')


def test_broken_windows_are_found_and_a_repair_mends_minutes_and_hours(fleet: World) -> None:
    worker = fleet.start_worker()
    with Sender(fleet.settings) as sender:
        sent = Sent(fleet, sender)
        clean = parity(fleet, "--json")
        assert (clean.code, counted(clean)) == (0, {"1m": {"equal": 480}, "1h": {"equal": 8}}), clean.err
        fleet.wait(lambda: gauge(worker, "verified_share", "1m") == 1.0, "the worker has checked some minutes")

        break_windows(fleet, sent.begin)
        broken = parity(fleet, "--json")
        assert broken.code == 1, broken.err
        assert counted(broken) == {
            "1m": {"equal": 476, "missing": 3, "different": 1, "phantom": 1},
            "1h": {"equal": 6, "different": 3, "phantom": 1},
        }
        fleet.wait(lambda: (gauge(worker, "verified_share", "1m") or 1.0) < 1.0, "the worker finds them", 60.0)

        mended = parity(fleet, "--repair", "--yes", "--json")
        assert mended.code == 0, mended.err
        assert counted(mended) == {"1m": {"equal": 480}, "1h": {"equal": 8}}
        assert mended.json()["repaired"]["1m"] == 5
        assert sent.differences(fleet) == []
        fleet.wait(lambda: gauge(worker, "windows_different", "1m") == 0.0, "the worker sees them mended", 60.0)

        again = parity(fleet, "--repair", "--yes", "--json")
        assert (again.code, counted(again)) == (0, {"1m": {"equal": 480}, "1h": {"equal": 8}})
