"""``weir demo`` as a person types it, on a stack of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.free_ports import free_block
from tests.waiting import patient
from weir.demo.bad_records import KINDS
from weir.stack.state import is_locked

DEVICES = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def demo(folder: Path) -> subprocess.CompletedProcess[str]:
    """One short demo that starts its stack and takes it down; it ends when the minute is over and closed."""
    inherited = {name: value for name, value in os.environ.items() if name != "WEIR_CONFIG"}
    where = ("--data-dir", str(folder), "--port-base", str(free_block()))
    arguments = (sys.executable, "-m", "weir", "demo", "--minutes", "0.3", "--devices", str(DEVICES), "--json", *where)
    return subprocess.run(arguments, capture_output=True, text=True, timeout=patient(200), env=inherited, check=False)


@pytest.fixture(scope="module")
def told(demo: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert demo.returncode == 0, demo.stdout + demo.stderr
    result: dict[str, Any] = json.loads(demo.stdout)
    return result


def test_nothing_is_lost_doubled_or_different(told: dict[str, Any]) -> None:
    assert told["ok"] is True
    assert told["problems"] == []
    assert told["parity"]["differences"] == 0


def test_the_view_has_as_many_rows_as_identities_were_acknowledged(told: dict[str, Any]) -> None:
    sent = told["sent"]
    once = sum(count for kind, count in sent.items() if kind not in ("bad", "resend", "other value"))
    assert told["rows"]["readings"] == told["parity"]["readings"] == once
    assert once > DEVICES * 4 * 2 * 10


def test_every_kind_of_bad_record_is_refused_at_the_door_or_a_dead_letter_with_its_reason(told: dict[str, Any]) -> None:
    letters, refused = told["rows"]["dead_letters"], told["refused_by_gateway"]
    assert sum(letters.values()) == told["sent"]["bad"] == told["parity"]["dead_letters"]
    at_the_door = sum(each["records"] for each in refused)
    assert at_the_door + told["sent"]["bad"] > len(KINDS)  # 18 seconds, one a second, and one kind is a pair
    assert {"undecodable", "unknown_schema_id", "wrong_schema", "trailing_bytes", "out_of_bounds"} <= letters.keys()
    codes = {each["kind"]: each["error_code"] for each in refused}
    assert codes["unknown device"] == 40301
    kinds = ("not a number", "from 1970", "from 2099", "no value", "broken JSON", "empty")
    assert {codes[kind] for kind in kinds} == {42203}


def test_the_key_that_it_posts_with_is_shown_nowhere(demo: subprocess.CompletedProcess[str]) -> None:
    assert re.search(r"wr_\w{12}_", demo.stdout + demo.stderr) is None


def test_the_last_minute_is_closed_and_has_this_machine_in_it(told: dict[str, Any]) -> None:
    assert told["parity"]["windows_1m"] >= DEVICES * 4 + len(told["this_machine"])
    cpu = next(minute for minute in told["this_machine"] if minute["sensor"] == "cpu")
    assert 0 <= cpu["min"] <= cpu["avg"] <= cpu["max"] <= 100
    assert cpu["count"] > 4


def test_latency_was_measured(told: dict[str, Any]) -> None:
    assert told["latency"]["probes"] >= 3
    assert 0 < told["latency"]["p50_seconds"] <= told["latency"]["p95_seconds"] < patient(30)


def test_the_stack_that_it_started_is_down_and_its_data_stays(told: dict[str, Any], folder: Path) -> None:
    assert not is_locked(folder)
    assert (folder / "clickhouse").is_dir()


def test_it_says_what_to_type_next(demo: subprocess.CompletedProcess[str], folder: Path) -> None:
    for command in (f"weir up --detach --data-dir {folder}", "weir query", f"weir down --data-dir {folder}"):
        assert command in demo.stderr
