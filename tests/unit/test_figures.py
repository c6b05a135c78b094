"""Figures of several runs, as a script and a person get them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bench.provenance import commit
from weir.cli.bench_options import Bench, bench_options
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


def test_one_run_is_its_own_minimum_median_and_maximum() -> None:
    assert figures_json(FIGURES, [Run(2.0)]) == {
        "seconds": 2.0,
        "runs": 1,
        "min": {"seconds": 2.0},
        "median": {"seconds": 2.0},
        "max": {"seconds": 2.0},
        "each": {"seconds": [2.0]},
        "distinct": 10,
        "stored": [10],
    }


def test_of_several_runs_the_median_stands_first_and_beside_it_the_span() -> None:
    told = figures_json(FIGURES, [Run(9.0), Run(2.0), Run(3.0)])
    assert (told["seconds"], told["runs"]) == (3.0, 3)
    assert [told[each] for each in ("min", "median", "max")] == [{"seconds": 2.0}, {"seconds": 3.0}, {"seconds": 9.0}]
    assert told["each"] == {"seconds": [9.0, 2.0, 3.0]}


def test_in_a_command_the_figures_say_what_was_measured_and_on_what(tmp_path: Path) -> None:
    @click.command(name="fast")
    @click.option("--rate", type=int)
    @click.option("--flame", type=click.Path(path_type=Path))
    @bench_options()
    def fast(bench: Bench, rate: int, flame: Path) -> None:
        click.echo(json.dumps(figures_json(FIGURES, [Run(2.0)] * bench.runs)))

    told = json.loads(CliRunner().invoke(fast, ["--rate", "5", "--runs", "2", "--flame", str(tmp_path)]).output)
    assert (told["benchmark"], told["parameters"], told["runs"]) == ("fast", {"rate": 5}, 2)
    assert told["machine"]["cores"] >= 1
    assert set(told["versions"]) >= {"kafka", "clickhouse", "polars", "confluent-kafka"}
    assert str(tmp_path) not in json.dumps(told)
    assert datetime.fromisoformat(told["date"]).tzinfo is not None


def test_outside_of_a_checkout_the_commit_is_unknown(tmp_path: Path) -> None:
    assert commit(tmp_path) == "unknown"


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
