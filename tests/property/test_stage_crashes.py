"""The order of a stage, tried against crashes at every step: a simulated log, sink and broker around the real stage.

Servers are doubles here because a crash *between* two calls to them is what is injected; real workers are killed
against real servers in tests/integration.
"""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engine.block import Block
from streams.engine.checkpoint import Checkpoint, from_commit, to_commit
from streams.engine.fetch import Lease
from streams.engine.partition_state import Outcome, Points
from streams.engine.producer import AcknowledgedProducer, Record
from streams.engine.reduce import reduce_points
from streams.engine.stage import Stage, StageOptions

MINUTE = 60_000
BASE = 28_000_000 * MINUTE
NONE = np.empty(0, dtype=np.int64)


class CrashError(Exception):
    """kill -9, as far as the stage can tell."""


@dataclass
class World:
    """What outlives a crash: the log, the committed offset, the sink, the aggregate topic."""

    log: pl.DataFrame  # offset, series, ts, value, append_ts
    commit: tuple[int, str | None] = (-1001, None)
    tokens: dict[str, tuple[int, int]] = field(default_factory=dict)
    stored: list[pl.DataFrame] = field(default_factory=list)
    published: dict[tuple[int, int], tuple[int, int, float]] = field(default_factory=dict)
    calls: int = 0
    crash_at: int = -1
    after_effect: bool = False

    def step(self, effect: object = None) -> bool:
        """Count one call to a server; say whether to crash after its effect."""
        self.calls += 1
        if self.calls == self.crash_at and not self.after_effect:
            raise CrashError
        return self.calls == self.crash_at


class FakeSink:
    def __init__(self, world: World) -> None:
        self.world = world

    def insert(self, table: str, rows: pl.DataFrame, token: str) -> None:
        crash = self.world.step()
        cut = (int(rows["offset"][0]), int(rows["offset"][-1]))
        if token in self.world.tokens:
            assert self.world.tokens[token] == cut, "the same token named two different blocks"
        else:
            self.world.tokens[token] = cut
            self.world.stored.append(rows)
        if crash:
            raise CrashError


class FakeProducer(AcknowledgedProducer):
    def __init__(self, world: World) -> None:
        self.world = world

    def write(self, records: list[Record]) -> None:  # type: ignore[override]
        if not records:
            return
        crash = self.world.step()
        for record in records:
            series, start, revision, count, total = map(float, (record.key or b"").split(b","))
            key = (int(series), int(start))
            if key not in self.world.published or self.world.published[key][0] <= revision:
                self.world.published[key] = (int(revision), int(count), total)
        if crash:
            raise CrashError


class FakeRollup:
    size_ms = MINUTE

    def __init__(self, world: World) -> None:
        self.world = world

    def close(self, start: int, points: pl.DataFrame) -> pl.DataFrame:
        return reduce_points(points).with_columns(start=pl.lit(start))

    def recompute(self, late: pl.DataFrame) -> pl.DataFrame:
        everything = pl.concat(self.world.stored).sort("offset").with_columns(start=pl.col("ts") // MINUTE * MINUTE)
        frames = [
            self.close(start, everything.filter(pl.col("series").eq(series) & pl.col("start").eq(start)))
            for series, start in late.select("series", "start").iter_rows()
        ]
        return pl.concat(frames)

    def records(self, rows: pl.DataFrame, partition: int) -> list[Record]:
        columns = rows.select("series", "start", "revision", "count", "sum")
        return [Record("agg", ",".join(map(str, row)).encode(), b"") for row in columns.iter_rows()]


def run_worker(world: World, rng: random.Random) -> bool:
    """One life of a worker, from its checkpoint to the end of the log or its crash; True when it got to the end."""

    async def live() -> None:
        checkpoint = from_commit(*world.commit)
        lease = Lease("t", 0, checkpoint)

        async def commit(commits: Mapping[Lease, Checkpoint]) -> set[Lease]:
            crash = world.step()
            made = to_commit("t", 0, commits[lease])
            world.commit = (made.offset, made.metadata)
            if crash:
                raise CrashError
            return {lease}

        options = StageOptions(
            name="s",
            table="raw",
            dead_letter_topic="dlq",
            flush_rows=rng.randint(1, 40),
            flush_seconds=30,
            behind_flush_seconds=30,
            lateness_ms=5_000,
        )
        stage = Stage(options, commit, FakeSink(world), FakeProducer(world), FakeRollup(world))
        at = checkpoint.replay if checkpoint else 0
        while at < len(world.log):
            end = min(len(world.log), at + rng.randint(1, 30))
            await stage.accept(*block_of(world.log[at:end], lease))
            at = end
        silent = Block(lease, world.log.clear(), NONE, NONE, NONE, [], [], -1, -1, 0)
        await stage._drain()
        await stage.silent(silent, BASE + 10_000 * MINUTE)
        await stage._drain()
        await stage._drain()

    try:
        asyncio.run(live())
    except CrashError:
        return False
    return True


def block_of(part: pl.DataFrame, lease: Lease) -> tuple[Block, Outcome]:
    offsets, append = part["offset"].to_numpy(), part["append_ts"].to_numpy()
    first, end = int(offsets[0]), int(offsets[-1]) + 1
    block = Block(lease, part, offsets, append, offsets, [object()], [], first, end, 0)  # type: ignore[list-item]
    points = Points(part.drop("offset"), offsets, append)
    return block, Outcome(part, offsets, points, [])


def make_log(rng: random.Random, rows: int) -> pl.DataFrame:
    """Readings of three series, 1 a second each, with disorder beyond the lateness, resends and conflicts."""
    log = []
    for offset in range(rows):
        ts = BASE + offset * 400 - (rng.choice([0, 0, 0, 1_000, 4_000, 30_000, 200_000]) if offset else 0)
        log.append((offset, rng.randrange(3), ts // 1000 * 1000, float(rng.randrange(100)), BASE + 3_600_000 + offset))
    schema = {"offset": pl.Int64, "series": pl.Int32, "ts": pl.Int64, "value": pl.Float64, "append_ts": pl.Int64}
    return pl.DataFrame(log, schema=schema, orient="row")


def expected_windows(log: pl.DataFrame) -> dict[tuple[int, int], tuple[int, float]]:
    """Count and sum of every window, by plain dicts; of equal identities the later offset holds."""
    latest: dict[tuple[int, int], float] = {}
    for _, series, ts, value, _ in log.iter_rows():
        latest[series, ts] = value
    windows: dict[tuple[int, int], tuple[int, float]] = {}
    for (series, ts), value in latest.items():
        key = (series, ts // MINUTE * MINUTE)
        count, total = windows.get(key, (0, 0.0))
        windows[key] = (count + 1, total + value)
    return windows


def check(world: World) -> None:
    offsets = pl.concat(world.stored)["offset"].sort().to_list()
    assert offsets == list(range(len(world.log))), "rows were lost or stored twice"
    got = {key: (count, total) for key, (_, count, total) in world.published.items()}
    assert got == expected_windows(world.log)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_crashes_at_any_step_lose_and_double_nothing(seed: int) -> None:
    rng = random.Random(seed)
    world = World(make_log(rng, 600))
    for _ in range(rng.randint(0, 6)):
        world.calls, world.crash_at, world.after_effect = 0, rng.randint(1, 40), rng.random() < 0.5
        if run_worker(world, rng):
            break
    world.crash_at = -1
    assert run_worker(world, rng)
    check(world)


def test_every_single_step_may_be_the_last() -> None:
    for crash_at in range(1, 30):
        for after_effect in (False, True):
            rng = random.Random(crash_at)
            world = World(make_log(rng, 300), crash_at=crash_at, after_effect=after_effect)
            run_worker(world, rng)
            world.crash_at = -1
            assert run_worker(world, rng)
            check(world)


def test_inserting_before_the_plan_is_committed_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The positive control: with the order of section 4 broken, the same crashes double rows."""

    async def wrong_order(self: Stage, taken: list) -> None:  # type: ignore[type-arg]
        self._store(taken, {state.lease: state.close(pending.watermark) for state, pending in taken})
        for state, pending in taken:
            state.flushed(pending)
        await self._commit({state.lease: state.checkpoint() for state, _ in taken})

    monkeypatch.setattr(Stage, "_flush", wrong_order)
    with pytest.raises(AssertionError):
        for crash_at in range(1, 30):
            rng = random.Random(crash_at)
            world = World(make_log(rng, 300), crash_at=crash_at, after_effect=True)
            run_worker(world, rng)
            world.crash_at = -1
            run_worker(world, random.Random(crash_at + 1))
            check(world)


def test_flushes_of_a_stage_never_overlap() -> None:
    """Whoever waits for a running flush must ask again: two at once commit past rows that are not stored."""

    async def live() -> None:
        world = World(make_log(random.Random(5), 400))
        lease, running = Lease("t", 0, None), 0
        most = 0

        async def commit(commits: Mapping[Lease, Checkpoint]) -> set[Lease]:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1
            return set(commits)

        options = StageOptions(
            name="s",
            table="raw",
            dead_letter_topic="dlq",
            flush_rows=20,
            flush_seconds=0.01,
            behind_flush_seconds=0.01,
            lateness_ms=5_000,
        )
        stage = Stage(options, commit, FakeSink(world), FakeProducer(world), FakeRollup(world))

        async def feed() -> None:
            for at in range(0, 400, 10):
                await stage.accept(*block_of(world.log[at : at + 10], lease))

        await asyncio.gather(feed(), stage._drain(), stage._drain(), stage._drain())
        await stage.stop()
        assert most == 1
        assert pl.concat(world.stored)["offset"].to_list() == list(range(400))

    asyncio.run(live())
