"""The order of a stage, tried against crashes at every step: a simulated log, sink and broker around the real stage.

Servers are doubles here because a crash *between* two calls to them is what is injected; real workers are killed
against real servers in tests/integration.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engine import stage
from streams.engine.block import Block
from streams.engine.checkpoint import Checkpoint, from_commit, insert_token, to_commit
from streams.engine.dead_letters import DeadLetter
from streams.engine.fetch import Lease
from streams.engine.outcome import Doubtful, Outcome, Points
from streams.engine.partition_state import PartitionState
from streams.engine.producer import AcknowledgedProducer, Record
from streams.engine.recount import Recount
from streams.engine.reduce import reduce_points
from streams.engine.stage import Closing, Stage, StageOptions

MINUTE = 60_000
BASE = 28_000_000 * MINUTE
NONE = np.empty(0, dtype=np.int64)


class CrashError(Exception):
    """kill -9, as far as the stage can tell."""


def judged_once(offset: int) -> int:
    """Every life judges as those before."""
    return 0


@dataclass
class World:
    """What outlives a crash: the log, the committed offset, the sink, the aggregate topic."""

    log: pl.DataFrame  # offset, series, ts, value, append_ts
    commit: tuple[int, str | None] = (-1001, None)
    tokens: dict[str, tuple[int, int]] = field(default_factory=dict)
    stored: list[pl.DataFrame] = field(default_factory=list)
    published: dict[tuple[int, int], tuple[int, int, float]] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    judge: Callable[[int], int] = judged_once
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
            if record.topic == "dlq":
                self.world.refused.add(int(dict(record.headers)["offset"]))
                continue
            *numbers, total = (record.key or b"").split(b",")
            series, start, revision, count = map(int, numbers)
            row = (revision, count, float(total))
            known = self.world.published.setdefault((series, start), row)
            if self.world.judge is judged_once and known[0] == revision:
                assert known == row, "equal revisions of two different rows"
            if known[0] <= revision:
                self.world.published[series, start] = row
        if crash:
            raise CrashError


class FakeRollup:
    size_ms = MINUTE

    def __init__(self, world: World) -> None:
        self.world = world

    def close(self, start: int, points: pl.DataFrame) -> Closing:
        return Closing(reduce_points(points).rows.with_columns(start=pl.lit(start)), pl.DataFrame())

    def close_stored(self, start: int, points: pl.DataFrame | None, partition: int) -> Closing:
        rows = pl.concat(self.world.stored).filter(pl.col("ts") // MINUTE * MINUTE == start)
        return self.close(start, rows.sort("offset")) if len(rows) else Closing(pl.DataFrame(), pl.DataFrame())

    def recompute(self, late: pl.DataFrame, since: int) -> Closing:
        everything = pl.concat(self.world.stored).sort("offset").with_columns(start=pl.col("ts") // MINUTE * MINUTE)
        frames = [
            self.close(start, everything.filter(pl.col("series").eq(series) & pl.col("start").eq(start))).rows
            for series, start in late.select("series", "start").iter_rows()
        ]
        return Closing(pl.concat(frames), pl.DataFrame())

    def records(self, rows: pl.DataFrame, partition: int) -> list[Record]:
        if not len(rows):
            return []
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
        running = Stage(options, commit, FakeSink(world), FakeProducer(world), FakeRollup(world))
        at = checkpoint.replay if checkpoint else 0
        while at < len(world.log):
            end = min(len(world.log), at + rng.randint(1, 30))
            await running.accept(*block_of(world.log[at:end], lease, world.judge(at)))
            at = end
        silent = Block(lease, world.log.clear(), NONE, NONE, NONE, [], [], -1, -1, 0)
        await running.stop()
        await running.silent(silent, BASE + 10_000 * MINUTE)
        await running.stop()

    try:
        asyncio.run(live())
    except CrashError:
        return False
    return True


class FakeMessage(NamedTuple):
    """What the stage asks of a message that it refuses."""

    at: int

    def offset(self) -> int:
        return self.at

    def timestamp(self) -> tuple[int, int]:
        return 2, BASE

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return 0

    def key(self) -> None: ...

    def value(self) -> None: ...

    def headers(self) -> None: ...


def block_of(part: pl.DataFrame, lease: Lease, context: int = 0) -> tuple[Block, Outcome]:
    """A block, judged in ``context``: 0 refuses nothing, every other a third of the records, each another third."""
    first, end = int(part["offset"][0]), int(part["offset"][-1]) + 1
    refused = part.filter(pl.col("offset") * 7 % 5 % 3 == context % 3) if context else part.clear()
    kept = part.join(refused, on="offset", how="anti", maintain_order="left")
    offsets, append = kept["offset"].to_numpy(), kept["append_ts"].to_numpy()
    block = Block(lease, kept, offsets, append, offsets, [FakeMessage(end - 1)], [], first, end, 0)  # type: ignore[list-item]
    points = Points(kept, offsets, append)
    doubtful = Doubtful(refused["offset"].to_numpy(), refused["ts"].to_numpy())
    letters = [DeadLetter(FakeMessage(at), "no", "no", "s") for at in refused["offset"]]  # type: ignore[arg-type]
    return block, Outcome(kept, offsets, points, letters, doubtful)


def make_log(rng: random.Random, rows: int) -> pl.DataFrame:
    """Readings of three series, 1 a second each, with disorder beyond the lateness, resends and conflicts.

    The broker takes up to 50 of them in one millisecond.
    """
    log, at_once = [], rng.choice([1, 5, 50])
    for offset in range(rows):
        ts = BASE + offset * 400 - (rng.choice([0, 0, 0, 1_000, 4_000, 30_000, 200_000]) if offset else 0)
        append_ts = BASE + 3_600_000 + offset // at_once
        log.append((offset, rng.randrange(3), ts // 1000 * 1000, float(rng.randrange(100)), append_ts))
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


def check_what_was_judged_anew(world: World) -> None:
    """Nothing is nowhere, and every window is what its stored rows say."""
    stored = pl.concat(world.stored).unique("offset")
    assert set(stored["offset"]) | world.refused == set(range(len(world.log))), "a record is neither stored nor refused"
    got = {key: (count, total) for key, (_, count, total) in world.published.items()}
    assert got == expected_windows(stored.sort("offset"))


def life_of_judgements(seed: int) -> World:
    """Crashes, with another judgement in every life and now and then within one."""
    rng = random.Random(seed)
    world = World(make_log(rng, 600))
    context = 0

    def judge(_: int) -> int:
        nonlocal context
        context += rng.random() < 0.02
        return context

    world.judge = judge
    for _ in range(rng.randint(1, 6)):
        world.calls, world.crash_at, world.after_effect = 0, rng.randint(1, 40), rng.random() < 0.5
        context += 1
        if run_worker(world, rng):
            break
    world.crash_at = -1
    assert run_worker(world, rng)
    return world


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_judgement_that_changes_across_crashes_loses_nothing_and_windows_say_what_is_stored(seed: int) -> None:
    check_what_was_judged_anew(life_of_judgements(seed))


def test_what_is_flushed_and_corrected_in_pieces_loses_and_doubles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "CORRECTED_WINDOWS", 2)
    whole = PartitionState.take
    monkeypatch.setattr(PartitionState, "take", lambda state, _=None: whole(state, 25))
    for crash_at in range(1, 25):
        rng = random.Random(crash_at)
        world = World(make_log(rng, 300), crash_at=crash_at, after_effect=crash_at % 2 == 0)
        run_worker(world, rng)
        world.crash_at = -1
        assert run_worker(world, rng)
        check(world)
    check_what_was_judged_anew(life_of_judgements(1))


def test_trusting_points_that_were_judged_anew_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recount, "differs", False)
    with pytest.raises(AssertionError):
        for seed in range(30):
            check_what_was_judged_anew(life_of_judgements(seed))


def test_a_token_that_does_not_name_what_was_kept_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "insert_token", lambda *ends: insert_token(*ends[:5]))
    with pytest.raises(AssertionError):
        for seed in range(30):
            check_what_was_judged_anew(life_of_judgements(seed))


def test_inserting_before_the_plan_is_committed_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The positive control: with the order of section 4 broken, the same crashes double rows."""

    async def wrong_order(self: Stage, taken: list) -> None:  # type: ignore[type-arg]
        await self._insert_all(taken)
        self._tell([(state, pending, state.close(pending.watermark)) for state, pending in taken])
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
