"""What the commands of metadata take as options, and how they print lists."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from connectors.entities.models import PropertyRange
from connectors.entities.pages import Page
from weir.cli.listing import SHOWN, Asked, Column, every, print_list
from weir.cli.property_options import contained, properties_of, ranges_of
from weir.cli.times import time_ago, time_ahead
from weir.errors import UsageError

COLUMNS = (Column("device", "key"), Column("min", "min_value", "number"), Column("made", "at", "time"))
ITEM = {"key": "n1", "min_value": -10.0, "at": "2026-11-21T17:04:10.123456Z", "properties": {"a": "b,c"}}


def test_a_table_has_the_columns_and_a_script_gets_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    print_list([ITEM], COLUMNS, Asked("table", None), "None.")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["device", "min", "made"]
    assert lines[2].split() == ["n1", "-10", "2026-11-21", "17:04:10"]
    print_list([ITEM], COLUMNS, Asked("json", None), "None.")
    assert json.loads(capsys.readouterr().out) == [ITEM]
    print_list([ITEM, ITEM], COLUMNS, Asked("jsonl", None), "None.")
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [ITEM, ITEM]
    print_list([ITEM], COLUMNS, Asked("csv", None), "None.")
    assert capsys.readouterr().out == (
        'key,min_value,at,properties\nn1,-10.0,2026-11-21T17:04:10.123456Z,"{""a"": ""b,c""}"\n'
    )


def test_nothing_is_an_empty_array_a_header_or_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    for form, out in (("json", "[]\n"), ("jsonl", ""), ("csv", "key,min_value,at\n"), ("table", "")):
        print_list([], COLUMNS, Asked(form, None), "No devices.")  # type: ignore[arg-type]
        printed = capsys.readouterr()
        assert printed.out == out
        assert printed.err == ("No devices.\n" if form == "table" else "")


def test_a_table_is_cut_and_says_so_but_a_limit_is_meant(capsys: pytest.CaptureFixture[str]) -> None:
    items = [{"key": f"n{number}"} for number in range(SHOWN + 1)]
    print_list(items, COLUMNS, Asked("table", None), "")
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == SHOWN + 2
    assert printed.err.startswith(f"The first {SHOWN}; there are more")
    print_list(items, COLUMNS, Asked("table", 3), "")
    printed = capsys.readouterr()
    assert (len(printed.out.splitlines()), printed.err) == (5, "")
    print_list(items, COLUMNS, Asked("jsonl", None), "")
    assert len(capsys.readouterr().out.splitlines()) == SHOWN + 1


def test_a_name_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_list([{"key": "n\x1b[31m"}], COLUMNS, Asked("table", None), "")
    assert "\x1b" not in capsys.readouterr().out


def test_pages_are_fetched_only_as_far_as_they_are_read() -> None:
    asked: list[tuple[int, str | None]] = []

    def fetch(size: int, cursor: str | None) -> Page[int]:
        asked.append((size, cursor))
        begin = int(cursor or 0)
        return Page(items=[begin, begin + 1], next_cursor=str(begin + 2) if begin < 4 else None)

    assert list(every(fetch)) == [0, 1, 2, 3, 4, 5]
    assert asked == [(1000, None), (1000, "2"), (1000, "4")]
    asked.clear()
    items: Iterator[int] = every(fetch, limit=2)
    assert [next(items), next(items)] == [0, 1]
    assert asked == [(2, None)]


def test_properties_are_nested_json_and_what_is_no_json_is_a_text() -> None:
    given = ["config.readingInterval=60", "location=Lab A", 'firmware.version="1.0"', "config.mode=null", "n=NaN"]
    assert properties_of(given) == {
        "config": {"readingInterval": 60, "mode": None},
        "location": "Lab A",
        "firmware": {"version": "1.0"},
        "n": "NaN",
    }


@pytest.mark.parametrize("given", [["a"], ["=1"], ["a..b=1"], ["a=1", "a=2"], ["a=1", "a.b=2"], ["a.b=1", "a=2"]])
def test_a_property_without_a_path_or_set_twice_is_refused(given: list[str]) -> None:
    with pytest.raises(UsageError, match="^--property "):
        properties_of(given)


def test_ranges_may_be_open_at_either_end() -> None:
    assert ranges_of(["a.b:1:2.5", "c::3", "d:-1:"]) == [
        PropertyRange(path="a.b", min=1, max=2.5),
        PropertyRange(path="c", max=3),
        PropertyRange(path="d", min=-1),
    ]


@pytest.mark.parametrize("given", ["a", "a:1", "a::", ":1:2", "a:x:2"])
def test_a_range_that_does_not_read_path_min_max_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="^--range takes "):
        ranges_of([given])


@pytest.mark.parametrize("given", ["{", "[1]", "1", '{"a": NaN}'])
def test_contains_takes_an_object(given: str) -> None:
    with pytest.raises(UsageError, match="^--contains takes a JSON object"):
        contained(given)


def test_a_duration_is_before_or_after_now_and_an_iso_time_is_itself() -> None:
    now = datetime.now(UTC)
    past, future = time_ago("2h"), time_ahead("7d")
    assert past is not None and abs(now - timedelta(hours=2) - past) < timedelta(seconds=5)
    assert future is not None and abs(now + timedelta(days=7) - future) < timedelta(seconds=5)
    for read in (time_ago, time_ahead):
        assert read("2026-11-21T08:00") == datetime(2026, 11, 21, 8, tzinfo=UTC)
        assert read("2026-11-21T08:00+02:00") == datetime(2026, 11, 21, 6, tzinfo=UTC)
        assert read(None) is None
    with pytest.raises(UsageError, match="is no time"):
        time_ahead("soon")
