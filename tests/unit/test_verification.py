"""The comparison of a ledger with what is stored finds every fault that is put in, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from weir.load.entries import Acknowledged as Line
from weir.load.entries import Bad, Entry, Failed, Header, Readings, Series, encode, steps
from weir.verify.compare import StoredReading, StoredWindow
from weir.verify.ledger import Sent, read_ledgers
from weir.verify.progress import Closed
from weir.verify.recompute import HOUR_MS, MINUTE_MS, Acknowledged, expected_readings, expected_windows
from weir.verify.report import Report
from weir.verify.stored import InsertedTwice, StoredMessage
from weir.verify.verification import chunks, compare

HOUR = 1_700_000_000_000 // HOUR_MS * HOUR_MS
DEVICES = ["d-0", "d-1", "d-2"]
COUNT = 90
"""Readings, ten seconds apart, device after device; the last two are a failed and an unknown one."""
FAILED, UNKNOWN = COUNT, COUNT + 1


@pytest.fixture
def sent(tmp_path_factory: pytest.TempPathFactory) -> Sent:
    ts = [HOUR + number * 10_000 for number in range(COUNT + 2)]
    series = [number % 3 for number in range(COUNT + 2)]
    entries: list[Entry] = [
        Header(1, "t", HOUR, {}),
        Series(0, [(device, "a") for device in DEVICES]),
        Readings(0, series, steps(ts), [float(number) for number in range(COUNT + 2)]),
        Bad(COUNT + 2, ["from 1970"], ["too_old"]),
        *(Line(number % 3, number, HOUR + number, [number]) for number in range(COUNT)),
        Failed([FAILED], "refused"),
        Line(0, 500, HOUR, [COUNT + 2]),
    ]
    path = tmp_path_factory.mktemp("ledger") / "l"
    path.write_bytes(b"".join(encode(entry) for entry in entries))
    return read_ledgers([path])


def message(number: int) -> Acknowledged:
    """Reading ``number`` as the broker would have acknowledged it."""
    partition, value = number % 3, float(number)
    return Acknowledged(DEVICES[partition], "a", HOUR + number * 10_000, value, None, partition, number, HOUR + number)


class Fake:
    """Stands in for ClickHouse; holds what some messages make, to be spoilt by a test."""

    def __init__(self, held: list[Acknowledged]) -> None:
        expected = expected_readings(held)
        self.rows = [StoredReading(*identity, each.value, each.text or "") for identity, each in expected.items()]
        self.raw = [
            StoredMessage(StoredReading(*each[:4], each.text or ""), each.partition, each.offset, each.append_ts or 0)
            for each in held
        ]
        self.of = {
            view: [StoredWindow(*pair) for pair in expected_windows(expected, size).items()]
            for view, size in (("aggregates_1m", MINUTE_MS), ("aggregates_1h", HOUR_MS))
        }
        self.twice: list[InsertedTwice] = []
        self.refused = {(0, 500): "too_old"}

    def readings(self, devices: frozenset[str]) -> Iterator[StoredReading]:
        return (row for row in self.rows if row.device_id in devices)

    def windows(self, view: str, devices: frozenset[str]) -> Iterator[StoredWindow]:
        return (row for row in self.of[view] if row.key.device_id in devices)

    def messages(self, devices: frozenset[str]) -> Iterator[StoredMessage]:
        return (row for row in self.raw if row.reading.device_id in devices)

    def inserted_twice(self, devices: frozenset[str]) -> list[InsertedTwice]:
        return [each for each in self.twice if each.device_id in devices]


ALL_CLOSED = Closed(dict.fromkeys(range(3), HOUR + HOUR_MS), dict.fromkeys(range(3), HOUR + HOUR_MS))


def look(sent: Sent, stored: Fake, closed: Closed = ALL_CLOSED) -> Report:
    return compare(sent, stored, closed, stored.refused, lambda _: None)


def faults(report: Report) -> dict[tuple[str, str], int]:
    return {(table, fault): count for (table, fault), count in report.faults.items()}


@pytest.fixture
def stored() -> Fake:
    return Fake([message(number) for number in range(COUNT)])


def test_what_is_stored_as_it_was_acknowledged_is_equal(sent: Sent, stored: Fake) -> None:
    report = look(sent, stored)
    assert faults(report) == {}
    assert (report.acknowledged, report.failed, report.unknown, report.unknown_stored) == (91, 1, 1, 0)
    assert (report.distinct, report.resends, report.bad) == (90, 0, 1)
    assert dict(report.windows) == {"aggregates_1m": 45, "aggregates_1h": 3}


def test_an_unknown_reading_that_is_stored_counts_as_sent(sent: Sent) -> None:
    stored = Fake([message(number) for number in [*range(COUNT), UNKNOWN]])
    report = look(sent, stored)
    assert faults(report) == {}
    assert (report.unknown_stored, report.distinct) == (1, 91)


def test_an_unknown_reading_that_is_stored_must_be_in_its_window(sent: Sent, stored: Fake) -> None:
    more = Fake([message(number) for number in [*range(COUNT), UNKNOWN]])
    stored.rows, stored.raw = more.rows, more.raw
    assert set(faults(look(sent, stored))) == {("aggregates_1m", "lost"), ("aggregates_1h", "different")}


def test_a_failed_reading_that_is_stored_is_a_phantom(sent: Sent) -> None:
    stored = Fake([message(number) for number in [*range(COUNT), FAILED]])
    assert faults(look(sent, stored))[("readings", "never sent")] == 1


def _lose(stored: Fake) -> None:
    del stored.rows[5]


def _double(stored: Fake) -> None:
    stored.rows.append(stored.rows[5])


def _double_raw(stored: Fake) -> None:
    stored.twice.append(InsertedTwice("d-1", "a", HOUR, 1, 4, 2))


def _change(stored: Fake) -> None:
    stored.rows[5] = stored.rows[5]._replace(value=-1.0)


def _add(stored: Fake) -> None:
    stored.rows.append(StoredReading("d-2", "a", HOUR - 1, 1.0, ""))


def _window(view: str, change: str) -> Callable[[Fake], None]:
    def spoil(stored: Fake) -> None:
        rows = stored.of[view]
        key, measures = rows[1]
        if change == "lose":
            del rows[1]
        elif change == "double":
            rows.append(rows[1])
        elif change == "add":
            rows.append(StoredWindow(key._replace(start=HOUR - HOUR_MS), measures))
        else:
            rows[1] = StoredWindow(key, replace(measures, **{change: getattr(measures, change) + 1}))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "table", "fault", "field"),
    [
        (_lose, "readings", "lost", ""),
        (_double, "readings", "doubled", ""),
        (_double_raw, "raw_readings", "doubled", "rows"),
        (_change, "readings", "different", "value"),
        (_add, "readings", "never sent", "value"),
        *(
            (_window(view, change), view, fault, field)
            for view in ("aggregates_1m", "aggregates_1h")
            for change, fault, field in [
                ("lose", "lost", ""),
                ("double", "doubled", ""),
                ("add", "never sent", "count"),
                ("sum", "different", "sum"),
                ("revision", "different", "revision"),
            ]
        ),
        (lambda stored: stored.refused.clear(), "deadletters", "lost", "reason"),
        (lambda stored: stored.refused.update({(0, 500): "no_value"}), "deadletters", "different", "reason"),
        (lambda stored: stored.refused.update({(1, 4): "no_value"}), "deadletters", "never sent", "reason"),
    ],
)
def test_each_fault_is_found(
    sent: Sent, stored: Fake, spoil: Callable[[Fake], None], table: str, fault: str, field: str
) -> None:
    spoil(stored)
    report = look(sent, stored)
    assert faults(report) == {(table, fault): 1}
    assert [(each.table, each.fault, each.field) for each in report.differences] == [(table, fault, field)]
    assert not report.equal


def test_rows_of_other_devices_are_not_looked_at(sent: Sent, stored: Fake) -> None:
    stored.rows.append(StoredReading("d-0-of-somebody-else", "a", HOUR, 1.0, ""))
    assert faults(look(sent, stored)) == {}


def test_a_window_that_is_open_is_counted_and_not_compared(sent: Sent, stored: Fake) -> None:
    closed = Closed(dict.fromkeys(range(3), HOUR + 2 * MINUTE_MS), {})
    stored.of["aggregates_1m"] = [row for row in stored.of["aggregates_1m"] if row.key.start < HOUR + 2 * MINUTE_MS]
    stored.of["aggregates_1h"] = []
    report = look(sent, stored, closed)
    assert faults(report) == {}
    assert (report.windows["aggregates_1m"], report.open_windows["aggregates_1m"]) == (6, 39)
    assert (report.windows["aggregates_1h"], report.open_windows["aggregates_1h"]) == (0, 3)


def test_a_partition_that_closed_nothing_has_no_window_to_compare(sent: Sent, stored: Fake) -> None:
    stored.of = {"aggregates_1m": [], "aggregates_1h": []}
    assert faults(look(sent, stored, Closed({}, {}))) == {}


def test_devices_are_never_cut_in_two(sent: Sent) -> None:
    found = list(chunks(sent, size=32))
    assert [sorted(chunk.devices) for chunk in found] == [["d-0", "d-1"], ["d-2"]]
    assert [len(chunk.acknowledged) for chunk in found] == [60, 30]
    assert [len(chunk.unknown) for chunk in found] == [1, 0]


def test_a_report_for_scripts_names_counts_and_the_first_differences(sent: Sent, stored: Fake) -> None:
    stored.rows.clear()
    told = look(sent, stored).to_dict(rows=2)
    assert told["equal"] is False
    assert told["readings"] == {
        "distinct": 90, "resends": 0, "conflicts": 0, "lost": 90, "doubled": 0, "phantom": 0, "different": 0
    }  # fmt: skip
    assert [each["fault"] for each in told["differences"]] == ["lost", "lost"]  # type: ignore[attr-defined]
