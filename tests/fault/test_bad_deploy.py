"""A new version refuses everything: it stops before it refuses more, and what it refused is put back."""

from __future__ import annotations

from pathlib import Path

from tests.fault.retold import learn_replayed, take_stock, unexplained
from tests.fault.scenario import scenario_on
from tests.stack_under_test import StackUnderTest
from tests.stored import dead_letters
from tests.waiting import wait_until
from tests.weir_command import weir

SEED = 24
BAD_DEPLOY = ("tests.fault.bad_deploy_worker",)
MAX_RUN = 100


def test_bad_deploy_stops_itself_and_what_it_refused_goes_back(stack: StackUnderTest, tmp_path: Path) -> None:
    with scenario_on(stack, tmp_path, SEED) as scenario:
        world = scenario.world
        good = world.start_worker()
        scenario.load.send(10)
        world.wait(scenario.settled, "the old version stores everything")
        good.stop()

        letters_before = len(dead_letters(world.settings))
        bad = world.start_worker(module=BAD_DEPLOY, WEIR_DEAD_LETTERS__MAX_RUN=str(MAX_RUN))
        scenario.load.send(2)
        world.wait(lambda: len(dead_letters(world.settings)) >= letters_before + 40, "it refuses")
        bad.expect_end()
        sent_before = len(scenario.sender.sent)
        scenario.load.send(40)
        wait_until(lambda: bad.exit_code is not None, "it stops by itself")
        assert bad.exit_code == 1
        assert "This worker stops: " in bad.log and "records in a row were refused" in bad.log
        refused = len(dead_letters(world.settings)) - letters_before
        assert 40 <= refused < len(scenario.sender.sent) - sent_before, "it refused everything, or nothing"

        world.start_worker()
        world.wait(scenario.settled, "the mended version stores what was not refused")
        replayed = weir(world.environment, "dlq", "replay", "--reason", "out_of_bounds", "--yes", "--json")
        assert replayed.code == 0, replayed.err
        assert learn_replayed(scenario) >= 40
        world.wait(scenario.settled, "what was put back is stored")
        acknowledged = {(each.device_id, each.sensor, each.ts) for each in scenario.sender.acknowledged}
        assert take_stock(scenario) == []
        kept = {(each.device_id, each.sensor, each.ts) for each in scenario.sender.acknowledged}
        assert kept == acknowledged, "a reading that was sent is stored under no offset"
        result = scenario.outcome("bad deploy", SEED)
        # The block that was planned when it stopped is judged again, by the mended version: its letters may be written.
        judged_again = (("dead letters", "never sent"),)
        assert unexplained(scenario, result.differences, judged_again, plans=1) == [], result.words()
