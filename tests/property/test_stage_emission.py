"""Windows that close bit by bit: a flush publishes only so much, and what is held back loses and doubles nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engine import stage
from streams.engine.block import Block
from streams.engine.checkpoint import Checkpoint
from streams.engine.fetch import Lease
from streams.engine.outcome import Outcome
from streams.engine.partition_state import PartitionState, Pending
from streams.engine.producer import Record
from streams.engine.stage import Stage, StageOptions
from tests.property import test_stage_crashes as crashes
from tests.property.test_stage_crashes import BASE, MINUTE, FakeProducer, FakeRollup, FakeSink, World
from tests.waiting import patient

OPTIONS = StageOptions(
    name="emission",
    table="raw",
    dead_letter_topic="dlq",
    flush_rows=1_000_000,
    flush_seconds=0.02,
    behind_flush_seconds=30.0,
    lateness_ms=0,
)


@pytest.fixture
def sparing(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every flush closes one window at most; tells how many windows each flush that closed any has closed."""
    closed: list[int] = []
    whole, close = PartitionState.closing, PartitionState.close

    def closing(state: PartitionState, pending: Pending, _: int) -> tuple[Pending, int]:
        return whole(state, pending, 1)

    def counting(state: PartitionState, watermark: int) -> list[object]:
        windows = close(state, watermark)
        closed.extend([len(windows)] if windows else [])
        return list(windows)

    monkeypatch.setattr(PartitionState, "closing", closing)
    monkeypatch.setattr(PartitionState, "close", counting)
    return closed


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_held_back_windows_survive_crashes_at_any_step(seed: int) -> None:
    rng = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        whole = PartitionState.closing
        patch.setattr(PartitionState, "closing", lambda state, pending, _: whole(state, pending, 1))
        world = World(crashes.make_log(rng, 600))
        for _ in range(rng.randint(0, 6)):
            world.calls, world.crash_at, world.after_effect = 0, rng.randint(1, 40), rng.random() < 0.5
            if crashes.run_worker(world, rng):
                break
        world.crash_at = -1
        assert crashes.run_worker(world, rng)
        crashes.check(world)


def log_of(minutes: list[int], series: int = 1) -> pl.DataFrame:
    """One reading of every series at the begin of each of ``minutes``, in this order, all appended in one moment."""
    rows = [
        (number * series + one, one, BASE + minute * MINUTE, float(number), BASE + 3_600_000)
        for number, minute in enumerate(minutes)
        for one in range(series)
    ]
    schema = {"offset": pl.Int64, "series": pl.Int32, "ts": pl.Int64, "value": pl.Float64, "append_ts": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def accepted(world: World, producer: FakeProducer | None = None, until: int = 0, step: int = 0) -> int:
    """Give the whole log to a stage and wait until ``until`` windows are published; gives the flushes that took."""
    flushes = 0

    async def live() -> None:
        async def commit(commits: Mapping[Lease, Checkpoint]) -> set[Lease]:
            nonlocal flushes
            flushes += 1
            return set(commits)

        lease = Lease("t", 0, None)
        running = Stage(OPTIONS, commit, FakeSink(world), producer or FakeProducer(world), FakeRollup(world))
        for at in range(0, len(world.log), step or len(world.log)):
            await running.accept(*block(world, lease, at, at + (step or len(world.log))))
        async with asyncio.timeout(patient(10)):
            while len(world.published) < until:
                await asyncio.sleep(0.005)
        await running.stop()

    asyncio.run(live())
    return flushes


def block(world: World, lease: Lease, begin: int, end: int) -> tuple[Block, Outcome]:
    return crashes.block_of(world.log[begin:end], lease)


def test_windows_beyond_what_a_flush_publishes_close_with_the_next_ones_by_themselves(sparing: list[int]) -> None:
    world = World(log_of([0, 1, 2, 3, 4, 5]))
    accepted(world, until=5)
    assert sparing == [1] * 5
    assert sorted(start for _, start in world.published) == [BASE + minute * MINUTE for minute in range(5)]


def test_a_correction_in_the_same_millisecond_is_not_replaced_by_the_window_that_it_corrects(
    sparing: list[int],
) -> None:
    """Both have the same count and the same append time, and were once published under the same revision."""
    world = World(log_of([0, 1, 2, 3, 0]))
    accepted(world, until=3)
    assert world.published[0, BASE][2] == 4.0, "the resend of the first minute has value 4"
    assert sparing[0] == 1, "the first minute closes with its correction, the others need not"


def test_what_many_series_give_at_once_is_encoded_and_written_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "ENCODED_ROWS", 10)
    monkeypatch.setattr(stage, "WRITTEN_RECORDS", 30)
    world, encoded, written = World(log_of([0, 1, 2], series=95)), [], []
    records = FakeRollup.records

    def counting(self: FakeRollup, rows: pl.DataFrame, partition: int) -> list[Record]:
        encoded.append(len(rows))
        return records(self, rows, partition)

    class CountingProducer(FakeProducer):
        def write(self, records: list[Record]) -> None:  # type: ignore[override]
            written.extend([len(records)] if records else [])
            super().write(records)

    monkeypatch.setattr(FakeRollup, "records", counting)
    accepted(world, CountingProducer(world), until=190)
    assert (max(encoded), sum(encoded)) == (10, 190)
    assert written == [30, 30, 30, 35, 30, 30, 5], "windows share a write"


def test_a_lone_reading_is_stored_at_once_and_a_burst_in_few_flushes() -> None:
    world = World(log_of([0] * 50))
    flushes = accepted(world, step=1)
    assert len(world.stored) <= 4, "the first alone, the others together"
    assert len(world.stored[0]) == 1
    assert flushes <= 8
