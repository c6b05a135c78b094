"""The commands in README.md and docs/ run as they stand there; those that take minutes, up to their --help."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.sender import Sender
from tests.stack_under_test import StackUnderTest
from tests.waiting import patient
from tests.world import World
from weir.cli.main import COMMANDS
from weir.verify.recompute import MINUTE_MS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)

OUTSIDE = {"make", "docker", "cp", "curl"}
"""What this test may not run: itself, a Docker engine, and what needs one."""

LONG = {("weir", each) for each in ("up", "down", "demo", "bench", "worker", "gateway", "load", "verify")}
"""What starts or stops servers, needs a worker, or takes minutes: its options are checked as far as --help allows."""

STATUS_WITHOUT_STACK = 3


class Written(NamedTuple):
    """A command line and the page it stands on."""

    page: str
    line: str

    @property
    def words(self) -> list[str]:
        """As a shell splits it."""
        return shlex.split(self.line)


def written() -> Iterator[Written]:
    """Every command of every block that is marked as shell."""
    for page in PAGES:
        for block in FENCE.findall(page.read_text(encoding="utf-8")):
            yield from (Written(page.name, line) for line in block.splitlines() if line and not line.startswith("#"))


WRITTEN = list(written())
QUICK = [each for each in WRITTEN if each.words[0] not in OUTSIDE and tuple(each.words[:2]) not in LONG]


@pytest.fixture(scope="module")
def sampled(stack: StackUnderTest) -> StackUnderTest:
    """The stack with tables, topics and the sample organisations under the default names."""
    migrated = run(["weir", "migrate", "--sample"], stack)
    assert migrated.returncode == 0, migrated.stderr
    return stack


def run(words: list[str], stack: StackUnderTest) -> subprocess.CompletedProcess[str]:
    """Run ``weir …`` or ``python …`` of this environment on the stack."""
    program = {"weir": [sys.executable, "-m", "weir"], "python": [sys.executable]}[words[0]]
    environment = stack.environment
    if stack.data_dir is not None:
        environment["WEIR_DATA_DIR"] = str(stack.data_dir)
    return subprocess.run(
        [*program, *words[1:]],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=patient(120),
        check=False,
    )


def test_the_pages_have_commands_of_every_kind() -> None:
    programs = {each.words[0] for each in WRITTEN}
    assert programs == OUTSIDE | {"weir", "python"}, "a program that this test does not know how to treat"
    told = {each.words[1] for each in WRITTEN if each.words[0] == "weir"}
    assert told >= {"up", "status", "query", "down", "migrate", "bench"}
    assert {each.line for each in WRITTEN if each.page == "README.md"} >= {"make demo", "make test"}


def test_the_makefile_has_what_the_pages_say() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {each.words[1] for each in WRITTEN if each.words[0] == "make"} <= targets


@pytest.mark.parametrize("command", QUICK, ids=[each.line[:50] for each in QUICK])
def test_a_quick_command_runs_as_it_is_written(command: Written, sampled: StackUnderTest) -> None:
    words = command.words
    if "--seconds" in words:
        words[words.index("--seconds") + 1] = "1"
    ended = run(words, sampled)
    allowed = {0}
    if words[:2] == ["weir", "status"] and sampled.data_dir is None:
        allowed = {STATUS_WITHOUT_STACK}
    assert ended.returncode in allowed, f"{command.page}: {command.line}\n{ended.stdout}\n{ended.stderr}"
    assert "Traceback" not in ended.stderr


LONG_ONES = [each for each in WRITTEN if tuple(each.words[:2]) in LONG]


@pytest.mark.parametrize("command", LONG_ONES, ids=[each.line[:50] for each in LONG_ONES])
def test_a_long_command_knows_the_options_it_is_written_with(command: Written, stack: StackUnderTest) -> None:
    words = command.words
    assert words[1] in COMMANDS
    names = [word for word in words if not word.startswith("-")]
    if words[1] == "bench":
        names = names[:3]
    helped = run([*(names if words[1] == "bench" else names[:2]), "--help"], stack)
    assert helped.returncode == 0, helped.stderr
    unknown = [word for word in words if word.startswith("--") and word not in helped.stdout]
    assert unknown == [], f"{command.page}: {command.line}"


def test_the_examples_send_a_reading_and_see_its_minute_and_its_correction(world: World) -> None:
    here = StackUnderTest(world.settings)
    device, sensor = "acme-esp32-001", "temperature"
    assert run(["weir", "migrate", "--sample"], here).returncode == 0
    world.start_worker()
    sent = run(["python", "examples/send_reading.py", device, sensor, "21.5"], here)
    assert sent.returncode == 0, sent.stderr
    topic = re.escape(world.settings.topics.readings)
    assert re.fullmatch(rf"acknowledged: {topic} partition \d offset 0\n", sent.stdout)
    value = "SELECT value FROM readings WHERE device_id = {device:String}"
    world.wait(lambda: world.query(value, device=device) == [(21.5,)], "the reading is stored")

    minute = (time.time_ns() // 1_000_000 // MINUTE_MS - 10) * MINUTE_MS
    counted = "SELECT max(count) FROM aggregates_1m WHERE window_start = fromUnixTimestamp64Milli({minute:Int64})"
    with Sender(world.settings) as sender:
        for number, measured in enumerate((20.0, 23.0), start=1):
            sender.reading(device, sensor, minute + number, measured)
            sender.flush()
            world.wait(lambda number=number: world.value(counted, minute=minute) == number, "the minute is there")  # type: ignore[misc]
    seen = run(["python", "examples/follow_aggregates.py", "--seconds", "5"], here)
    assert seen.returncode == 0, seen.stderr
    at = datetime.fromtimestamp(minute / 1000, UTC).strftime("%H:%M")
    lines = [line for line in seen.stdout.splitlines() if line.startswith(at)]
    assert lines == [
        f"{at} {device}/{sensor} count 1 avg 20.00 (new)",
        f"{at} {device}/{sensor} count 2 avg 21.50 (corrected)",
    ]
