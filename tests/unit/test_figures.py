"""Figures of several runs, as a script and a person get them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from weir.cli.figures import Figure, figures_json, print_figures, verdict

FIGURES = (Figure("seconds", "time, s", "{:.1f}"),)


@dataclass(frozen=True)
class Run:
    seconds: float
    distinct: int = 10
    stored: int = 10
    counted: bool = True

    @property
    def complete(self) -> bool:
        return self.stored == self.distinct and self.counted


def test_one_run_has_no_statistics() -> None:
    assert figures_json(FIGURES, [Run(2.0)]) == {"seconds": 2.0, "distinct": 10, "stored": [10]}


def test_of_several_runs_the_median_stands_first_and_beside_it_the_span() -> None:
    told = figures_json(FIGURES, [Run(9.0), Run(2.0), Run(3.0)])
    assert (told["seconds"], told["runs"]) == (3.0, 3)
    assert [told[each] for each in ("min", "median", "max")] == [{"seconds": 2.0}, {"seconds": 3.0}, {"seconds": 9.0}]


def test_a_person_sees_min_median_and_max(capsys: pytest.CaptureFixture[str]) -> None:
    print_figures("10 readings", FIGURES, [Run(9.0), Run(2.0), Run(3.0)])
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["10", "readings", "min", "median", "max"]
    assert row.split() == ["time,", "s", "2.0", "3.0", "9.0"]


def test_one_run_that_lost_a_reading_fails_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert verdict([Run(1.0), Run(1.0)]) == 0
    assert verdict([Run(1.0), Run(1.0, stored=9)]) == 1
    assert "weir: 10 readings were sent, and 9 are stored." in capsys.readouterr().err


def test_a_run_that_counted_wrong_fails_without_a_word_of_praise(capsys: pytest.CaptureFixture[str]) -> None:
    assert verdict([Run(1.0, counted=False)]) == 1
    assert capsys.readouterr().err == ""
