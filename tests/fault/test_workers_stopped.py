"""A worker that is stopped until another has its partitions, and wakes up in the middle of a flush."""

from __future__ import annotations

import time
from pathlib import Path

from tests.fault.failpoints import Order
from tests.fault.scenario import scenario_on
from tests.fault.worker_faults import sleep_through_expulsion
from tests.stack_under_test import StackUnderTest


def test_a_worker_that_slept_through_its_expulsion_stores_nothing_wrong_and_joins_again(
    stack: StackUnderTest, tmp_path: Path
) -> None:
    """Its plan is committed when it falls asleep; awake, it inserts that very block, which ClickHouse drops."""
    with scenario_on(stack, tmp_path, seed=19) as scenario:
        sleeper, other = scenario.start(), scenario.start()
        scenario.order(sleeper, Order("stop", "after_plan", 1, "readings"))
        scenario.send_until_it_fails(sleeper)
        began, said = time.monotonic(), len(sleeper.log)
        sleep_through_expulsion(scenario, sleeper)
        result = scenario.outcome("stopped after its plan", 19, began)
        assert not result.differences, result.words()
        scenario.world.wait(lambda: "readings: assigned [" in sleeper.log[said:], "it is a member again")
        assert "readings: gave up [" in sleeper.log[said:], "it was never expelled; the test says nothing"
        assert (sleeper.exit_code, other.exit_code) == (None, None)
