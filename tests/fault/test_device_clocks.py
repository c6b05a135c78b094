"""Devices whose clocks are wrong, beside devices whose clocks are right."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from connectors.postgres.devices import register
from tests.sender import Sender
from tests.stack_under_test import StackUnderTest
from tests.stored import stored_windows
from tests.world import World, world_on
from weir.verify.compare import compare_windows
from weir.verify.recompute import HOUR_MS, MINUTE_MS, expected_readings, expected_windows

DAY_MS = 24 * HOUR_MS
BESIDE, ALONE = 0, 1
"""Partitions: in the one the honest device has the two others beside it, in the other one it is alone."""


@pytest.fixture
def clocks(stack: StackUnderTest, tmp_path: Path) -> Iterator[World]:
    """A world that takes readings up to two hours ahead, so that the fast clock is not simply refused."""
    stream = {"future_skew_seconds": 7_200.0, "lateness_seconds": 1.0, "idle_seconds": 1.0}
    with world_on(stack, tmp_path, {"stream": stream}) as world:
        world.query("SYSTEM STOP MERGES agg_1m")
        names = ["honest-beside", "honest-alone", "fast", "slow"]
        register(world.dsn, "acme", None, pl.DataFrame({"device_id": names, "sensor": ["t"] * 4}))
        yield world


def test_device_an_hour_fast_and_one_a_day_slow_change_nothing_for_the_others(clocks: World) -> None:
    worker = clocks.start_worker()
    with Sender(clocks.settings) as sender:
        apart = 0.0
        for _ in send_over_the_end_of_a_minute(sender):
            marks = [
                value for labels, value in worker.metrics("weir_watermark_seconds").items() if ".readings" in labels
            ]
            assert max(marks, default=0.0) <= time.time(), "a fast clock has moved the watermark"
            moved = [mark for mark in marks if mark > 0]
            apart = max(apart, max(moved) - min(moved)) if len(moved) == 2 else apart
        assert apart < 5.0, "one watermark stays behind the other"
        expected = expected_readings(sender.acknowledged)
        honest = {
            key: window
            for key, window in expected_windows(expected, MINUTE_MS).items()
            if key.device_id.startswith("honest")
        }
        assert len(honest) == 2, "one minute of each"
        clocks.wait(lambda: len(published(clocks, "honest")) >= 2, "the honest minutes close")
    closed = published(clocks, "honest")
    assert [device for device, _ in closed] == ["honest-alone", "honest-beside"], "published once each, so never late"
    assert compare_windows("aggregates_1m", honest, stored_windows(clocks, "aggregates_1m", "honest")) == []
    assert published(clocks, "slow"), "the slow device's readings are late, and correct their own windows"


def send_over_the_end_of_a_minute(sender: Sender) -> Iterator[None]:
    """Ten readings a second of each device, the last four seconds of a minute."""
    while not 55 <= time.time() % 60 < 57:
        time.sleep(0.1)
    end = (time.time() // 60 + 1) * 60
    while time.time() < end - 0.5:
        now = time.time_ns() // 1_000_000
        sender.reading("fast", "t", now + HOUR_MS, 1.0, partition=BESIDE)
        sender.reading("slow", "t", now - DAY_MS, 1.0, partition=BESIDE)
        sender.reading("honest-beside", "t", now, 1.0, partition=BESIDE)
        sender.reading("honest-alone", "t", now, 1.0, partition=ALONE)
        sender.flush()
        yield
        time.sleep(0.1)


def published(world: World, prefix: str) -> list[tuple[str, int]]:
    """Device and minute of every row ever published of devices with this prefix, superseded ones as well."""
    rows = world.query(
        "SELECT device_id, toUnixTimestamp(window_start) FROM agg_1m WHERE startsWith(device_id, {prefix:String}) "
        "ORDER BY device_id",
        prefix=prefix,
    )
    return [(device, start) for device, start in rows]
