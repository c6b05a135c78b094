"""``weir bench`` as a person runs it, small: the figures make sense, nothing is lost, nothing is left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka.admin import AdminClient

from sinks.clickhouse.client import connect
from tests.free_ports import free_block
from tests.stack_under_test import StackUnderTest, embedded_stack, plain_environment
from tests.waiting import patient
from tests.weir_command import Ended, weir


@pytest.fixture(scope="module")
def testbed(stack: StackUnderTest) -> Iterator[StackUnderTest]:
    """An embedded stack without workers: the one of all tests, if it is embedded."""
    if stack.data_dir is not None:
        yield stack
        return
    with embedded_stack() as own:
        yield own


def bench(testbed: StackUnderTest, *arguments: str, **variables: str) -> Ended:
    """Run a benchmark on ``testbed`` with ``--json``."""
    options = ("--json", "--data-dir", str(testbed.data_dir))
    return weir(plain_environment() | variables, "bench", *arguments, *options, seconds=240)


def test_a_small_run_stores_every_reading_once_and_tells_sane_figures(tmp_path: Path) -> None:
    environment = plain_environment() | {"TMPDIR": str(tmp_path)}
    options = ("--readings", "20000", "--json", "--port-base", str(free_block()))
    ended = weir(environment, "bench", "pipeline", *options, seconds=240)
    assert ended.code == 0, ended.err
    figures = ended.json()
    assert figures["readings"] == 20_000
    assert figures["distinct"] == 19_800
    assert figures["stored"] == [19_800]
    assert 1_000 < figures["readings_per_second"] < 2 * figures["ceiling_readings_per_second"]
    assert 0.3 < figures["ceiling_cpu_seconds_per_million"] < figures["cpu_seconds_per_million"] < 500
    ratio = figures["ceiling_cpu_seconds_per_million"] / figures["cpu_seconds_per_million"]
    assert abs(figures["ratio"] - ratio) < 0.001
    assert 50 < figures["peak_rss_mb"] < 1_024
    assert "All 19,800 distinct readings are stored" in ended.err
    assert list(tmp_path.iterdir()) == []
    assert [each for each in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(each.info["cmdline"])] == []


def test_a_stack_that_ran_before_goes_on_running_and_keeps_nothing_of_two_runs(testbed: StackUnderTest) -> None:
    ended = bench(testbed, "pipeline", "--readings", "10000", "--sparse", "--runs", "2")
    assert ended.code == 0, ended.err
    figures = ended.json()
    assert figures["stored"] == [9_900, 9_900]
    low, middle, high = (figures[each]["readings_per_second"] for each in ("min", "median", "max"))
    assert low <= middle <= high
    assert figures["readings_per_second"] == middle
    admin = AdminClient({"bootstrap.servers": testbed.settings.kafka.bootstrap_servers})
    assert not [topic for topic in admin.list_topics(timeout=patient(10)).topics if topic.startswith("bench-")]
    client = connect(testbed.settings.clickhouse, database=False)
    assert "bench" not in str(client.command("SHOW DATABASES"))
    client.close()


def test_a_killed_worker_reads_its_open_windows_again_and_everything_is_counted_once(testbed: StackUnderTest) -> None:
    options = ("--rate", "400", "--history", "120", "--live", "4")
    ended = bench(testbed, "recovery", *options, WEIR_STREAM__SESSION_TIMEOUT_SECONDS="2")
    assert ended.code == 0, ended.err
    figures = ended.json()
    parts = ("start_seconds", "session_seconds", "replay_seconds", "backlog_seconds")
    assert abs(figures["recovered_seconds"] - sum(figures[part] for part in parts)) < 0.001
    assert min(figures[part] for part in parts) >= 0
    assert figures["start_seconds"] > 0.2, "no Python process with Polars starts faster"
    # seconds of the open minute up to the last commit; the closed minutes' rows
    assert 300 < figures["replayed_readings"] < figures["distinct"]
    assert 400 <= figures["replayed_minutes"] <= 3 * 400
    assert figures["age_worst_seconds"] > figures["age_before_seconds"]
    assert figures["distinct"] > 2 * 400 + 4 * 400
    assert figures["stored"] == [figures["distinct"]]


def test_late_readings_of_ten_minutes_are_corrected_by_a_handful_of_queries(testbed: StackUnderTest) -> None:
    ended = bench(testbed, "late", "--late", "600", "--rate", "100", "--before", "2")
    assert ended.code == 0, ended.err
    figures = ended.json()
    assert (figures["minutes"], figures["hours"]) == (10, 1)
    assert figures["late_windows"] >= 11
    assert figures["corrections"] >= 11
    assert figures["minutes_corrected_seconds"] <= figures["corrected_seconds"] < patient(60)
    assert 0 < figures["before_p50"] <= figures["before_p95"] <= figures["before_p99"]
    assert 0 < figures["during_p50"] <= figures["during_p95"]
    assert figures["stored"] == [figures["distinct"]]


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("pipeline", "--readings", "5"), "--readings"),
        (("recovery", "--live", "0"), "--live"),
        (("late", "--late", "1"), "--late"),
        (("gateway", "--seconds", "0"), "--seconds"),
        (("peers", "--messages", "5"), "--messages"),
        (("peers", "--only", "flink"), "--only"),
    ],
)
def test_too_little_is_refused_before_anything_starts(tmp_path: Path, arguments: tuple[str, ...], option: str) -> None:
    ended = weir(plain_environment() | {"TMPDIR": str(tmp_path)}, "bench", *arguments)
    assert ended.code == 2
    assert option in ended.err
    assert list(tmp_path.iterdir()) == []


def test_enriching_costs_the_same_with_few_and_with_many_registered_devices(testbed: StackUnderTest) -> None:
    ended = bench(testbed, "enrich", "--devices", "1000", "--devices", "20000")
    assert ended.code == 0, ended.err
    few, many = ended.json()["fleets"]
    assert (few["devices"], many["devices"]) == (1_000, 20_000)
    # a lookup that walked the registry would cost twenty times as much
    assert many["enrich_ns"] < 3 * few["enrich_ns"]
    assert 0 < many["change_seconds"] < patient(2.0)
    assert 0 < many["load_seconds"] < patient(10.0)


def test_a_small_run_of_the_gateway_acknowledges_what_kafka_has_and_leaves_no_namespace(
    testbed: StackUnderTest,
) -> None:
    ended = bench(testbed, "gateway", "--seconds", "1")
    assert ended.code == 0, ended.err
    told = ended.json()
    loads = told["loads"]
    assert told["in_kafka"] == told["acknowledged"]
    assert told["in_kafka"][0] > 200
    assert told["gateway_has_its_own_core"] is (len(os.sched_getaffinity(0)) > 1)
    assert loads["floor"]["requests_per_cpu_second"] > loads["single JSON"]["requests_per_cpu_second"] > 100
    assert loads["batch JSON"]["records_per_cpu_second"] > 2 * loads["single JSON"]["records_per_cpu_second"]
    for name in ("single JSON", "single Avro", "batch JSON", "batch Avro"):
        assert 0 < loads[name]["p50_ms"] <= loads[name]["p99_ms"] <= loads[name]["worst_ms"]
    half = loads["single JSON at half"]
    assert abs(half["offered"] - loads["single JSON"]["requests_per_second"] / 2) < 1
    assert {each["met"] for each in told["targets"]} <= {True, False}
    assert len(told["targets"]) == 4
    admin = AdminClient({"bootstrap.servers": testbed.settings.kafka.bootstrap_servers})
    assert not [topic for topic in admin.list_topics(timeout=patient(10)).topics if topic.startswith("bench-")]


def test_a_peer_that_cannot_be_installed_is_named_and_the_others_windows_are_right(
    testbed: StackUnderTest, tmp_path: Path
) -> None:
    nothing = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "WEIR_CACHE_DIR": str(tmp_path / "cache")}
    ended = bench(testbed, "peers", "--messages", "1000", "--only", "faust", "--only", "bytewax", **nothing)
    assert ended.code == 0, ended.err
    told = ended.json()
    assert told["stored"] == [told["distinct"]] == [990]
    faust, bytewax = told["peers"]["faust"], told["peers"]["bytewax"]
    assert faust["reason"] is None
    assert faust["readings"] == 1_000 + 4_000, "those that close the windows count too"
    assert 0 < faust["windows"] == faust["expected_windows"] <= 990
    assert faust["readings_per_second"]["median"] > 0 < faust["cpu_seconds_per_million"]["median"]
    ratio = told["weir"]["readings_per_second"]["median"] / faust["readings_per_second"]["median"]
    assert faust["weir_ratio"]["median"] == pytest.approx(ratio, rel=0.01)
    assert (faust["target"], faust["met"]) == (None, None)
    assert "bytewax" in bytewax["reason"]
    assert (bytewax["target"], bytewax["met"], bytewax["readings_per_second"]) == (5.0, None, None)
    admin = AdminClient({"bootstrap.servers": testbed.settings.kafka.bootstrap_servers})
    assert not [topic for topic in admin.list_topics(timeout=patient(10)).topics if "bench-" in topic]


def test_aggregation_alone_gives_the_right_windows_and_is_held_against_its_ceiling(testbed: StackUnderTest) -> None:
    ended = bench(testbed, "pipeline", "--only", "aggregate", "--readings", "20000")
    assert ended.code == 0, ended.err
    figures = ended.json()
    assert figures["windows"] == 4_000
    assert abs(figures["of_flink"] - 3.5 / figures["cpu_seconds_per_million"]) < 0.01
    assert 0 < figures["ratio"] < 1
    wrong = bench(testbed, "pipeline", "--only", "aggregate", "--workers", "2")
    assert wrong.code == 2
    assert "leave out --sparse" in wrong.err


def test_two_workers_share_a_backlog_and_store_every_reading_once(testbed: StackUnderTest) -> None:
    ended = bench(testbed, "pipeline", "--readings", "20000", "--workers", "2")
    assert ended.code == 0, ended.err
    figures = ended.json()
    assert figures["stored"] == [19_800]
    assert 0 < figures["worker_cores"] <= 2.5


def test_packed_readings_are_counted_by_the_reading_and_stored_once(testbed: StackUnderTest) -> None:
    ended = bench(testbed, "pipeline", "--readings", "20000", "--packed", "40")
    assert ended.code == 0, ended.err
    figures = ended.json()
    assert figures["stored"] == [19_800]
    assert figures["ceiling_cpu_seconds_per_million"] < figures["cpu_seconds_per_million"]
