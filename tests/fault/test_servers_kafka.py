"""The broker is stopped or killed while a worker has work in hand, and started again."""

from __future__ import annotations

from pathlib import Path

from tests.fault.own_broker import OwnBroker
from tests.fault.scenario import scenario_on
from tests.fault.server_faults import restart
from tests.stack_under_test import StackUnderTest

SEED = 21


def test_broker_that_is_stopped_or_killed_under_load_costs_nothing(stack: StackUnderTest, tmp_path: Path) -> None:
    with OwnBroker(tmp_path / "broker") as broker, scenario_on(broker.before(stack), tmp_path, SEED) as scenario:
        worker = scenario.world.start_worker()
        for end in ("stopped", "killed"):
            began = restart(scenario, broker, end)
            result = scenario.outcome(f"broker {end}", SEED, began)
            assert result.differences == [], result.words()
        assert worker.exit_code is None, "one worker lived through both"
