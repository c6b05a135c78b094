"""``weir bench all`` as a person runs it, quick: it measures, writes the page, and an interruption loses nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sinks.clickhouse.client import connect
from tests.stack_under_test import StackUnderTest, embedded_stack, plain_environment
from tests.waiting import patient
from tests.weir_command import weir


@pytest.fixture(scope="module")
def testbed(stack: StackUnderTest) -> Iterator[StackUnderTest]:
    """An embedded stack without workers: the one of all tests, if it is embedded."""
    if stack.data_dir is not None:
        yield stack
        return
    with embedded_stack() as own:
        yield own


def test_a_quick_run_writes_result_page_and_an_interrupted_one_keeps_them(
    testbed: StackUnderTest, tmp_path: Path
) -> None:
    where = ("--quick", "--only", "pipeline", "--into", str(tmp_path), "--data-dir", str(testbed.data_dir))
    ended = weir(plain_environment(), "bench", "all", *where, seconds=240)
    assert ended.code == 0, ended.err
    assert "1 benchmark, about 25 s" in ended.err
    assert "1 of 1: pipeline" in ended.err
    kept = (tmp_path / "performance" / "results.json").read_text()
    entry = json.loads(kept)["benchmarks"]["pipeline"]
    assert entry["command"] == "weir bench pipeline --readings 20000"
    assert entry["result"]["parameters"]["readings"] == 20_000
    assert entry["result"]["stored"] == [19_800]
    page = (tmp_path / "performance.md").read_text()
    assert f"| readings/s | {entry['result']['readings_per_second']:,.0f} |" in page

    command = [sys.executable, "-m", "weir", "bench", "all", *where]
    with subprocess.Popen(command, env=plain_environment(), stderr=subprocess.PIPE, text=True) as again:
        assert again.stderr is not None
        said = ""
        for line in again.stderr:
            said += line
            if "migrating" in line:
                again.terminate()
        assert again.wait(timeout=patient(60)) == 130, said
    assert "Interrupted: what was measured is kept." in said
    assert (tmp_path / "performance" / "results.json").read_text() == kept
    client = connect(testbed.settings.clickhouse, database=False)
    assert "bench" not in str(client.command("SHOW DATABASES")), "the benchmark was ended before its namespace was"
    client.close()
