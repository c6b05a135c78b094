"""The tallies of the soak: what was found is never summed away; what could not be compared counts against it."""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from tests.fault.result import Result
from tests.fault.soak import Soak, Tally, parse, table_of
from tests.fault.worker_faults import Fault, Iterate
from tests.stack_under_test import StackUnderTest
from weir.settings import Settings
from weir.verify.compare import Difference

LOST = Difference("readings", "lost", "d/t at 2026-01-01 00:00:00.000")
TWICE = Difference("raw_readings", "doubled", "0/17")
EARLY = Difference("aggregates_1h", "never sent", "d/t at 2026-01-01 00:00:00.000", "count", "", "3")


def fault_of(differences: dict[int, list[Difference]], worlds: list[Path]) -> Fault:
    """A fault that finds ``differences`` at some seeds, and cannot be compared at seed 13."""

    @contextmanager
    def prepared(stack: StackUnderTest, folder: Path) -> Iterator[Iterate]:
        worlds.append(folder)

        def iterate(seed: int) -> Result:
            if seed == 13:
                raise AssertionError("the fault never happened")
            return Result("a fault", seed, 100, 2.0 + seed, differences.get(seed, []))

        yield iterate

    return prepared


def tally_of(fault: Fault, seeds: range, folder: Path, deadline: float = math.inf) -> Tally:
    soak = Soak(StackUnderTest(Settings()), folder, Console(file=io.StringIO()), deadline)
    soak.run_all({"a fault": fault}, seeds, 1)
    return soak.tallies[0]


def test_iterations_that_find_nothing_share_a_world_and_are_clean(tmp_path: Path) -> None:
    worlds: list[Path] = []
    tally = tally_of(fault_of({}, worlds), range(3), tmp_path)
    assert (tally.clean, len(tally.results), len(worlds)) == (True, 3, 1)
    assert not worlds[0].exists(), "logs of a clean run are not kept"
    line = tally.as_json()
    assert (line["recovery_seconds_p50"], line["recovery_seconds_max"], line["seeds"]) == (3.0, 4.0, [0, 1, 2])


def test_what_one_iteration_finds_is_told_and_the_rest_goes_on_in_a_new_world(tmp_path: Path) -> None:
    worlds: list[Path] = []
    tally = tally_of(fault_of({1: [LOST, TWICE, EARLY], 2: [LOST]}, worlds), range(4), tmp_path)
    assert not tally.clean
    assert [tally.total(count) for count in ("lost", "duplicated", "phantom", "differing_windows")] == [2, 1, 0, 1]
    assert (len(tally.results), len(worlds)) == (4, 3)


def test_a_fault_that_did_not_happen_is_not_clean_and_keeps_its_logs(tmp_path: Path) -> None:
    worlds: list[Path] = []
    tally = tally_of(fault_of({}, worlds), range(12, 15), tmp_path)
    assert (tally.clean, tally.failures) == (False, ["seed 13: the fault never happened"])
    assert [result.seed for result in tally.results] == [12, 14]
    assert worlds[0].exists()


def test_a_fault_that_time_did_not_reach_is_not_clean(tmp_path: Path) -> None:
    assert not tally_of(fault_of({}, []), range(3), tmp_path, deadline=-math.inf).clean


def test_the_table_has_a_line_for_every_fault(tmp_path: Path) -> None:
    written = io.StringIO()
    Console(file=written, width=160).print(table_of([tally_of(fault_of({2: [LOST]}, []), range(3), tmp_path)]))
    assert written.getvalue().splitlines()[-1].split() == ["a", "fault", "3", "100", "1", "0", "0", "0", "3.0", "4.0"]


def test_a_name_that_no_fault_has_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--only", "earthquake"])
    assert ended.value.code == 2
    assert "--list prints them" in capsys.readouterr().err
