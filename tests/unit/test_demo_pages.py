"""What a person reads of a demo: lines while it runs, and the page at the end."""

from __future__ import annotations

import io
import json

from rich.console import Console

from weir.demo.live_view import LiveView, Moment
from weir.demo.parity import Parity
from weir.demo.result import Result
from weir.demo.result_page import print_result
from weir.demo.stored import LatestMinute
from weir.demo.worker_metrics import WorkerMetrics
from weir.verify.compare import Difference

MINUTE = LatestMinute("cpu", "percent", "11:06", 240, 12.345, 1.0, 99.0, 14.5, 3.2)


def result(*differences: Difference, problems: tuple[str, ...] = ()) -> Result:
    return Result(
        device_id="host-here",
        since_ms=1_763_719_230_000,
        sending_seconds=150.4,
        interrupted=False,
        sent={"reading": 1_234, "bad": 9},
        turned_away={("unknown device", 40301): 2, ("not a number", 42203): 1},
        rows={"readings": 1_200, "aggregates_1m": 40, "aggregates_1h": 0},
        rows_in_all={"readings": 5_000, "aggregates_1m": 90, "aggregates_1h": 3},
        corrections=7,
        dead_letters={"undecodable": 5, "too_old": 4},
        this_machine=[MINUTE],
        latency=[0.2, 0.3, 0.9],
        parity=Parity(1_200, 40, 0, 9, list(differences)),
        problems=list(problems),
    )


def page(of: Result) -> str:
    text = io.StringIO()
    print_result(Console(file=text, highlight=False), of)
    return text.getvalue()


def test_a_clean_run_says_what_was_compared_and_that_nothing_differs() -> None:
    text = page(result())
    assert (
        "Parity: 1,200 readings, 40 closed 1m windows, 0 closed 1h windows and 9 bad records compared with an "
        "independent recomputation: nothing lost, doubled or different." in text
    )


def test_the_page_has_rows_dead_letters_this_machine_and_latency() -> None:
    text = page(result())
    assert [line.split() for line in text.splitlines() if "readings  " in line] == [["readings", "1,200", "5,000"]]
    assert [line.split() for line in text.splitlines() if "too_old" in line] == [["too_old", "4"]]
    assert [line.split() for line in text.splitlines() if "cpu" in line] == [
        ["cpu", "11:06", "240", "12.35", "1.00", "99.00", "14.50", "3.20", "percent"]
    ]
    assert [line.split() for line in text.splitlines() if "40301" in line] == [["unknown", "device", "40301", "2"]]
    assert "7 1-minute rows were corrected" in text
    assert "Ingest to query: p50 300 ms, p95 900 ms (3 probes:" in text


def test_a_difference_is_shown_with_what_was_expected_and_what_is_stored() -> None:
    found = Difference("aggregates_1m", "different", "d/t at 2025-01-01 00:00:00.000", "sum", "3.0", "4.0")
    text = page(result(found))
    assert "compared with an independent recomputation: 1 difference." in text
    assert "nothing lost" not in text
    (row,) = [line.split() for line in text.splitlines() if "different" in line and "sum" in line]
    assert row[:2] == ["aggregates_1m", "different"]
    assert row[-3:] == ["sum", "3.0", "4.0"]


def test_a_problem_spoils_a_run_without_differences() -> None:
    spoilt = result(problems=("2 messages were never acknowledged.",))
    assert not spoilt.ok
    assert "Problem: 2 messages were never acknowledged." in page(spoilt)


def test_the_json_names_everything_a_script_asks_for() -> None:
    told = json.loads(json.dumps(result().to_dict()))
    assert told["ok"] is True
    assert told["rows"] == {
        "readings": 1_200,
        "aggregates_1m": 40,
        "aggregates_1h": 0,
        "dead_letters": {"undecodable": 5, "too_old": 4},
    }
    assert told["latency"]["p50_seconds"] == 0.3
    assert told["latency"]["p95_seconds"] == 0.9
    assert told["parity"]["differences"] == 0
    assert told["refused_by_gateway"][0] == {"kind": "unknown device", "error_code": 40301, "records": 2}
    assert told["since"] == "2025-11-21T10:00:30+00:00"
    assert told["this_machine"][0]["sensor"] == "cpu"


def test_the_json_lists_differences() -> None:
    told = result(Difference("readings", "lost", "d/t at noon")).to_dict()
    assert told["ok"] is False
    assert told["parity"]["differences"] == 1
    assert told["parity"]["listed"][0]["fault"] == "lost"


def test_without_a_terminal_a_line_says_how_it_goes() -> None:
    text = io.StringIO()
    moment = Moment("sending", 65, 85, 3, WorkerMetrics(stored=2, windows=4, corrections=1, lag=6), {"too_old": 2}, {})
    with LiveView(Console(file=text)) as view:
        view.show(moment)
        view.show(moment)  # at once after the first: no second line
    assert text.getvalue() == (
        "sending, 1:05 gone, 1:25 left: in 0/s, stored 0/s, lag 6, windows 4, corrected 1, dead letters: too_old 2\n"
    )
