"""What the demo compares, when it starts and ends, and what it makes of workers' metrics and of probes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from weir.demo.latency import quantile
from weir.demo.ledger import Ledger
from weir.demo.parity import Scope, compare_refusals, compare_run
from weir.demo.preparation import sending_end
from weir.demo.reading import Outgoing, Reading
from weir.demo.settling import windows_to_close
from weir.demo.worker_metrics import WorkerMetrics
from weir.verify.compare import StoredReading, StoredWindow
from weir.verify.progress import Closed
from weir.verify.recompute import HOUR_MS, MINUTE_MS, expected_readings, expected_windows
from weir.verify.stored import StoredMessage

HOUR = 1_700_000_000_000 // HOUR_MS * HOUR_MS
SINCE = HOUR + 10 * MINUTE_MS + 30_000


class StoredAsSent:
    """Stands in for ClickHouse: holds what the ledger's readings make, to be spoilt by a test."""

    def __init__(self, ledger: Ledger) -> None:
        held = expected_readings(ledger.readings)
        self.rows = [StoredReading(*identity, each.value, each.text or "") for identity, each in held.items()]
        self.minutes = [StoredWindow(*pair) for pair in expected_windows(held, MINUTE_MS).items()]
        self.hours = [StoredWindow(*pair) for pair in expected_windows(held, HOUR_MS).items()]
        self.raw = [
            StoredMessage(StoredReading(*each[:4], each.text or ""), each.partition, each.offset, SINCE)
            for each in ledger.readings
        ]
        self.twice = 0

    def readings(self, since_ms: int) -> Iterator[StoredReading]:
        return iter(self.rows)

    def windows(self, view: str, since_ms: int) -> Iterator[StoredWindow]:
        return iter(self.minutes if view == "aggregates_1m" else self.hours)

    def messages(self, since_ms: int) -> Iterator[StoredMessage]:
        return iter(self.raw)

    def inserted_twice(self, since_ms: int) -> int:
        return self.twice


@pytest.fixture
def ledger() -> Ledger:
    """Two readings a second for three minutes in partition 2, and one bad record."""
    filled = Ledger()
    for number in range(360):
        sent = Reading("d", "t", SINCE + number * 500, value=float(number))
        filled.acknowledged(Outgoing("d", b"", "reading", sent), 2, number, SINCE + number * 500)
    filled.acknowledged(Outgoing("d", b"", "from 1970", reason="too_old"), 2, 360, SINCE)
    return filled


@pytest.fixture
def stored(ledger: Ledger) -> StoredAsSent:
    return StoredAsSent(ledger)


REFUSED = {(2, 360): "too_old"}


def scope(minutes: int = HOUR + 13 * MINUTE_MS, hours: int = 0, *earlier: tuple[str, str]) -> Scope:
    return Scope(SINCE, earlier, Closed({2: minutes}, {2: hours}))


def faults(ledger: Ledger, stored: StoredAsSent, where: Scope) -> list[tuple[str, str]]:
    found = compare_run(ledger, stored, REFUSED, where).differences
    return [(each.table, each.fault) for each in found]


def test_a_run_that_was_stored_as_sent_has_parity(ledger: Ledger, stored: StoredAsSent) -> None:
    parity = compare_run(ledger, stored, REFUSED, scope())
    # minutes 10 (its second half), 11 and 12 are closed, 13 (its first half) is not
    assert (parity.readings, parity.minutes, parity.hours, parity.dead_letters) == (360, 3, 0, 1)
    assert parity.differences == []


def test_a_lost_row_is_a_difference(ledger: Ledger, stored: StoredAsSent) -> None:
    stored.rows.pop()
    assert faults(ledger, stored, scope()) == [("readings", "lost")]


def test_a_row_inserted_twice_is_a_difference_even_if_the_view_hides_it(ledger: Ledger, stored: StoredAsSent) -> None:
    stored.twice = 1
    assert faults(ledger, stored, scope()) == [("raw_readings", "doubled")]


def test_a_closed_minute_that_is_missing_is_a_difference(ledger: Ledger, stored: StoredAsSent) -> None:
    del stored.minutes[1]
    assert faults(ledger, stored, scope()) == [("aggregates_1m", "lost")]


def test_a_minute_that_is_not_closed_is_not_compared(ledger: Ledger, stored: StoredAsSent) -> None:
    del stored.minutes[3]
    assert faults(ledger, stored, scope()) == []


def test_a_closed_hour_is_compared(ledger: Ledger, stored: StoredAsSent) -> None:
    closed = scope(HOUR + HOUR_MS, HOUR + HOUR_MS)
    assert compare_run(ledger, stored, REFUSED, closed).hours == 1
    stored.hours.clear()
    assert faults(ledger, stored, closed) == [("aggregates_1h", "lost")]


def test_an_hour_that_holds_readings_of_an_earlier_run_is_left_out_but_its_minutes_are_not(
    ledger: Ledger, stored: StoredAsSent
) -> None:
    stored.hours.clear()
    closed = scope(HOUR + HOUR_MS, HOUR + HOUR_MS, ("d", "t"))
    parity = compare_run(ledger, stored, REFUSED, closed)
    assert (parity.minutes, parity.hours, parity.differences) == (4, 0, [])


def test_a_bad_record_that_is_no_dead_letter_is_lost(ledger: Ledger) -> None:
    assert [each.fault for each in compare_refusals(ledger, {})] == ["lost"]


def test_a_dead_letter_with_another_reason_is_different(ledger: Ledger) -> None:
    (difference,) = compare_refusals(ledger, {(2, 360): "too_far_in_future"})
    assert (difference.fault, difference.expected, difference.stored) == ("different", "too_old", "too_far_in_future")


def test_a_good_reading_among_the_dead_letters_is_reported(ledger: Ledger) -> None:
    (difference,) = compare_refusals(ledger, {**REFUSED, (2, 5): "unknown_device"})
    assert (difference.fault, difference.stored) == ("never sent", "unknown_device")


def test_the_last_minute_with_a_number_has_to_close(ledger: Ledger) -> None:
    assert windows_to_close(ledger.readings, SINCE) == ({2: HOUR + 14 * MINUTE_MS}, {})


def test_an_hour_that_ended_in_the_run_has_to_close(ledger: Ledger) -> None:
    late = [each._replace(ts=each.ts + 49 * MINUTE_MS) for each in ledger.readings]  # ends at three past the hour
    minutes, hours = windows_to_close(late, SINCE + 49 * MINUTE_MS)
    assert (minutes, hours) == ({2: HOUR + HOUR_MS + 3 * MINUTE_MS}, {2: HOUR + HOUR_MS})


@pytest.mark.parametrize(
    ("start_s", "minutes", "end_s"),
    [(0, 2.5, 180), (10, 2.5, 180), (29, 2.5, 180), (30, 2.5, 180), (31, 2.5, 180), (59, 2.5, 180), (20, 1, 60)],
)
def test_sending_ends_with_the_nearest_whole_minute(start_s: int, minutes: float, end_s: int) -> None:
    assert sending_end(HOUR + start_s * 1000, minutes) == HOUR + end_s * 1000


def test_a_run_of_less_than_a_minute_ends_when_it_says() -> None:
    assert sending_end(SINCE, 0.3) == SINCE + 18_000


def test_a_quantile_is_a_value_that_was_measured() -> None:
    assert quantile([0.4, 0.1, 0.3, 0.2], 0.5) == 0.2
    assert quantile([float(n) for n in range(1, 101)], 0.95) == 95.0
    assert quantile([0.7], 0.95) == 0.7
    assert quantile([], 0.5) is None


def test_metrics_count_from_the_start_of_the_run() -> None:
    before = WorkerMetrics(100, 90, 10, 1, 5, {"too_old": 3, "undecodable": 2})
    now = WorkerMetrics(150, 130, 14, 1, 7, {"too_old": 3, "undecodable": 6})
    assert now.since(before) == WorkerMetrics(50, 40, 4, 0, 7, {"undecodable": 4})
