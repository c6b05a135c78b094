"""A load and its comparison on a real worker: clean when nothing is wrong, and loud for every fault put in."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sinks.clickhouse.client import connect
from tests.stack_under_test import StackUnderTest
from tests.waiting import patient, wait_until
from tests.weir_command import Ended, weir
from tests.world import World, world_on
from weir.load.load import Load, register_fleet
from weir.load.plan import LoadPlan
from weir.verify.ledger import ACKNOWLEDGED, UNKNOWN, read_ledgers
from weir.verify.verification import Patience, verify

EVERYTHING = "--disorder 0.05 --resends 0.02 --conflicts 0.01 --late 0.02 --late-minutes 90 --texts 0.01 --bad 0.01"


class Loaded(NamedTuple):
    """A world with a load in it, its ledger, and what the comparison said when all was stored."""

    world: World
    ledger: Path
    compared: Ended


@pytest.fixture(scope="module")
def loaded(stack: StackUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    """Five thousand readings of an hour, with every fault, and a worker that has them all."""
    folder = tmp_path_factory.mktemp("loaded")
    with world_on(stack, folder) as world:
        world.start_worker()
        ledger = folder / "run.ledger"
        begin = datetime.fromtimestamp(time.time() // 3_600 * 3_600 - 2 * 3_600, UTC)
        pace = f"--readings 5000 --rate 2500 --speed 1800 --devices 7 --begin {begin:%Y-%m-%dT%H:%M}".split()
        ended = weir(world.environment, "load", "--ledger", str(ledger), "--json", *pace, *EVERYTHING.split())
        assert ended.code == 0, ended.err
        told = ended.json()
        assert told["acknowledged"] == told["sent"] > 5_000
        compared = verified(world, ledger, "--wait", "90", "--closed")
        hours = lambda: verified(world, ledger).json()["aggregates_1h"]["open"] == 0  # noqa: E731
        world.wait(hours, "its hours are closed, seconds after its minutes", 60.0)
        assert compared.code == 0, compared.out
        yield Loaded(world, ledger, verified(world, ledger, "--wait", "90", "--closed"))


def verified(world: World, ledger: Path, *arguments: str) -> Ended:
    return weir(world.environment, "verify", str(ledger), "--json", *arguments, seconds=120)


def faults(told: dict[str, Any]) -> dict[str, dict[str, int]]:
    """By table, the faults that were found."""
    names = ("lost", "doubled", "phantom", "different")
    tables = ("readings", "aggregates_1m", "aggregates_1h", "dead_letters")
    found = {table: {name: told[table][name] for name in names if told[table][name]} for table in tables}
    return {table: counts for table, counts in found.items() if counts}


def test_a_load_with_everything_on_is_stored_as_it_was_acknowledged(loaded: Loaded) -> None:
    ended = loaded.compared
    told = ended.json()
    assert (ended.code, told["equal"], told["differences"]) == (0, True, []), ended.out
    assert told["aggregates_1m"]["compared"] > 1_000
    assert told["aggregates_1m"]["open"] == 0
    assert told["aggregates_1h"]["compared"] > 50
    assert told["dead_letters"]["expected"] > 30
    assert told["readings"]["conflicts"] > 20
    assert told["readings"]["distinct"] == loaded.world.value("SELECT count() FROM readings")
    assert told["unfinished_sessions"] == 0


ONE = "(device_id, sensor, ts) IN (SELECT device_id, sensor, ts FROM readings ORDER BY device_id, ts LIMIT 1)"
KEEP = (
    f"CREATE TABLE kept ENGINE = MergeTree ORDER BY tuple() AS SELECT * FROM raw_readings FINAL WHERE {ONE}",
    "CREATE TABLE kept_minute ENGINE = MergeTree ORDER BY tuple() AS"
    " SELECT * FROM agg_1m FINAL ORDER BY device_id, window_start LIMIT 1",
)
RAW = "INSERT INTO raw_readings SELECT * REPLACE (offset + 1000000 AS offset, {}) FROM kept"
MINUTE = "INSERT INTO agg_1m SELECT * REPLACE (revision + 1 AS revision, sum + 1 AS sum) FROM kept_minute"
MEND = (
    "ALTER TABLE raw_readings DELETE WHERE offset >= 1000000"
    " OR (device_id, sensor, ts) IN (SELECT device_id, sensor, ts FROM kept) SETTINGS mutations_sync = 2",
    "ALTER TABLE agg_1m DELETE WHERE (device_id, sensor, window_start) IN"
    " (SELECT device_id, sensor, window_start FROM kept_minute) SETTINGS mutations_sync = 2",
    "INSERT INTO raw_readings SETTINGS insert_deduplicate = 0 SELECT * FROM kept",
    "INSERT INTO agg_1m SETTINGS insert_deduplicate = 0 SELECT * FROM kept_minute",
    "DROP TABLE kept",
    "DROP TABLE kept_minute",
)


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (f"ALTER TABLE raw_readings DELETE WHERE {ONE} SETTINGS mutations_sync = 2", {"readings": {"lost": 1}}),
        (RAW.format("ts + toIntervalMillisecond(1) AS ts"), {"readings": {"phantom": 1}}),
        (RAW.format("value + 1 AS value"), {"readings": {"different": 1}}),
        (MINUTE, {"aggregates_1m": {"different": 2}}),
    ],
    ids=["deleted", "phantom", "changed", "aggregate"],
)
def test_a_fault_put_in_is_found_and_named(loaded: Loaded, spoil: str, found: dict[str, dict[str, int]]) -> None:
    client = connect(loaded.world.settings.clickhouse)
    try:
        for statement in (*KEEP, spoil):
            client.command(statement)
        report = verify(loaded.world.settings, read_ledgers([loaded.ledger]), Patience(), print)
        for statement in MEND:
            client.command(statement)
    finally:
        client.close()
    assert (report.equal, faults(report.to_dict(0))) == (False, found), report.differences


def test_a_difference_is_told_to_a_person_in_words(loaded: Loaded) -> None:
    text = loaded.ledger.read_text()
    spoilt = loaded.ledger.with_name("spoilt.ledger")
    spoilt.write_text(text.replace('"reasons":["', '"reasons":["made_up_', 1))
    ended = weir(loaded.world.environment, "verify", str(spoilt), "--rows", "1", seconds=120)
    assert ended.code == 1
    assert "reason should be made_up_" in ended.out


def test_a_killed_load_leaves_a_ledger_that_accounts_for_everything_stored(world: World, tmp_path: Path) -> None:
    world.start_worker()
    ledger = tmp_path / "killed.ledger"
    arguments = ["--rate", "3000", "--seconds", "60", "--devices", "20", *EVERYTHING.split()]
    command = [sys.executable, "-m", "weir", "load", "--ledger", str(ledger), *arguments]
    with subprocess.Popen(command, env=world.environment, stderr=subprocess.DEVNULL) as load:
        wait_until(
            lambda: ledger.exists() and ledger.read_bytes().count(b'"acknowledged"') > 50, "it has sent for a while"
        )
        load.send_signal(signal.SIGKILL)
    sent = read_ledgers([ledger])
    assert sent.count(ACKNOWLEDGED) > 100
    assert sent.unfinished == 1
    ended = verified(world, ledger, "--wait", "60")
    assert (ended.code, faults(ended.json())) == (0, {}), ended.out
    assert ended.json()["unfinished_sessions"] == 1


def test_ctrl_c_ends_a_load_with_a_complete_ledger(world: World, tmp_path: Path) -> None:
    ledger = tmp_path / "l"
    command = [sys.executable, "-m", "weir", "load", "--ledger", str(ledger), "--seconds", "60", "--json-values"]
    with subprocess.Popen(command, env=world.environment, stderr=subprocess.DEVNULL) as load:
        wait_until(lambda: ledger.exists() and b'"acknowledged"' in ledger.read_bytes(), "it has sent")
        load.send_signal(signal.SIGINT)
        assert load.wait(patient(30)) == 130
    sent = read_ledgers([ledger])
    assert (sent.count(UNKNOWN), sent.unfinished) == (0, 0)
    assert sent.count(ACKNOWLEDGED) == len(sent.ts) > 0
    again = weir(world.environment, "load", "--ledger", str(ledger))
    assert again.code == 2
    assert "--append" in again.sentence()
    elsewhere = weir(world.environment | {"WEIR_NAMESPACE": "elsewhere"}, "verify", str(ledger))
    assert elsewhere.code == 2
    assert "WEIR_NAMESPACE" in elsewhere.sentence()


def test_a_load_in_a_program_can_be_watched_and_stopped(world: World, tmp_path: Path) -> None:
    plan = LoadPlan("api", devices=10, rate=500.0, seconds=60.0)
    register_fleet(world.settings, plan, "acme")
    with Load(world.settings, plan, tmp_path / "l") as load:
        wait_until(lambda: load.acknowledged > 100, "readings are acknowledged")
    assert read_ledgers([tmp_path / "l"]).count(ACKNOWLEDGED) == load.acknowledged
