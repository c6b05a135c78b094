"""The plots of the benchmarks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.report.plots import PLOTS, draw_all
from bench.report.results import Entry, Results
from bench.report.sections import sections
from bench.report.write import DOCS, FOLDER

PNG = b"\x89PNG\r\n\x1a\n"


def rate(low: float, middle: float, high: float) -> dict[str, object]:
    return {each: {"readings_per_second": value} for each, value in (("min", low), ("median", middle), ("max", high))}


ENTRIES = {
    "pipeline": Entry("weir bench pipeline", 1.0, rate(250_000.0, 260_000.0, 300_000.0)),
    "workers": Entry("weir bench pipeline --workers 2", 1.0, rate(300_000.0, 340_000.0, 350_000.0)),
    "growth": Entry(
        "weir bench growth",
        1.0,
        {
            "sizes": [
                {"series": 1_000} | rate(250_000.0, 260_000.0, 300_000.0),
                {"series": 200_000, "readings_per_second": 230_000.0},
            ]
        },
    ),
    "latency": Entry("weir bench latency", 1.0, {"latencies_ms": [80.0 + number % 400 for number in range(3_000)]}),
    "profile": Entry(
        "weir bench profile",
        1.0,
        {"stages": [{"stage": name, "ns_per_reading": 100.0 * len(name)} for name in ("decode", "insert", "close")]},
    ),
}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    made = Results(tmp_path)
    for name, entry in ENTRIES.items():
        made.put(name, entry)
    return made


def test_every_plot_is_a_small_picture_of_one_size_and_the_page_shows_it(results: Results, tmp_path: Path) -> None:
    files = draw_all(results, tmp_path / "plots")
    assert [file.name for file in files] == [plot.file for plot in PLOTS]
    for file in files:
        content = file.read_bytes()
        assert content.startswith(PNG)
        width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
        assert (width, height) == (640, 340)
        assert 3_000 < len(content) < 60_000, f"{file.name} is empty or too large for a repository"
    shown = sections(results, [file.name for file in files])
    assert shown["plot-latency"].endswith("(performance/latency.png)")


def test_the_same_results_give_the_same_files(results: Results, tmp_path: Path) -> None:
    first, second = (draw_all(results, tmp_path / name) for name in ("first", "second"))
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


def test_what_was_not_measured_is_not_drawn(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.put("pipeline", ENTRIES["pipeline"])
    assert draw_all(results, tmp_path) == []
    assert sections(results, ())["plot-series"] == "Not measured yet."


def test_the_pictures_of_the_repository_are_those_of_its_plots() -> None:
    kept = {path.name for path in (DOCS / FOLDER).glob("*.png")}
    assert kept <= {plot.file for plot in PLOTS}
    page = (DOCS / "performance.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\(performance/([^)]+\.png)\)", page)) == kept
