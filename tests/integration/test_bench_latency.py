"""``weir bench latency`` as a person runs it, small: the figures make sense and nothing is missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.stack_under_test import StackUnderTest, embedded_stack, plain_environment
from tests.weir_command import Ended, weir


@pytest.fixture(scope="module")
def testbed(stack: StackUnderTest) -> Iterator[StackUnderTest]:
    """An embedded stack without workers: the one of all tests, if it is embedded."""
    if stack.data_dir is not None:
        yield stack
        return
    with embedded_stack() as own:
        yield own


def bench(testbed: StackUnderTest, *arguments: str) -> Ended:
    options = ("--json", "--data-dir", str(testbed.data_dir))
    return weir(plain_environment(), "bench", "latency", *arguments, *options, seconds=240)


def assert_a_sane_sample(told: dict[str, Any]) -> None:
    assert told["unseen"] == told["refused"] == 0
    assert told["latencies_ms"] == sorted(told["latencies_ms"])
    assert len(told["latencies_ms"]) == told["probes"] > 20
    assert 0 < told["acknowledged_p50_ms"] < told["p50_ms"] <= told["p95_ms"] <= told["p99_ms"] <= told["max_ms"]
    assert told["latencies_ms"][-1] == pytest.approx(told["max_ms"], abs=0.06)
    assert told["stored"] == [told["distinct"]]
    assert all(told[f"{name}_cores"] > 0 for name in ("worker", "gateway", "clickhouse", "broker", "load", "prober"))


def test_latency_under_a_load_of_batches_is_told_with_every_reading_stored(testbed: StackUnderTest) -> None:
    ended = bench(testbed, "--rate", "1000", "--seconds", "4")
    assert ended.code == 0, ended.err
    told = ended.json()
    assert_a_sane_sample(told)
    assert (told["through"], told["saturation"], told["asked_readings_per_second"]) == ("gateway", False, 1_000)
    assert told["maximum_readings_per_second"] == 0
    assert told["distinct"] == pytest.approx(9_000, rel=0.05), "five seconds of warm-up are sent and stored, too"


def test_saturation_loads_with_four_fifths_of_what_the_worker_stored_of_a_backlog(testbed: StackUnderTest) -> None:
    ended = bench(testbed, "--saturation", "--backlog", "20000", "--seconds", "4")
    assert ended.code == 0, ended.err
    told = ended.json()
    assert_a_sane_sample(told)
    assert (told["through"], told["saturation"]) == ("kafka", True)
    assert told["maximum_readings_per_second"] > 1_000
    assert told["asked_readings_per_second"] == round(0.8 * told["maximum_readings_per_second"])
