"""Changes of the metadata reach a running worker, and a reading keeps the project it was measured in."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import psycopg
import pytest
from psycopg.types.json import Jsonb

from connectors.postgres.devices import register
from connectors.postgres.metadata import metadata_version
from tests.sender import Sender
from tests.stack_under_test import StackUnderTest
from tests.stored import dead_letters
from tests.waiting import patient
from tests.weir_command import weir
from tests.world import World, world_on

IN_FORCE_SECONDS = 2.0
QUICK = {"stream": {"lateness_seconds": 1.0, "idle_seconds": 1.0}}
PROJECTS = (
    "SELECT toString(sensor), toUnixTimestamp64Milli(ts), toString(project_id) FROM readings WHERE device_id = 'd'"
)
WINDOWS = (
    "SELECT toString(sensor), toUnixTimestamp64Milli(window_start), toString(project_id) FROM aggregates_1m "
    "WHERE device_id = 'd'"
)


@pytest.fixture(scope="module")
def shared(stack: StackUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with a running worker, for all tests of this file."""
    with world_on(stack, tmp_path_factory.mktemp("metadata"), QUICK) as world:
        world.start_worker()
        yield world


def sensors(*devices: str) -> pl.DataFrame:
    return pl.DataFrame({"device_id": list(devices), "sensor": ["t"] * len(devices)})


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def move(world: World, device: str, project: str, at_ms: int) -> None:
    """End the project the device is in and begin another at that time; the project is made when it is missing."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    with psycopg.connect(world.dsn) as conn:
        conn.execute(
            "INSERT INTO entities (entity_type, key, organisation_id) "
            "SELECT 'project', %s, organisation_id FROM entities WHERE key = %s AND kind = 'device' "
            "ON CONFLICT DO NOTHING",
            [project, device],
        )
        conn.execute(
            "UPDATE relationships r SET valid_to = %s FROM entities d WHERE d.id = r.to_entity AND d.key = %s "
            "AND r.relationship_type = 'contains' AND r.valid_to IS NULL",
            [at, device],
        )
        conn.execute(
            "INSERT INTO relationships (from_entity, to_entity, relationship_type, valid_from, organisation_id) "
            "SELECT p.id, d.id, 'contains', %s, d.organisation_id FROM entities p, entities d "
            "WHERE p.entity_type = 'project' AND p.key = %s AND d.kind = 'device' AND d.key = %s",
            [at, project, device],
        )


def stored(world: World, device: str) -> int:
    return int(world.value("SELECT count() FROM readings WHERE device_id = {d:String}", d=device))


def refused_devices(world: World) -> set[bytes | None]:
    return {letter.key for letter in dead_letters(world.settings)}


def test_a_change_is_in_force_within_two_seconds(shared: World) -> None:
    register(shared.dsn, "acme", None, sensors("prompt"))
    took = []
    for number in range(8):
        with psycopg.connect(shared.dsn, autocommit=True) as conn:
            conn.execute("UPDATE entities SET name = %s WHERE key = 'prompt'", [str(number)])
        began = time.monotonic()
        words = f"metadata version {metadata_version(shared.dsn)} is in force"
        shared.wait(lambda words=words: words in shared.workers[0].log, words)  # type: ignore[misc]
        took.append(time.monotonic() - began)
    print(f"in force after {min(took):.3f} to {max(took):.3f} s")
    assert statistics.median(took) < IN_FORCE_SECONDS
    assert max(took) < patient(IN_FORCE_SECONDS)


def test_dead_letters_of_a_new_device_can_be_replayed_right_after_it_is_created(shared: World) -> None:
    with Sender(shared.settings) as sender:
        sender.reading("late-comer", "t", now_ms(), 1.0)
        sender.flush()
        shared.wait(lambda: b"late-comer" in refused_devices(shared), "it is refused")
        register(shared.dsn, "acme", None, sensors("late-comer"))
        assert weir(shared.environment, "dlq", "replay", "--device", "late-comer", "--yes").code == 0
    shared.wait(lambda: stored(shared, "late-comer") == 1, "the replayed reading is stored")


def test_a_device_that_moved_keeps_its_old_project_for_old_readings_also_when_all_is_replayed(
    stack: StackUnderTest, tmp_path: Path
) -> None:
    with world_on(stack, tmp_path / "first", QUICK) as first:
        first.start_worker()
        before, after, moved_at = labelled_by_event_time(first)
        # the replay reads the metadata of the first world
        with world_on(stack, tmp_path / "replay", {**QUICK, "postgres": {"dsn": first.dsn}}) as replay:
            replay.start_worker()
            labelled_the_same(replay, before, after, moved_at)


def labelled_by_event_time(world: World) -> tuple[list[int], list[int], int]:
    """Send readings around a move of device d, some before Weir knows of it; gives their times and that of the move."""
    register(world.dsn, "acme", "old", sensors("d"))
    minute = now_ms() // 60_000 * 60_000
    moved_at = minute - 270_000  # in the middle of a minute
    before, after = [moved_at - 90_000, moved_at - 1], [moved_at, moved_at + 90_000]
    with Sender(world.settings) as sender:
        for ts in (before[0], after[0]):
            sender.reading("d", "t", ts, 1.0)
        sender.flush()
        world.wait(lambda: stored(world, "d") == 2, "readings before the move was known")
        move(world, "d", "new", moved_at)
        words = f"metadata version {metadata_version(world.dsn)} is in force"
        world.wait(lambda: words in world.workers[0].log, words)
        for ts in (before[1], after[1]):
            sender.reading("d", "t", ts, 2.0)
        sender.flush()
        world.wait(lambda: stored(world, "d") == 4, "readings after the move was known")
    # what came before Weir was told of the move has the project that Weir knew of
    assert sorted(world.query(PROJECTS)) == [
        ("t", before[0], "old"),
        ("t", before[1], "old"),
        ("t", after[0], "old"),
        ("t", after[1], "new"),
    ]
    return before, after, moved_at


def labelled_the_same(replay: World, before: list[int], after: list[int], moved_at: int) -> None:
    """Send the same readings to a Weir that knew of the move all along."""
    with Sender(replay.settings) as sender:
        for ts in (*before, *after):
            sender.reading("d", "t", ts, 3.0)
        sender.flush()
        replay.wait(lambda: stored(replay, "d") == 4, "the same readings in a replay")
    assert sorted(replay.query(PROJECTS)) == [*(("t", ts, "old") for ts in before), *(("t", ts, "new") for ts in after)]
    starts = sorted({ts // 60_000 * 60_000 for ts in (*before, *after)})
    replay.wait(lambda: len(replay.query(WINDOWS)) == len(starts), "its minutes are closed", 60.0)
    # the minute of the move is told under the project of its last reading
    expected = [("t", start, "old" if start < moved_at // 60_000 * 60_000 else "new") for start in starts]
    assert sorted(replay.query(WINDOWS)) == expected


def test_unknown_devices_are_taken_in_where_their_organisation_says_so_up_to_its_limit(shared: World) -> None:
    register(shared.dsn, "nursery", None, sensors("nursery-known"))
    policy = {"unknown_devices": {"policy": "register", "prefix": "nursery-", "most": 2}}
    with psycopg.connect(shared.dsn) as conn:
        conn.execute(
            "UPDATE entities SET properties = properties || %s WHERE entity_type = 'organisation' AND key = 'nursery'",
            [Jsonb(policy)],
        )
        conn.execute("UPDATE entities SET is_active = false WHERE key = 'nursery-known'")
    words = f"metadata version {metadata_version(shared.dsn)} is in force"
    shared.wait(lambda: words in shared.workers[0].log, words)
    with Sender(shared.settings) as sender:
        sender.reading("nursery-a", "t", now_ms(), 1.0)
        sender.reading("nursery-a", "Door State!", now_ms(), None, str_value="open")
        sender.reading("nursery-known", "t", now_ms(), 1.0)
        sender.reading("elsewhere-a", "t", now_ms(), 1.0)
        sender.flush()
        shared.wait(lambda: stored(shared, "nursery-a") == 2, "the newcomer's readings are stored")
        sender.reading("nursery-b", "t", now_ms(), 1.0)
        sender.flush()
        shared.wait(lambda: stored(shared, "nursery-b") == 1, "the second one's too")
        sender.reading("nursery-c", "t", now_ms(), 1.0)
        sender.reading("nursery-a", "humidity", now_ms(), 1.0)
        sender.flush()
        shared.wait(lambda: stored(shared, "nursery-a") == 3, "a new sensor of a pending device")
    shared.wait(lambda: b"nursery-c" in refused_devices(shared), "one too many is a dead letter")
    assert {b"nursery-known", b"elsewhere-a"} <= refused_devices(shared)
    assert not {b"nursery-a", b"nursery-b"} & refused_devices(shared)
    with psycopg.connect(shared.dsn) as conn:
        found = conn.execute("SELECT id, organisation_id, status FROM devices WHERE id LIKE 'nursery-%' AND is_active")
        assert sorted(found.fetchall()) == [("nursery-a", "nursery", "pending"), ("nursery-b", "nursery", "pending")]
    assert stored(shared, "nursery-known") == 0
