"""Readings that a gateway acknowledged from its spool are looked for by what they are, not by their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from weir.load.entries import Acknowledged as Line
from weir.load.entries import Entry, Header, Readings, Series, Spooled, Unknown, encode, steps
from weir.load.outcomes import Outcomes
from weir.verify.compare import StoredReading, compare_readings
from weir.verify.ledger import SPOOLED, Sent, read_ledgers
from weir.verify.recompute import expected_readings
from weir.verify.stored import StoredMessage
from weir.verify.unknown import NOWHERE, Intent, Promised, promised_readings
from weir.verify.verification import chunks

TS = 1_700_000_000_000


def ledger(folder: Path, values: list[float], *outcomes: Entry) -> Sent:
    """Readings of one identity with these values, one after another, and what became of them."""
    count = len(values)
    entries: list[Entry] = [
        Header(1, "t", TS, {}, repeats=True),
        Series(0, [("d", "a")]),
        Readings(0, [0] * count, steps([TS] * count), list(values)),
        *outcomes,
    ]
    path = folder / "l"
    path.write_bytes(b"".join(encode(entry) for entry in entries))
    return read_ledgers([path])


def message(value: float, offset: int) -> StoredMessage:
    return StoredMessage(StoredReading("d", "a", TS, value, ""), 2, offset, TS + offset)


def faults(sent: Sent, *stored: StoredMessage) -> list[str]:
    """What the comparison finds when the last of ``stored`` is what the view shows, as in ClickHouse."""
    (chunk,) = chunks(sent)
    found = promised_readings(chunk.promised, chunk.acknowledged, stored)
    expected = expected_readings(chunk.acknowledged + found)
    return [each.fault for each in compare_readings(expected, [each.reading for each in stored[-1:]])]


def test_the_ledger_keeps_what_the_spool_took_apart_from_what_has_a_place(tmp_path: Path) -> None:
    outcomes = Outcomes()
    outcomes.spooled(1)
    outcomes.stored(0, 3, 7, None)
    assert outcomes.acknowledged == outcomes.settled == 2
    sent = ledger(tmp_path, [1.0, 2.0], *outcomes.take())
    assert sent.count(SPOOLED) == 1
    assert (list(sent.fates.offset), sent.ends(), sent.repeats) == ([7, -1], {3: 8}, True)


def test_a_spooled_reading_that_is_stored_anywhere_is_no_fault(tmp_path: Path) -> None:
    assert faults(ledger(tmp_path, [1.0], Spooled([0])), message(1.0, 77)) == []


def test_a_spooled_reading_that_is_nowhere_is_lost(tmp_path: Path) -> None:
    assert faults(ledger(tmp_path, [1.0], Spooled([0]))) == ["lost"]


def test_the_last_value_that_was_sent_must_hold_even_from_the_spool(tmp_path: Path) -> None:
    sent = ledger(tmp_path, [1.0, 2.0], Line(2, 40, None, [0]), Spooled([1]))
    assert faults(sent, message(1.0, 40), message(2.0, 55)) == []
    assert faults(sent, message(1.0, 40)) == ["different"], "the spool lost what was acknowledged last"


def test_a_row_that_a_later_value_has_replaced_is_not_missed(tmp_path: Path) -> None:
    sent = ledger(tmp_path, [1.0, 2.0], Spooled([0]), Line(2, 55, None, [1]))
    assert faults(sent, message(2.0, 55)) == []


def test_a_reading_that_was_replayed_twice_counts_at_its_last_place() -> None:
    (found,) = promised_readings(
        [Promised(intent=Intent("d", "a", TS, 1.0, None), is_last=True)], [], [message(1.0, 5), message(1.0, 9)]
    )
    assert (found.partition, found.offset) == (2, 9)
    (lost,) = promised_readings([Promised(intent=Intent("d", "a", TS, 4.0, None), is_last=True)], [], [message(1.0, 5)])
    assert lost.partition == NOWHERE


@pytest.mark.parametrize("later", [Spooled([1]), Unknown([1], "no answer")])
def test_what_may_have_been_replaced_is_not_held_against_the_rest(tmp_path: Path, later: Entry) -> None:
    (chunk,) = chunks(ledger(tmp_path, [1.0, 2.0], Spooled([0]), later))
    assert [each.is_last for each in chunk.promised][:1] == [False]
