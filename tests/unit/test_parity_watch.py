"""The check that goes on in a worker: what it looks at, when a window counts as different, and that it harms nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest

from sinks.clickhouse.parity import HOUR_MS, Slice, StoredParity, Tally
from streams.telemetry.parity_watch import DIFFERENT, SHARE, ParityWatch, check_once, hours, told
from weir.errors import TransientError

NOON = 500_000 * HOUR_MS
MINUTE = 60_000
CLOSED = {"1m": NOON + 10 * MINUTE, "1h": NOON}


class FakeStoredParity:
    """Every slice has a window a minute; ``broken`` are the starts of those that differ."""

    def __init__(self, *orgs: str) -> None:
        self.orgs = list(orgs)
        self.broken: dict[str, set[int]] = {"1m": set(), "1h": set()}
        self.asked: list[Slice] = []
        self.oldest: int | None = None

    def organisations(self, begin: int, end: int) -> list[str]:
        return self.orgs

    def oldest_hour(self, org: str, since: int) -> int | None:
        return self.oldest

    def tally(self, part: Slice) -> Tally:
        self.asked.append(part)
        size = MINUTE if part.level == "1m" else HOUR_MS
        starts = set(range(part.begin, part.end, size))
        different = len(starts & self.broken[part.level])
        return Tally(equal=len(starts) - different, different=different)


@pytest.fixture
def stored() -> Iterator[FakeStoredParity]:
    yield FakeStoredParity("acme")
    DIFFERENT.clear()
    SHARE.clear()


def watching(stored: FakeStoredParity) -> ParityWatch:
    return ParityWatch(cast(StoredParity, stored), kept_days=37, round_seconds=60.0)


def closed(minutes_later: int = 0) -> dict[Any, int | None]:
    return {"1m": CLOSED["1m"] + minutes_later * MINUTE, "1h": CLOSED["1h"]}


def gauges() -> tuple[float, float]:
    return DIFFERENT.labels("1m")._value.get(), SHARE.labels("1m")._value.get()


def asked(stored: FakeStoredParity, level: str) -> list[tuple[int, int]]:
    """Minutes about noon of each slice that was asked for."""
    return [
        ((each.begin - NOON) // MINUTE, (each.end - NOON) // MINUTE) for each in stored.asked if each.level == level
    ]


def test_a_window_is_looked_at_one_round_after_it_closed_because_it_is_not_stored_before(
    stored: FakeStoredParity,
) -> None:
    watch = watching(stored)
    watch.round(closed())
    assert stored.asked == []
    watch.round(closed(2))
    assert asked(stored, "1m") == [(-50, 0), (0, 10)]
    assert asked(stored, "1h") == [(-120, -60), (-60, 0)]


def test_each_minute_is_looked_at_once(stored: FakeStoredParity) -> None:
    watch = watching(stored)
    for later in (0, 2, 5, 5):
        watch.round(closed(later))
    assert asked(stored, "1m") == [(-50, 0), (0, 10), (10, 12), (12, 15)]


def test_an_older_hour_is_looked_at_in_every_round_with_its_minutes(stored: FakeStoredParity) -> None:
    stored.oldest = NOON - HOUR_MS
    watch = watching(stored)
    watch.round(closed())
    watch.round(closed())
    stored.asked.clear()
    watch.round(closed())
    assert (asked(stored, "1m"), asked(stored, "1h")) == ([(-60, 0)], [(-60, 0)])


def test_nothing_is_looked_at_while_nothing_is_closed(stored: FakeStoredParity) -> None:
    watch = watching(stored)
    for _ in range(2):
        assert watch.round({"1m": None, "1h": None}) == []
    assert stored.asked == []


def test_a_window_that_was_corrected_meanwhile_does_not_count(stored: FakeStoredParity) -> None:
    watch = watching(stored)
    stored.broken["1m"] = {NOON}
    watch.round(closed())
    suspects = watch.round(closed())
    assert [each.begin for each in suspects] == [NOON]
    stored.broken["1m"].clear()
    watch.again(suspects)
    assert gauges() == (0, 1.0)


def test_a_window_that_differs_twice_counts_until_it_is_mended(stored: FakeStoredParity) -> None:
    watch = watching(stored)
    stored.broken["1m"] = {NOON, NOON + MINUTE}
    watch.round(closed())
    watch.again(watch.round(closed()))
    assert gauges() == (2, 1 - 2 / 60)
    stored.broken["1m"].discard(NOON)
    watch.again([])
    assert gauges() == (1, 1 - 1 / 60)
    stored.broken["1m"].clear()
    watch.again([])
    assert gauges() == (0, 1.0)


def test_minutes_of_one_hour_that_differ_in_different_rounds_are_all_remembered(stored: FakeStoredParity) -> None:
    watch = watching(stored)
    stored.broken["1m"] = {NOON, NOON + 11 * MINUTE}
    watch.round(closed())
    watch.again(watch.round(closed(2)))
    watch.again(watch.round(closed(2)))
    assert gauges()[0] == 2


def test_every_organisation_gets_its_turn_when_a_round_has_no_time(stored: FakeStoredParity) -> None:
    stored.orgs = ["acme", "globex", "initech"]
    watch = ParityWatch(cast(StoredParity, stored), kept_days=37, round_seconds=0.0)
    for later in range(13):
        watch.round(closed(later))
    assert {each.org for each in stored.asked} == {"acme", "globex", "initech"}


def test_a_server_that_is_away_is_said_and_stops_nothing(
    stored: FakeStoredParity, caplog: pytest.LogCaptureFixture
) -> None:
    def look() -> list[Slice]:
        raise TransientError("ClickHouse cannot be reached.")

    asyncio.run(check_once(look, watching(stored), 0.0))
    assert "Stored windows were not checked: ClickHouse cannot be reached." in caplog.text


def test_what_differs_is_told_with_the_command_that_shows_it() -> None:
    sentence = told(Slice("1m", "acme", NOON, NOON + HOUR_MS), Tally(equal=58, missing=1, different=1))
    assert sentence == (
        "2 of 60 1m windows of acme are not what they were made of (1 missing, 1 different, 0 phantom): "
        "see `weir parity --org acme --from 2027-01-15T08:00 --to 2027-01-15T09:00`."
    )


def test_a_range_is_cut_at_whole_hours() -> None:
    parts = hours(Slice("1m", "acme", NOON - MINUTE, NOON + HOUR_MS + MINUTE))
    assert [((each.begin - NOON) // MINUTE, (each.end - NOON) // MINUTE) for each in parts] == [
        (-1, 0),
        (0, 60),
        (60, 61),
    ]
