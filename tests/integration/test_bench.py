"""``weir bench pipeline`` as a person runs it, small: the figures make sense, nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import psutil
from confluent_kafka.admin import AdminClient

from sinks.clickhouse.client import connect
from tests.free_ports import free_block
from tests.stack_under_test import embedded_stack, plain_environment
from tests.weir_command import weir


def test_a_small_run_stores_every_reading_once_and_tells_sane_figures(tmp_path: Path) -> None:
    environment = plain_environment() | {"TMPDIR": str(tmp_path)}
    options = ("--readings", "50000", "--json", "--port-base", str(free_block()))
    ended = weir(environment, "bench", "pipeline", *options, seconds=240)
    assert ended.code == 0, ended.err
    figures = ended.json()
    assert figures["readings"] == 50_000
    assert figures["distinct"] == 49_500
    assert figures["stored"] == [49_500]
    assert 1_000 < figures["readings_per_second"] < 2 * figures["ceiling_readings_per_second"]
    assert 0.3 < figures["ceiling_cpu_seconds_per_million"] < figures["cpu_seconds_per_million"] < 500
    ratio = figures["ceiling_cpu_seconds_per_million"] / figures["cpu_seconds_per_million"]
    assert abs(figures["ratio"] - ratio) < 0.001
    assert 50 < figures["peak_rss_mb"] < 1_024
    assert "All 49,500 distinct readings are stored" in ended.err
    assert list(tmp_path.iterdir()) == []
    assert [each for each in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(each.info["cmdline"])] == []


def test_a_stack_that_ran_before_goes_on_running_and_keeps_nothing_of_two_runs() -> None:
    with embedded_stack() as stack:
        options = ("--readings", "10000", "--sparse", "--runs", "2", "--json", "--data-dir", str(stack.data_dir))
        ended = weir(plain_environment(), "bench", "pipeline", *options, seconds=240)
        assert ended.code == 0, ended.err
        figures = ended.json()
        assert figures["stored"] == [9_900, 9_900]
        low, middle, high = (figures[each]["readings_per_second"] for each in ("min", "median", "max"))
        assert low <= middle <= high
        assert figures["readings_per_second"] == middle
        admin = AdminClient({"bootstrap.servers": stack.settings.kafka.bootstrap_servers})
        assert not [topic for topic in admin.list_topics(timeout=10).topics if topic.startswith("bench-")]
        client = connect(stack.settings.clickhouse)
        assert "bench" not in str(client.command("SHOW DATABASES"))
        client.close()


def test_too_few_readings_are_refused_before_anything_starts(tmp_path: Path) -> None:
    ended = weir(plain_environment() | {"TMPDIR": str(tmp_path)}, "bench", "pipeline", "--readings", "5")
    assert ended.code == 2
    assert "--readings" in ended.err
    assert list(tmp_path.iterdir()) == []
