"""Results of benchmarks as a page: tables, targets, places, and what is run at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.report import plan as planning
from bench.report.page import remade
from bench.report.plan import MEASUREMENTS, Measurement, plan, seconds
from bench.report.results import Entry, Results
from bench.report.sections import RENDERED, section, sections
from bench.report.targets import TARGETS, Target
from bench.report.write import DOCS, FOLDER, PAGE, check
from weir.errors import StackError, UsageError

ROOT = Path(__file__).parents[2]
ORIGIN = {
    "date": "2026-11-22T01:02:03+00:00",
    "commit": "abc1234",
    "machine": {"cpu": "Sixty-Four", "cores": 2, "memory_gb": 24.2, "kernel": "Linux 6", "python": "3.11.7"},
    "versions": {"kafka": "4.3.1"},
}
PIPELINE = Entry(
    "weir bench pipeline --readings 3000000 --runs 3",
    151.0,
    ORIGIN
    | {
        "readings_per_second": 250_000.0,
        "runs": 3,
        "min": {"readings_per_second": 240_000.0, "cpu_seconds_per_million": 2.8, "others_cpu_share": 0.0},
        "median": {"readings_per_second": 252_000.0, "cpu_seconds_per_million": 2.9, "others_cpu_share": 0.02},
        "max": {"readings_per_second": 260_000.0, "cpu_seconds_per_million": 3.1, "others_cpu_share": 0.05},
    },
)
PEERS = Entry(
    "weir bench peers",
    900.0,
    ORIGIN
    | {
        "weir": {"readings_per_second": {"min": 1.0, "median": 280_000.0, "max": 300_000.0}},
        "ceiling": {"readings_per_second": {"min": 2e6, "median": 2e6, "max": 2e6}},
        "peers": {
            "bytewax": {"weir_ratio": {"min": 5.5, "median": 6.0, "max": 7.0}, "reason": None},
            "quix": {"weir_ratio": None, "reason": "it cannot be installed"},
        },
    },
)


def stored(folder: Path, **entries: Entry) -> Results:
    """Results as a run leaves them, read back from their file."""
    results = Results(folder)
    for name, entry in entries.items():
        results.put(name, entry)
    return Results(folder)


def cells(markdown: str) -> list[list[str]]:
    """The rows of a table, without its heading and the line below it."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_a_table_has_min_median_and_max_of_each_figure_and_says_where_they_come_from(tmp_path: Path) -> None:
    results = stored(tmp_path, pipeline=PIPELINE)
    text = section("pipeline", results.get("pipeline"))
    assert cells(text) == [
        ["readings/s", "240,000", "252,000", "260,000"],
        ["CPU s/million", "2.80", "2.90", "3.10"],
        ["CPU that others took", "0%", "2%", "5%"],
    ]
    assert text.splitlines()[-1] == (
        "3 runs: `weir bench pipeline --readings 3000000 --runs 3`, 2026-11-22, commit abc1234, "
        "others took up to 5% of the CPU."
    )


def test_one_run_has_one_column() -> None:
    alone = Entry("weir bench late", 60.0, ORIGIN | {"runs": 1, "corrected_seconds": 11.94, "queries": 13})
    assert cells(section("late", alone)) == [["all corrected after, s", "11.9"], ["queries", "13"]]


def test_a_missed_target_tells_the_distance_and_a_met_one_whether_every_run_met_it(tmp_path: Path) -> None:
    made = sections(stored(tmp_path, pipeline=PIPELINE, peers=PEERS), ())
    rows = {(row[0], row[1]): row[2:] for row in cells(made["targets"])}
    assert rows["`pipeline`", "readings/s, one worker, everything on"] == [
        "at least 280,000",
        "240,000 / 252,000 / 260,000",
        "**missed by 10.0%**",
    ]
    assert rows["`pipeline`", "CPU s/million of that worker"][1:] == [
        "2.80 / 2.90 / 3.10",
        "met by the median, not in every run",
    ]
    assert rows["`peers`", "times Bytewax"] == ["at least 5.0", "5.5 / 6.0 / 7.0", "met"]
    assert rows["`peers`", "times Quix Streams"][1:] == ["", "not measured yet"]
    assert len(rows) == len(TARGETS)


def test_a_latency_that_is_too_long_is_a_miss() -> None:
    target = Target("p95, ms", "latency", "p95_ms", 1_000)
    assert target.verdict(Entry("", 0.0, {"p95_ms": 1_500}).spread("p95_ms") or pytest.fail()) == "**missed by 50.0%**"
    assert target.verdict(Entry("", 0.0, {"p95_ms": 1_000}).spread("p95_ms") or pytest.fail()) == "met"


def test_a_second_workers_efficiency_is_told_by_the_clock_and_by_cpu(tmp_path: Path) -> None:
    two = Entry(
        "weir bench pipeline --workers 2", 1.0, {"readings_per_second": 378_000, "cpu_seconds_per_million": 3.2}
    )
    text = sections(stored(tmp_path, pipeline=PIPELINE, workers=two), ())["workers"].splitlines()[-1]
    assert text.startswith("Two workers did 1.50 times the readings of one in the same time, 75% of twice as many;")
    assert text.endswith("a CPU second of theirs did 91% of what one of the single worker did.")


def test_every_program_has_a_row_and_one_that_failed_its_reason() -> None:
    text = section("peers", PEERS)
    assert [row[0] for row in cells(text)] == ["`consume()` alone", "Weir, everything on", "Bytewax"]
    assert cells(text)[1][1] == "1 / 280,000 / 300,000"
    assert cells(text)[2][3] == "5.5 / 6.0 / 7.0"
    assert "Quix Streams has no figures: it cannot be installed" in text


def test_parts_have_a_row_each_with_the_spread_of_their_runs() -> None:
    fleets = [
        {"devices": 1_000, "min": {"enrich_ns": 500.0}, "median": {"enrich_ns": 510.0}, "max": {"enrich_ns": 520.0}},
        {"devices": 1_000_000, "enrich_ns": 360.4},
    ]
    rows = cells(section("enrich", Entry("weir bench enrich", 1.0, {"fleets": fleets})))
    assert [row[:2] for row in rows] == [["1,000", "500 / 510 / 520"], ["1,000,000", "360"]]
    loads = {"floor": {"p99_ms": None, "cores": 0.5}}
    assert cells(section("gateway", Entry("weir bench gateway", 1.0, {"loads": loads}))) == [
        ["floor", "", "", "", "", "", "", "0.50"]
    ]


def test_stages_stand_by_cost_and_their_shares_are_of_their_sum() -> None:
    stages = [{"stage": "decode", "ns_per_reading": 400.0}, {"stage": "insert", "ns_per_reading": 1_600.0}]
    text = section("profile", Entry("weir bench profile", 1.0, {"stages": stages}))
    assert cells(text) == [["insert", "1,600", "80%"], ["decode", "400", "20%"], ["all", "2,000", ""]]


def test_a_result_of_another_form_is_told_and_does_not_keep_the_others_off_the_page(tmp_path: Path) -> None:
    made = sections(stored(tmp_path, pipeline=PIPELINE, gateway=Entry("weir bench gateway", 1.0, {})), ())
    assert "has not the form" in made["gateway"]
    assert "`weir bench all --only gateway`" in made["gateway"]
    assert "252,000" in made["pipeline"]


def test_results_of_several_machines_say_which_are_whose(tmp_path: Path) -> None:
    other: dict[str, Any] = json.loads(json.dumps(PEERS.result))
    other["machine"]["cores"] = 64
    made = sections(stored(tmp_path, pipeline=PIPELINE, peers=Entry("weir bench peers", 1.0, other)), ())
    one, two = made["machine"].splitlines()
    assert one.startswith("- 64 cores of Sixty-Four, 24 GB, Linux 6, Python 3.11.7, kafka 4.3.1: peers.")
    assert two.endswith(": pipeline.")


def test_a_new_result_takes_the_place_of_the_old_and_the_others_stay(tmp_path: Path) -> None:
    stored(tmp_path, pipeline=PIPELINE, peers=PEERS)
    again = stored(tmp_path, peers=Entry("weir bench peers", 1.0, {"latencies_ms": [1.5, 2.0]}))
    assert again.get("pipeline") == PIPELINE
    assert (again.get("peers") or pytest.fail()).result == {"latencies_ms": [1.5, 2.0]}
    assert '"latencies_ms": [1.5, 2.0]' in again.path.read_text(), "thousands of numbers stand on one line"


@pytest.mark.parametrize("content", ["{", '{"form": 2, "benchmarks": {}}', '{"form": 1, "benchmarks": {"a": {}}}'])
def test_broken_results_are_refused_with_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(StackError, match="delete the file to begin anew"):
        Results(tmp_path)


def test_only_what_stands_between_the_comments_changes() -> None:
    page = "A\n<!-- bench:one -->\nold\n<!-- /bench -->\nB\n<!-- bench:two -->\n<!-- /bench -->\n"
    made = remade(page, {"one": "new\n", "two": "| a |"})
    assert made == ("A\n<!-- bench:one -->\nnew\n<!-- /bench -->\nB\n<!-- bench:two -->\n| a |\n<!-- /bench -->\n")
    assert remade(made, {"one": "new", "two": "| a |"}) == made


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("nothing", "no place for one; write one line `<!-- bench:one -->`"),
        ("<!-- bench:one -->\n<!-- /bench -->\n<!-- bench:one -->\n<!-- /bench -->", "2 places for one"),
        ("<!-- bench:one -->\n", "The place for one has no end"),
        ("<!-- bench:one -->\n<!-- /bench -->\n<!-- bench:two -->\n<!-- /bench -->", "Nothing fills the place for two"),
    ],
)
def test_places_that_do_not_fit_are_refused_with_what_to_write(page: str, said: str) -> None:
    with pytest.raises(StackError, match=said):
        remade(page, {"one": "text"})


def test_a_folder_without_a_page_gets_that_of_the_checkout(tmp_path: Path) -> None:
    assert check(Results(tmp_path), tmp_path) == (DOCS / PAGE).read_text(encoding="utf-8")


def test_the_page_shows_the_results_that_lie_beside_it() -> None:
    results = Results(DOCS / FOLDER)
    plots = [path.name for path in (DOCS / FOLDER).glob("*.png")]
    page = (DOCS / PAGE).read_text(encoding="utf-8")
    assert remade(page, sections(results, plots)) == page, "`weir bench all --render-only` makes it anew"


def test_every_measurement_has_a_table_and_every_target_a_measurement() -> None:
    names = [each.name for each in MEASUREMENTS]
    assert sorted(RENDERED) == sorted(names)
    assert len(names) == len(set(names))
    assert {each.benchmark for each in TARGETS} <= set(names)


OPTIONS = {
    "pipeline": {"--readings", "--registered", "--sparse", "--runs"},
    "gateway": {"--seconds"},
    "peers": {"--messages", "--only"},
}


def test_a_benchmark_or_an_option_that_does_not_exist_is_skipped_with_a_sentence() -> None:
    planned = plan((), OPTIONS, quick=False, missing_peers=())
    assert [each.name for each in planned.measurements] == ["pipeline", "sparse", "gateway", "peers"]
    assert planned.skipped["packed"] == "`weir bench pipeline` has no --packed"
    assert planned.skipped["late"] == "there is no `weir bench late`"


def test_peers_that_would_have_to_be_installed_are_left_out_unless_they_are_asked_for() -> None:
    planned = plan((), OPTIONS, quick=False, missing_peers=("Bytewax",))
    assert "peers" not in [each.name for each in planned.measurements]
    assert planned.skipped["peers"].startswith("Bytewax not installed")
    asked = plan(("peers",), OPTIONS, quick=False, missing_peers=("Bytewax",))
    assert ([each.name for each in asked.measurements], asked.skipped) == (["peers"], {})


def test_a_name_that_is_no_benchmark_is_refused_with_those_that_are() -> None:
    with pytest.raises(UsageError, match="no benchmark pipe; there are pipeline"):
        plan(("pipe",), OPTIONS, quick=False, missing_peers=())


def test_a_quick_run_is_told_to_take_less_and_a_long_one_what_it_took_the_last_time() -> None:
    two = [Measurement("a", "a", (), (), 100.0), Measurement("b", "b", (), (), 200.0)]
    assert seconds(two, False, {}) == 300.0
    assert seconds(two, False, {"b": 50.0}) == 150.0
    assert seconds(two, True, {"b": 50.0}) == 2 * planning.Measurement("", "", (), (), 0.0).quick_seconds
