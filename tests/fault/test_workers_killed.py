"""Workers killed at every point of a flush and under load, joining and leaving: nothing lost, nothing twice."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.fault.failpoints import FAILPOINTS, Order
from tests.fault.result import Result
from tests.fault.scenario import scenario_on
from tests.fault.worker_faults import join_leave_and_kill, kill_under_load, seeded_order
from tests.stack_under_test import StackUnderTest


def assert_clean(result: Result) -> None:
    """Nothing lost, doubled, never sent or different, and enough was sent to say so."""
    assert not result.differences, result.words()
    assert result.readings > 1_000


def test_workers_killed_at_any_point_of_a_flush_and_at_random_lose_and_double_nothing(
    stack: StackUnderTest, tmp_path: Path
) -> None:
    with scenario_on(stack, tmp_path, seed=7) as scenario:
        for seed, failpoint in enumerate(FAILPOINTS):
            scenario.kill_at(scenario.start(ready=False), seeded_order(failpoint, seed))
        kill_under_load(scenario, scenario.start(), seed=7)
        began = time.monotonic()
        worker = scenario.start(ready=False)
        assert_clean(scenario.outcome("killed at each failpoint and at random", 7, began))
        assert min(scenario.windows_closed) > 0, "no window was closed; the test says nothing of them"

        scenario.order(worker, Order("kill", "after_publish", 1, "aggregates_1h"))  # hours publish nothing
        with pytest.raises(AssertionError, match="the fault that was ordered happens"):
            scenario.send_until_it_fails(worker, seconds=2.0)


def test_workers_that_join_leave_and_are_killed_under_load_lose_and_double_nothing(
    stack: StackUnderTest, tmp_path: Path
) -> None:
    with join_leave_and_kill(stack, tmp_path) as iterate:
        assert_clean(iterate(13))


@pytest.mark.parametrize(
    ("broken", "failpoint", "cost"),
    [
        ("insert_before_plan", "after_insert", "duplicated"),
        ("unplanned_token", "after_insert", "duplicated"),
        ("commit_before_insert", "after_plan", "lost"),
    ],
)
def test_a_broken_order_is_found_by_the_same_comparison(
    stack: StackUnderTest, tmp_path: Path, broken: str, failpoint: str, cost: str
) -> None:
    """The positive control: with the order of a flush broken, the same kill costs what it should."""
    with scenario_on(stack, tmp_path, seed=17) as scenario:
        scenario.kill_at(scenario.start(broken=broken, ready=False), Order("kill", failpoint, 1, "readings"))
        scenario.load.send(20)  # what comes after makes the next worker's blocks other ones
        scenario.start(broken=broken, ready=False, WEIR_STREAM__FETCH_MESSAGES="170")
        result = scenario.outcome(f"killed with {broken}", 17)
        assert getattr(result, cost) > 0, f"{broken} was not noticed"
