"""Everything stored of a run against the recomputation from what the broker acknowledged."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from weir.demo.ledger import Ledger, Origin
from weir.verify import refusals
from weir.verify.compare import Difference, StoredReading, StoredWindow, compare_readings, compare_windows
from weir.verify.progress import Closed
from weir.verify.recompute import (
    HOUR_MS,
    MINUTE_MS,
    Acknowledged,
    Readings,
    Window,
    WindowKey,
    expected_readings,
    expected_windows,
)
from weir.verify.refusals import BadRecord
from weir.verify.stored import StoredMessage
from weir.verify.unknown import NOWHERE, promised_readings

Series = tuple[str, str]


class StoredRows(Protocol):
    """Where stored rows are read from; :class:`weir.demo.stored.StoredRun` asks ClickHouse."""

    def readings(self, since_ms: int) -> Iterable[StoredReading]:
        """Readings with event times from ``since_ms`` on."""

    def windows(self, view: str, since_ms: int) -> Iterable[StoredWindow]:
        """Aggregates of windows that begin at ``since_ms`` or later."""

    def messages(self, since_ms: int) -> Iterable[StoredMessage]:
        """Readings with the message that they came from, in the order of the log."""

    def inserted_twice(self, since_ms: int) -> int:
        """Messages that have more than one row."""


@dataclass(frozen=True)
class Parity:
    """How many identities, windows and refusals were compared, and what differed."""

    readings: int
    minutes: int
    hours: int
    dead_letters: int
    differences: list[Difference]


@dataclass(frozen=True)
class Scope:
    """What of the stored rows belongs to the run.

    Event times begin at ``since_ms``. The hour in which the run began may also hold older readings of the ``earlier``
    series, so that hour of theirs is left out; the minute does not. Only ``closed`` windows are compared.
    """

    since_ms: int
    earlier: Collection[Series]
    closed: Closed


def compare_run(ledger: Ledger, stored: StoredRows, refused: Mapping[Origin, str], scope: Scope) -> Parity:
    """Compare readings, closed 1-minute and 1-hour windows and dead letters. Blocks for a few queries."""
    accepted = _accepted(ledger, list(stored.messages(scope.since_ms)))
    expected = expected_readings(accepted)
    partition_of = {each.device_id: each.partition for each in accepted if each.partition != NOWHERE}
    differences = compare_readings(expected, stored.readings(scope.since_ms))
    twice = stored.inserted_twice(scope.since_ms)
    if twice:
        differences.append(Difference("raw_readings", "doubled", f"{twice} rows of the same message"))
    counts = []
    for view, size_ms in (("aggregates_1m", MINUTE_MS), ("aggregates_1h", HOUR_MS)):
        want, got = _in_scope(view, size_ms, expected, stored, partition_of, scope)
        differences += compare_windows(view, want, got)
        counts.append(len(want))
    differences += compare_refusals(ledger, refused)
    return Parity(len(expected), counts[0], counts[1], len(ledger.bad), differences)


def _accepted(ledger: Ledger, stored: Sequence[StoredMessage]) -> list[Acknowledged]:
    """Everything that was acknowledged.

    A gateway tells no append times: a window's revision, which counts by them, is held against those of the rows.
    """
    times = {(each.partition, each.offset): each.append_ts for each in stored}
    accepted = [*ledger.readings, *promised_readings(ledger.promised(), ledger.readings, stored)]
    return [
        each if each.append_ts is not None else each._replace(append_ts=times.get((each.partition, each.offset)))
        for each in accepted
    ]


def compare_refusals(ledger: Ledger, refused: Mapping[Origin, str]) -> list[Difference]:
    """Every bad record must be among the dead letters with its reason, and no good one."""
    bad = {origin: BadRecord(message.kind, message.reason) for origin, message in ledger.bad.items()}
    good = (((each.partition, each.offset), f"{each.device_id}/{each.sensor}") for each in ledger.readings)
    return refusals.compare_refusals(bad, good, refused)


def _in_scope(
    view: str,
    size_ms: int,
    expected: Readings,
    stored: StoredRows,
    partition_of: Mapping[str, int],
    scope: Scope,
) -> tuple[dict[WindowKey, Window], list[StoredWindow]]:
    """The expected and the stored windows of one size that can be compared."""
    first = scope.since_ms - scope.since_ms % size_ms
    closed = scope.closed.hours if size_ms == HOUR_MS else scope.closed.minutes
    mixed = scope.earlier if size_ms == HOUR_MS and first < scope.since_ms else ()

    def counts(key: WindowKey) -> bool:
        if key.start == first and (key.device_id, key.sensor) in mixed:
            return False
        partition = partition_of.get(key.device_id)
        return partition is None or key.start + size_ms <= closed.get(partition, key.start)

    want = {key: window for key, window in expected_windows(expected, size_ms).items() if counts(key)}
    return want, [row for row in stored.windows(view, first) if counts(row.key)]
