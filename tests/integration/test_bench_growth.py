"""``weir bench growth`` as a person runs it, small: the figures make sense and nothing is missing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stack_under_test import StackUnderTest, embedded_stack, plain_environment
from tests.weir_command import weir


@pytest.fixture(scope="module")
def testbed(stack: StackUnderTest) -> Iterator[StackUnderTest]:
    """An embedded stack without workers: the one of all tests, if it is embedded."""
    if stack.data_dir is not None:
        yield stack
        return
    with embedded_stack() as own:
        yield own


def test_more_series_are_measured_beside_few_and_a_worker_without_readings(testbed: StackUnderTest) -> None:
    options = ("--series", "400,2000", "--readings", "40000", "--idle-seconds", "2")
    ended = weir(
        plain_environment(), "bench", "growth", *options, "--json", "--data-dir", str(testbed.data_dir), seconds=240
    )
    assert ended.code == 0, ended.err
    told = ended.json()
    few, many = told["sizes"]
    assert (few["series"], many["series"]) == (400, 2_000)
    assert told["stored"] == [told["distinct"]] == [[2 * 60 * 400, 2 * 60 * 2_000]]
    assert few["ratio_to_first"] == 1.0
    ratio = many["readings_per_second"] / few["readings_per_second"]
    assert many["ratio_to_first"] == told["throughput_ratio"] == pytest.approx(ratio, rel=0.01)
    assert 400 <= few["open_points"] <= 2 * 60 * 400
    assert 2_000 <= many["open_points"] <= 2 * 60 * 2_000
    assert [size["published"] for size in told["sizes"]] == [2 * 400, 2 * 2_000]
    assert 0 < many["loop_pause_p99_ms"] <= many["loop_pause_max_ms"] < 30_000
    assert told["loop_pause_p99_ms"] == many["loop_pause_p99_ms"]
    assert 0 < told["idle_cpu_seconds_an_hour"] < 3_600
    assert [target["name"] for target in told["targets"]] == ["throughput_ratio", "loop_pause_p99_ms"]


@pytest.mark.parametrize("series", ["1000,10", "0", "many"])
def test_series_that_no_fleet_has_are_refused_before_anything_starts(series: str) -> None:
    ended = weir(plain_environment(), "bench", "growth", "--series", series)
    assert ended.code == 2
    assert "--series" in ended.err
