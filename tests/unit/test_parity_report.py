"""What a person and a script are told of a check."""

from __future__ import annotations

import io
from typing import Any, cast

import polars as pl
from click.testing import CliRunner
from rich.console import Console

from sinks.clickhouse.parity import HOUR_MS, Slice, StoredParity, Tally
from weir.cli.parity import command
from weir.errors import UsageError
from weir.parity.check import Checked, Compared, Scope
from weir.parity.report import as_json, first_faults, print_check

NOON = 500_000 * HOUR_MS
PARTS = [Slice("1m", "acme", NOON, NOON + HOUR_MS), Slice("1h", "acme", NOON, NOON + HOUR_MS)]
CHECKED = Checked(
    Scope(NOON, NOON + HOUR_MS),
    {"1m": NOON + HOUR_MS, "1h": NOON + HOUR_MS},
    [
        Compared("acme", "1m", {PARTS[0]: Tally(equal=1_200, missing=1, different=1, phantom=1)}),
        Compared("acme", "1h", {PARTS[1]: Tally(equal=4)}),
    ],
)


class FakeStoredParity:
    """Three faults in the minutes; counts the rows it was asked for."""

    def faults(self, part: Slice, most: int) -> pl.DataFrame:
        rows: list[dict[str, Any]] = [
            {
                "verdict": "missing",
                "fields": ["count"],
                "want_count": 6,
                "got_count": 0,
                "want_sum": 9.5,
                "got_sum": 0.0,
            },
            {"verdict": "different", "fields": ["count", "sum"], "want_count": 6, "got_count": 5}
            | {"want_sum": 9.5, "got_sum": 8.0},
            {
                "verdict": "phantom",
                "fields": ["count"],
                "want_count": 0,
                "got_count": 3,
                "want_sum": 0.0,
                "got_sum": 1.0,
            },
        ]
        where = [{"device_id": f"d{n}", "sensor": "t", "start": NOON + n * 60_000} for n in range(3)]
        return pl.DataFrame([place | row for place, row in zip(where, rows, strict=True)][:most])


def faults(most: int) -> list[tuple[Any, ...]]:
    found = first_faults(cast(StoredParity, FakeStoredParity()), CHECKED, most)
    return [(each.device_id, each.verdict, each.field, each.expected, each.stored) for each in found]


def test_each_measure_that_differs_is_shown_with_both_values() -> None:
    assert faults(20) == [
        ("d0", "missing", "count", 6, None),
        ("d1", "different", "count", 6, 5),
        ("d1", "different", "sum", 9.5, 8.0),
        ("d2", "phantom", "count", None, 3),
    ]


def test_no_more_windows_are_shown_than_wanted() -> None:
    assert [each[0] for each in faults(2)] == ["d0", "d1", "d1"]
    assert faults(0) == []


def test_the_object_has_every_count_and_says_whether_all_is_equal() -> None:
    told = as_json(CHECKED, [], {"1m": 3, "1h": 0})
    assert (told["equal"], told["repaired"]) == (False, {"1m": 3, "1h": 0})
    assert told["compared"][0] == {
        "org": "acme",
        "level": "1m",
        "windows": 1_203,
        "equal": 1_200,
        "missing": 1,
        "different": 1,
        "phantom": 1,
        "left_out": 0,
    }


def test_the_table_has_a_row_for_each_level_and_one_for_each_fault() -> None:
    page = io.StringIO()
    print_check(Console(file=page), CHECKED, first_faults(cast(StoredParity, FakeStoredParity()), CHECKED, 20))
    lines = [line.split() for line in page.getvalue().splitlines()]
    assert ["acme", "1m", "1,203", "1,200", "1", "1", "1", "0"] in lines
    assert ["acme", "1h", "4", "4", "0", "0", "0", "0"] in lines
    assert ["acme", "1m", "d1/t", "2027-01-15", "08:01:00", "different", "sum", "9.5", "8.0"] in lines


def test_a_range_that_ends_before_it_begins_is_refused() -> None:
    ended = CliRunner().invoke(command, ["--from", "1h", "--to", "2h"])
    assert isinstance(ended.exception, UsageError)
    assert str(ended.exception) == "--from is not before --to."


def test_yes_without_repair_is_refused() -> None:
    assert isinstance(CliRunner().invoke(command, ["--yes"]).exception, UsageError)
