"""The cost table: which stage a stack belongs to, how a thread's CPU is divided, what the flame graph draws."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner

import bench.sampler
from bench import stage_table
from bench.flame import flame_svg
from bench.profile import Profile, attributed
from bench.sampler import Sampler, ThreadTimes, parsed
from bench.stage_table import STAGE_OF, STAGES, frame_of, stage_of, stage_of_frame, stage_of_thread
from bench.stages import STAGES as PARTS
from bench.stages import measure
from weir.cli.bench_profile import profile
from weir.errors import StackError

ROOT = Path(__file__).parents[2]
LOOP = ("_run_module_as_main (<frozen runpy>:198)", "BaseEventLoop._run_once (asyncio/base_events.py:1922)")
HOT = ("streams/engine", "streams/telemetry", "sinks/clickhouse/writer.py", "sinks/clickhouse/client.py")


def functions(file: str) -> set[str]:
    """Names of all functions of a file."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


def modules() -> list[str]:
    """Every module that the way of a reading goes through."""
    found = [path for name in HOT for path in ([ROOT / name] if name.endswith(".py") else (ROOT / name).glob("*.py"))]
    return sorted(str(path.relative_to(ROOT)) for path in found if path.name != "__init__.py")


@pytest.mark.parametrize("module", modules())
def test_every_module_of_the_hot_path_has_a_stage_of_its_own(module: str) -> None:
    assert module in STAGE_OF, f"bench/stage_table.py lacks {module}"


@pytest.mark.parametrize("file", [file for file in STAGE_OF if file.startswith(("streams/", "sinks/", "weir/"))])
def test_the_table_names_nothing_that_is_gone(file: str) -> None:
    assert (ROOT / file).exists()
    if file.endswith(".py"):
        assert {name for name in STAGE_OF[file] if name} <= functions(file)


def test_every_stage_of_the_table_is_told() -> None:
    named = {stage for stages in STAGE_OF.values() for stage in stages.values()}
    assert named | {stage for _, stage in stage_table.THREADS} <= set(STAGES)
    assert all("" in stages for stages in STAGE_OF.values())


@pytest.mark.parametrize(
    ("frame", "stage"),
    [
        ("Fetch.values (streams/engine/fetch.py:71)", stage_table.VALUES),
        ("split_by_partition (streams/engine/fetch.py:94)", stage_table.HAND_OVER),
        ("ActiveSeries.dims_at (streams/telemetry/series.py:62)", stage_table.DIMS),
        ("ActiveSeries.encode (streams/telemetry/series.py:40)", stage_table.CODES),
        ("ClickHouseWriter._dictionaries.<locals>.<listcomp> (sinks/clickhouse/writer.py:72)", stage_table.ARROW),
        ("ClickHouseWriter.insert (sinks/clickhouse/writer.py:56)", stage_table.INSERT),
        ("PartitionAlerts.judge (streams/telemetry/alerts/partition_alerts.py:48)", stage_table.ALERTS),
        ("Agent._execute_actor (faust/agents/agent.py:700)", stage_table.LOOP),
    ],
)
def test_a_frame_belongs_to_the_stage_of_its_function_else_of_its_file_else_of_its_folder(
    frame: str, stage: str
) -> None:
    found = frame_of(frame)
    assert found is not None
    assert stage_of_frame(found) == stage


def test_what_a_library_does_counts_for_who_called_it() -> None:
    caller = "BlockColumns.parse (streams/engine/avro_block.py:59)"
    assert stage_of((*LOOP, caller, "read_avro (polars/io/avro.py:60)")) == stage_table.DECODE
    assert stage_of((*LOOP, caller, "DataFrame.height (polars/dataframe/frame.py:1)")) == stage_table.DECODE


def test_a_thread_that_waits_counts_nothing_and_an_unknown_one_is_other() -> None:
    assert stage_of((*LOOP, "EpollSelector.select (selectors.py:468)")) is None
    assert stage_of(("Thread._bootstrap (threading.py:1002)", "_worker (concurrent/futures/thread.py:81)")) is None
    assert stage_of(("_worker (concurrent/futures/thread.py:81)", "futex_wait (libc.so.6)")) is None
    assert stage_of(("main (somewhere/else.py:1)",)) == stage_table.OTHER
    assert stage_of(()) == stage_table.OTHER


def test_a_collection_counts_for_itself_wherever_it_happens() -> None:
    stack = (*LOOP, "Fetch.values (streams/engine/fetch.py:71)", "gc_collect_main (libpython3.11.so.1.0)")
    assert stage_of(stack) == stage_table.GARBAGE


def test_threads_without_python_are_known_by_name() -> None:
    assert stage_of_thread("rdk:broker1") == stage_table.LIBRDKAFKA
    assert stage_of_thread("polars-0") == stage_table.POLARS
    assert stage_of_thread("jemalloc_bg_thd") == stage_table.OTHER


RAW = """\
thread (7): MainThread;outer (faust/a.py:1);Fetch.values (streams/engine/fetch.py:71) 3
thread (7): MainThread;outer (faust/a.py:1) 1
thread (8): asyncio_0;_worker (concurrent/futures/thread.py:81) 90
thread (8): asyncio_0;to_arrow_stream (sinks/clickhouse/writer.py:87) 2
"""


def test_a_thread_s_cpu_is_divided_by_its_own_samples_however_often_it_only_seemed_to_run() -> None:
    names = {7: "python", 8: "python", 9: "rdk:broker1"}
    before = ThreadTimes({7: 1.0, 8: 0.5}, names, 2.0)
    after = ThreadTimes({7: 5.0, 8: 0.75, 9: 1.5}, names, 8.0)
    seconds, unaccounted = attributed(parsed(RAW), before, after)
    told = {stage: used for stage, used in seconds.items() if used}
    assert told == {
        stage_table.VALUES: 3.0,
        stage_table.LOOP: 1.0,
        stage_table.ARROW: 0.25,
        stage_table.LIBRDKAFKA: 1.5,
        stage_table.OTHER: 0.25,
    }
    assert unaccounted == 0.25
    assert sum(seconds.values()) == after.process - before.process


def test_two_runs_count_as_one() -> None:
    once = Profile(1_000, 2.0, 3.0, 0.1, dict.fromkeys(STAGES, 0.0) | {stage_table.DECODE: 2.0}, parsed(RAW))
    both = once.and_(Profile(3_000, 2.0, 3.0, 0.1, dict.fromkeys(STAGES, 0.0) | {stage_table.CODES: 2.0}, parsed(RAW)))
    costs = {each.stage: (each.ns_per_reading, each.share) for each in both.stages}
    assert costs[stage_table.DECODE] == costs[stage_table.CODES] == (500_000.0, 0.5)
    assert both.cpu_seconds_per_million == 1_000.0
    assert both.samples == 2 * 96


def test_a_box_is_as_wide_as_its_share_of_the_samples_and_waiting_is_not_drawn() -> None:
    root = ET.fromstring(flame_svg(parsed(RAW), "a <worker>"))  # noqa: S314 - our own text
    svg = "{http://www.w3.org/2000/svg}"
    widths = {
        (box.findtext(f"{svg}title") or "").split(":")[0]: float(box.find(f"{svg}rect").get("width", "0"))  # type: ignore[union-attr]
        for box in root.iter(f"{svg}g")
    }
    assert widths == {
        "outer (faust/a.py": pytest.approx(1_600 * 4 / 6, abs=0.1),
        "Fetch.values (streams/engine/fetch.py": pytest.approx(1_600 * 3 / 6, abs=0.1),
        "to_arrow_stream (sinks/clickhouse/writer.py": pytest.approx(1_600 * 2 / 6, abs=0.1),
    }
    assert "a &lt;worker&gt;: 6 samples" in "".join(ET.tostring(root, encoding="unicode"))


BUSY = "import threading\ndef burn():\n    while True:\n        sum(range(1000))\nburn()\n"


def test_a_process_of_ours_is_looked_into_and_goes_on() -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY]) as process:
        try:
            time.sleep(0.5)  # until it is a Python process: py-spy does not wait for that
            with Sampler(process.pid) as sampler:
                time.sleep(1.0)
            assert any(stack[-1].startswith("burn (<string>") for _, stack in sampler.stacks)
            assert process.poll() is None
        finally:
            process.kill()


def test_where_the_system_refuses_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "py-spy"
    fake.write_text("#!/bin/sh\necho 'Permission Denied: Try running again with elevated permissions'\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(bench.sampler, "py_spy", lambda: str(fake))
    with pytest.raises(StackError, match="ptrace_scope=0.*SYS_PTRACE"), Sampler(1) as sampler:
        sampler._process.wait()


def test_without_py_spy_nothing_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    ended = CliRunner().invoke(profile, ["--json"])
    assert isinstance(ended.exception, StackError)
    assert "pip install 'weir[bench]'" in str(ended.exception)


def test_a_flame_graph_without_a_folder_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    ended = CliRunner().invoke(profile, ["--flame", str(tmp_path / "none" / "flame.svg")])
    assert ended.exit_code == 2
    assert "There is no folder" in ended.output


def test_every_part_of_the_hot_path_takes_time_and_no_reading_is_refused() -> None:
    found = measure(readings=4_000, fetch=2_000, rounds=1)
    assert tuple(found) == PARTS
    assert all(nanoseconds >= 0 for nanoseconds in found.values())
    assert found["decode"] > 0 and found["Arrow"] > 0
