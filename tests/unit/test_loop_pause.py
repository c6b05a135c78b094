"""How pauses of the event loop are counted."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator

import pytest

from bench.loop_pauses import LoopPauses as Found
from bench.loop_pauses import parse
from streams.engine import metrics
from streams.engine.loop_pause import MOST_COUNTED, TICK_SECONDS, TURN_SECONDS, LoopPauses, delays


@pytest.fixture(autouse=True)
def turns() -> Iterator[None]:
    """What a worker does to its process must not last in this one."""
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


def counted() -> float:
    return sum(sample.value for each in metrics.LOOP_PAUSE.collect() for sample in each.samples if _is_count(sample[0]))


def _is_count(name: str) -> bool:
    return name.endswith("_count")


def longest() -> float:
    return max(sample.value for each in metrics.LOOP_PAUSE_LONGEST.collect() for sample in each.samples)


def test_a_tick_in_time_is_one_pause_of_nothing() -> None:
    assert list(delays(-0.001)) == [0.0]
    assert list(delays(0.004)) == [0.004]


def test_a_long_pause_counts_for_everybody_who_would_have_come_in_it() -> None:
    assert list(delays(0.05)) == pytest.approx([0.05, 0.03, 0.01])


def test_a_process_that_slept_for_a_night_counts_no_millions() -> None:
    assert len(list(delays(8 * 3_600.0))) == MOST_COUNTED


def test_what_blocks_the_loop_is_seen_and_threads_take_short_turns() -> None:
    async def live() -> None:
        pauses = LoopPauses()
        await pauses.start()
        await asyncio.sleep(2 * TICK_SECONDS)
        time.sleep(0.2)  # noqa: ASYNC251  # this is what must be seen
        await asyncio.sleep(2 * TICK_SECONDS)
        await pauses.stop()

    before = counted()
    asyncio.run(live())
    assert longest() >= 0.2 - TICK_SECONDS
    assert counted() - before >= 0.2 / TICK_SECONDS
    assert sys.getswitchinterval() == pytest.approx(TURN_SECONDS)


PAGE = """\
# TYPE weir_loop_pause_seconds histogram
weir_loop_pause_seconds_bucket{le="0.01"} 90.0
weir_loop_pause_seconds_bucket{le="0.1"} 98.0
weir_loop_pause_seconds_bucket{le="0.5"} 100.0
weir_loop_pause_seconds_bucket{le="+Inf"} 100.0
weir_loop_pause_seconds_count 100.0
weir_loop_pause_seconds_sum 1.5
# TYPE weir_loop_pause_longest_seconds gauge
weir_loop_pause_longest_seconds 0.3
"""


def test_a_percentile_lies_between_its_bounds_and_not_beyond_the_longest() -> None:
    found = parse(PAGE)
    assert found.percentile(45) == pytest.approx(0.005)
    assert found.percentile(94) == pytest.approx(0.055)
    assert found.percentile(99) == pytest.approx(0.2), "half of the way from 0.1 to the longest, 0.3"
    assert found.percentile(100) == pytest.approx(0.3)


def test_pauses_before_the_measurement_do_not_count() -> None:
    before = Found({0.01: 80.0, 0.1: 80.0, 0.5: 80.0, float("inf"): 80.0}, 0.0)
    assert parse(PAGE).since(before).percentile(50) == pytest.approx(0.01)
