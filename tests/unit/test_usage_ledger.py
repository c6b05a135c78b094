from __future__ import annotations

import logging
from pathlib import Path

import pytest

from connectors.gateway.quota.usage_ledger import UsageLedger, UsageRow


def accepted(organisation: str, minute: int, number: int) -> UsageRow:
    return UsageRow(organisation, minute, "", number)


def test_what_is_counted_after_a_batch_was_cut_is_no_part_of_it(tmp_path: Path) -> None:
    ledger = UsageLedger(tmp_path)
    ledger.add([accepted("acme", 60, 1), accepted("acme", 60, 2)])
    first = ledger.next_batch()
    ledger.add([accepted("acme", 60, 4)])
    assert ledger.next_batch() is first, "it may have been sent: it stays as it is"
    assert first is not None
    assert first.rows == [accepted("acme", 60, 3)]
    ledger.stored()
    second = ledger.next_batch()
    assert second is not None
    assert second.rows == [accepted("acme", 60, 4)]
    assert second.token != first.token


def test_the_next_process_sends_the_same_batch_under_the_same_token(tmp_path: Path) -> None:
    ledger = UsageLedger(tmp_path / "new folder")
    ledger.load()
    ledger.add([UsageRow("acme", 60, "invalid", rejected=1)])
    batch = ledger.next_batch()
    ledger.add([accepted("acme", 60, 4)])
    ledger.save()
    following = UsageLedger(tmp_path / "new folder")
    following.load()
    assert following.next_batch() == batch
    assert len(following) == 2


def test_a_long_absence_of_clickhouse_costs_minutes_and_no_counts(tmp_path: Path) -> None:
    ledger = UsageLedger(tmp_path, most_rows=100)
    for minute in range(0, 30 * 86_400, 60):
        ledger.add([accepted("acme", minute, 1)])
        assert len(ledger) <= 100
    batch = ledger.next_batch()
    assert batch is not None
    assert sum(row.accepted for row in batch.rows) == 30 * 1_440
    assert all(row.minute % 60 == 0 for row in batch.rows)


def test_a_file_that_cannot_be_read_is_put_aside_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number, content in enumerate((b"", b"{", b"\xff", b'{"sending":1,"waiting":[]}')):
        (tmp_path / "usage.json").write_bytes(content)
        ledger = UsageLedger(tmp_path)
        with caplog.at_level(logging.ERROR):
            ledger.load()
        assert len(ledger) == 0
        assert (tmp_path / "usage.unreadable").read_bytes() == content
        assert caplog.text.count("cannot be read") == number + 1
