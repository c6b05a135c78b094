"""Messages of many readings, tried against crashes at every step: they are cut, named and replayed whole."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engine import checkpoint, outcome
from streams.engine.block import Block
from streams.engine.checkpoint import Checkpoint, from_commit, to_commit
from streams.engine.dead_letters import DeadLetter, Extract
from streams.engine.fetch import Lease
from streams.engine.kept import Kept, kept_of
from streams.engine.outcome import Doubtful, Outcome, Points
from streams.engine.producer import Record
from streams.engine.stage import Stage, StageOptions
from streams.engine.watermark import Int64s
from tests.property.test_stage_crashes import (
    BASE,
    MINUTE,
    NONE,
    CrashError,
    FakeMessage,
    FakeProducer,
    FakeRollup,
    FakeSink,
    World,
    expected_windows,
)

Place = tuple[int, int]
"""Offset, and place within the message."""

A_THIRD = (pl.col("offset") * 7 + pl.col("series") + pl.col("ts") // 1_000) % 3

READ = ["offset", "series", "ts", "value", "append_ts"]
SCHEMA = {
    "offset": pl.Int64,
    "place": pl.Int64,
    "series": pl.Int32,
    "ts": pl.Int64,
    "value": pl.Float64,
    "append_ts": pl.Int64,
}


@dataclass
class PackedWorld(World):
    """``log`` has a row a reading; ``messages`` counts messages, of which some have no reading."""

    messages: int = 0
    blocks: dict[str, pl.DataFrame] = field(default_factory=dict)
    refused_places: set[Place] = field(default_factory=set)
    refuses: Callable[[int], pl.Expr] = lambda context: A_THIRD.eq(context % 3)


class PackedSink(FakeSink):
    """Holds every row of a block against those that the same token named before."""

    def insert(self, table: str, rows: pl.DataFrame, token: str) -> None:
        known = self.world.blocks.setdefault(token, rows)  # type: ignore[attr-defined]
        assert known.equals(rows), "the same token named two different blocks"
        super().insert(table, rows, token)


class PackedProducer(FakeProducer):
    """Notes which reading of a message was refused."""

    def write(self, records: list[Record]) -> None:  # type: ignore[override]
        super().write(records)
        for headers in (dict(record.headers) for record in records if record.topic == "dlq"):
            self.world.refused_places.add((int(headers["offset"]), int(headers["position"]) - 1))  # type: ignore[attr-defined]


def make_world(rng: random.Random, messages: int) -> PackedWorld:
    """Messages of none to twelve readings; identities come again in others and in the same one."""
    rows, clock, at_once = [], 0, rng.choice([1, 5, 50])
    for offset in range(messages):
        for place in range(rng.choice([0, 1, 1, 2, 5, 12])):
            clock += 400
            ts = BASE + clock - (rng.choice([0, 0, 0, 1_000, 4_000, 30_000, 200_000]) if offset else 0)
            value, append_ts = float(rng.randrange(100)), BASE + 3_600_000 + offset // at_once
            rows.append((offset, place, rng.randrange(3), ts // 1000 * 1000, value, append_ts))
    return PackedWorld(pl.DataFrame(rows, schema=SCHEMA, orient="row"), messages=messages)


def block_of(world: PackedWorld, begin: int, end: int, lease: Lease) -> tuple[Block, Outcome]:
    """The messages from ``begin`` to ``end``; in context 0 nothing is refused, in others what the world says.

    As the stage of the readings does, it stores the last of equal identities in a message, and gives windows all.
    """
    part, context = world.log.filter(pl.col("offset").is_between(begin, end - 1)), world.judge(begin)
    refuses = world.refuses(context) if context else pl.lit(False)
    kept, refused = part.filter(~refuses), part.filter(refuses)
    offsets, append = kept["offset"].to_numpy(), kept["append_ts"].to_numpy()
    stored = last_only(kept)
    message = FakeMessage(end - 1)
    block = Block(lease, kept, offsets, append, offsets, [message], [], begin, end, 0)  # type: ignore[list-item]
    letters = [
        DeadLetter(FakeMessage(at), "no", "no", "s", extract=Extract(b"", place + 1))  # type: ignore[arg-type]
        for at, place in refused.select("offset", "place").iter_rows()
    ]
    doubtful = Doubtful(refused["offset"].to_numpy(), refused["ts"].to_numpy())
    points = Points(kept.drop("place"), offsets, append)
    places = stored["place"].to_numpy()
    return block, Outcome(stored, stored["offset"].to_numpy(), points, letters, doubtful, places=places)


def last_only(readings: pl.DataFrame) -> pl.DataFrame:
    """Without what a later reading of the same message repeats."""
    return readings.unique(["offset", "series", "ts"], keep="last", maintain_order=True)


def run_worker(world: PackedWorld, rng: random.Random) -> bool:
    """One life of a worker; True when it got to the end of the log."""

    async def live() -> None:
        committed = from_commit(*world.commit)
        lease = Lease("t", 0, committed)

        async def commit(commits: Mapping[Lease, Checkpoint]) -> set[Lease]:
            crash = world.step()
            made = to_commit("t", 0, commits[lease])
            world.commit = (made.offset, made.metadata)
            if crash:
                raise CrashError
            return {lease}

        options = StageOptions("s", "raw", "dlq", rng.randint(1, 60), 30, 30, lateness_ms=5_000)
        running = Stage(options, commit, PackedSink(world), PackedProducer(world), FakeRollup(world))
        at = committed.replay if committed else 0
        while at < world.messages:
            end = min(world.messages, at + rng.randint(1, 12))
            await running.accept(*block_of(world, at, end, lease))
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


def check(world: PackedWorld) -> None:
    """Every reading is stored once or refused, and every window is what its stored readings say."""
    stored = pl.concat(world.stored).select("offset", "place")
    places = set(stored.iter_rows())
    everything = set(last_only(world.log).select("offset", "place").iter_rows())
    assert places <= everything
    assert places | world.refused_places >= everything, "a reading is neither stored nor refused"
    if not world.refused_places:
        assert len(stored) == len(places), "a reading is stored twice"
    held = pl.concat(world.stored).unique(["offset", "place"]).sort("offset", "place")
    got = {key: (count, total) for key, (_, count, total) in world.published.items()}
    assert got == expected_windows(held.select(READ))


def make_pairs(rng: random.Random, messages: int) -> PackedWorld:
    """Messages of two readings, of which every context but 0 refuses one: the number of rows never tells which."""
    rows = [
        (offset, place, place, BASE + offset * 3_000, float(rng.randrange(100)), BASE + 3_600_000 + offset)
        for offset in range(messages)
        for place in (0, 1)
    ]
    log = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    return PackedWorld(log, messages=messages, refuses=lambda context: pl.col("series").eq(context % 2))


def life(seed: int, contexts: bool, make: Callable[[random.Random, int], PackedWorld] = make_world) -> PackedWorld:
    """Up to six crashes; with ``contexts``, every life judges otherwise, and now and then within one."""
    rng = random.Random(seed)
    world = make(rng, 120)
    context = 0

    def judge(_: int) -> int:
        nonlocal context
        context += rng.random() < 0.05
        return context

    world.judge = judge if contexts else world.judge
    for _ in range(rng.randint(1, 6)):
        world.calls, world.crash_at, world.after_effect = 0, rng.randint(1, 40), rng.random() < 0.5
        context += contexts
        if run_worker(world, rng):
            break
    world.crash_at = -1
    assert run_worker(world, rng)
    return world


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), contexts=st.booleans())
def test_crashes_at_any_step_lose_and_double_no_reading_of_a_packed_message(seed: int, contexts: bool) -> None:
    check(life(seed, contexts))


def test_after_every_single_step_the_same_readings_are_inserted_under_the_same_token() -> None:
    for crash_at in range(1, 25):
        for after_effect in (False, True):
            rng = random.Random(crash_at)
            world = make_world(rng, 60)
            world.crash_at, world.after_effect = crash_at, after_effect
            run_worker(world, rng)
            world.crash_at = -1
            assert run_worker(world, rng)
            check(world)


def test_a_token_that_does_not_name_which_readings_of_a_message_were_kept_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def blind(offsets: Int64s, places: Int64s | None = None) -> Kept:
        return kept_of(offsets)

    for seed in range(10):
        check(life(seed, True, make_pairs))
    monkeypatch.setattr(outcome, "kept_of", blind)
    with pytest.raises(AssertionError):
        for seed in range(10):
            check(life(seed, True, make_pairs))


def test_as_many_readings_as_messages_do_not_pass_for_one_reading_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    two_and_none = kept_of(np.array([5, 5], dtype=np.int64), np.array([0, 1], dtype=np.int64))
    one_each = kept_of(np.array([5, 6], dtype=np.int64))
    tokens = {checkpoint.insert_token("s", "t", 0, 5, 7, each) for each in (two_and_none, one_each)}
    assert len(tokens) == 2
    assert checkpoint.insert_token("s", "t", 0, 5, 7, one_each) == "s:t:0:5-6"
