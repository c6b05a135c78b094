"""Ledgers against what is stored: readings, closed windows and dead letters.

Some devices are compared at a time, so that the whole is never in memory twice: a ledger takes about 50 bytes a
reading, a chunk (:data:`CHUNK`) about 150 MB while it is compared. 614,000 readings took 10 s of CPU and 255 MB.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from weir.errors import TransientError, UsageError
from weir.settings import Settings
from weir.verify.compare import Difference, StoredReading, StoredWindow, compare_readings, compare_windows
from weir.verify.ledger import ACKNOWLEDGED, FAILED, SPOOLED, UNKNOWN, Sent
from weir.verify.progress import Closed, StageProgress
from weir.verify.recompute import (
    HOUR_MS,
    MINUTE_MS,
    Acknowledged,
    Identity,
    Readings,
    WindowKey,
    expected_readings,
    expected_windows,
)
from weir.verify.refusals import BadRecord, Refusals, compare_refusals
from weir.verify.report import Report
from weir.verify.stored import InsertedTwice, StoredDevices, StoredMessage
from weir.verify.unknown import NOWHERE, Intent, Promised, promised_readings, stored_intents

CHUNK: Final = 100_000
"""Readings compared at a time."""

POLL_SECONDS: Final = 0.5
"""Between two looks at a pipeline that is not there yet."""

VIEWS: Final = (("aggregates_1m", MINUTE_MS), ("aggregates_1h", HOUR_MS))

Say = Callable[[str], None]


class Stored(Protocol):
    """Where stored rows are read from; :class:`~weir.verify.stored.StoredDevices` asks ClickHouse."""

    def readings(self, devices: frozenset[str]) -> Iterator[StoredReading]:
        """Rows of the view readings."""

    def windows(self, view: str, devices: frozenset[str]) -> Iterator[StoredWindow]:
        """Rows of a view of aggregates."""

    def messages(self, devices: frozenset[str]) -> Iterator[StoredMessage]:
        """Rows with the message they came from, in the order of the log."""

    def inserted_twice(self, devices: frozenset[str]) -> list[InsertedTwice]:
        """Messages that have more than one row."""


@dataclass(frozen=True)
class Patience:
    """Compare again until all is equal and stored, for at most ``seconds``; ``closed``: and the last minute closed."""

    seconds: float = 0.0
    closed: bool = False


def verify(settings: Settings, sent: Sent, patience: Patience, say: Say) -> Report:
    """Compare until equal or out of patience; ``say`` is told what goes on. Blocks.

    Raises :class:`UsageError` for ledgers that were written for another topic, :class:`TransientError` when a server is
    away (while there is patience, it is waited for).
    """
    _check_topic(settings, sent)
    deadline = time.monotonic() + patience.seconds
    while True:
        try:
            with (
                closing(StageProgress(settings)) as progress,
                closing(StoredDevices(settings.clickhouse)) as stored,
                closing(Refusals(settings, _since(sent))) as refusals,
            ):
                return _Look(sent, progress, stored, refusals, say).until(deadline, patience.closed)
        except TransientError as error:
            if time.monotonic() >= deadline:
                raise
            say(f"waiting: {error}")
            time.sleep(POLL_SECONDS)


def _check_topic(settings: Settings, sent: Sent) -> None:
    if not sent.topics:
        raise UsageError("The ledger holds nothing yet: its first line was not written.")
    others = sent.topics - {settings.topics.readings}
    if others:
        raise UsageError(
            f"The ledger was written for the topic {min(others)}, these settings lead to {settings.topics.readings}; "
            "set WEIR_NAMESPACE or WEIR_CONFIG as it was when `weir load` ran."
        )


def _since(sent: Sent) -> int:
    """Dead letters from here on count; the clocks of generator and broker may differ by a minute."""
    return max(0, (sent.started_ms or 0) - MINUTE_MS)


class _Look:
    """Looks at what is stored, once or again and again."""

    def __init__(
        self, sent: Sent, progress: StageProgress, stored: StoredDevices, refusals: Refusals, say: Say
    ) -> None:
        self._sent, self._ends = sent, sent.ends()
        self._progress = progress
        self._stored = stored
        self._refusals = refusals
        self._say = say

    def until(self, deadline: float, all_closed: bool) -> Report:
        while True:
            self._await_stored(deadline)
            closed = self._progress.closed()
            lag = self._await_stored(deadline)  # what was published before `closed` was read
            report = compare(self._sent, self._stored, closed, self._refusals.read(), self._say)
            report.lag = lag
            done = report.equal and report.caught_up and not (all_closed and report.open_windows["aggregates_1m"])
            if done or time.monotonic() >= deadline:
                return report
            self._say(f"{report.faults.total():,} differences, lag {sum(lag.values()):,}: looking again")
            time.sleep(POLL_SECONDS)

    def _await_stored(self, deadline: float) -> dict[str, int]:
        while any((lag := self._progress.lag(self._ends)).values()) and time.monotonic() < deadline:
            self._say(f"waiting until {sum(lag.values()):,} messages are stored")
            time.sleep(POLL_SECONDS)
        return lag


def compare(sent: Sent, stored: Stored, closed: Closed, refused: Mapping[tuple[int, int], str], say: Say) -> Report:
    """Compare everything in ``sent`` with ``stored``; windows up to where they are ``closed``. Blocks for queries."""
    began = time.monotonic()
    report = Report(
        acknowledged=sent.count(ACKNOWLEDGED) + sent.count(SPOOLED),
        spooled=sent.count(SPOOLED),
        failed=sent.count(FAILED),
        unknown=sent.count(UNKNOWN),
        unfinished=sent.unfinished,
    )
    done = 0
    for chunk in chunks(sent):
        _compare_chunk(chunk, stored, closed, report)
        done += len(chunk.acknowledged) + len(chunk.promised) + len(chunk.unknown)
        say(f"compared {done:,} of {len(sent.ts):,} readings, {report.faults.total():,} differences")
    _compare_refusals(sent, refused, report)
    report.seconds = time.monotonic() - began
    return report


@dataclass(frozen=True)
class Chunk:
    """All readings of some devices: acknowledged ones, promised ones, and those of which nothing is known.

    ``repeats``: a message may lie in Kafka more than once.
    """

    devices: frozenset[str]
    acknowledged: list[Acknowledged]
    promised: list[Promised]
    unknown: list[Intent]
    repeats: bool


def chunks(sent: Sent, size: int = CHUNK) -> Iterator[Chunk]:
    """Devices in the order of their ids, as many at a time as have about ``size`` readings."""
    devices = sent.devices
    place = {device: number for number, device in enumerate(devices)}
    device_of = np.array([place[device] for device, _ in sent.names], dtype=np.int64)
    of_row = device_of[np.frombuffer(sent.series, dtype=np.int32)] if len(sent.series) else np.empty(0, np.int64)
    order = np.argsort(of_row, kind="stable")
    ends = np.cumsum(np.bincount(of_row, minlength=len(devices)))
    first = begin = 0
    for number, end in enumerate(ends.tolist()):
        if end - begin >= size or number == len(devices) - 1:
            yield _chunk(sent, frozenset(devices[first : number + 1]), order[begin:end].tolist())
            first, begin = number + 1, end


def _chunk(sent: Sent, devices: frozenset[str], rows: list[int]) -> Chunk:
    acknowledged: list[Acknowledged] = []
    promised: list[tuple[int, Intent]] = []
    unknown: list[Intent] = []
    last: dict[Identity, int] = {}
    fates = sent.fates
    for row in rows:
        device, sensor = sent.names[sent.series[row]]
        text = sent.texts.get(row) if sent.texts else None
        value = None if text is not None else sent.values[row]
        if sent.repeats and fates.state[row] != FAILED:
            last[Identity(device, sensor, sent.ts[row])] = row
        if fates.state[row] == ACKNOWLEDGED:
            append_ts = fates.append_ts[row]
            known = append_ts if append_ts >= 0 and not sent.repeats else None
            acknowledged.append(
                Acknowledged(device, sensor, sent.ts[row], value, text, fates.partition[row], fates.offset[row], known)
            )
        elif fates.state[row] == SPOOLED:
            promised.append((row, Intent(device, sensor, sent.ts[row], value, text)))
        elif fates.state[row] == UNKNOWN:
            unknown.append(Intent(device, sensor, sent.ts[row], value, text))
    ranked = [Promised(intent, last.get(Identity(*intent[:3]), row) == row) for row, intent in promised]
    return Chunk(devices, acknowledged, ranked, unknown, sent.repeats)


def _compare_chunk(chunk: Chunk, stored: Stored, closed: Closed, report: Report) -> None:
    sent = _accepted(chunk, stored, report)
    expected = expected_readings(sent)
    report.distinct += len(expected)
    report.resends += len(sent) - len(expected)
    report.conflicts += _conflicts(sent)
    report.add(compare_readings(expected, stored.readings(chunk.devices)))
    report.add(
        Difference(
            "raw_readings",
            "doubled",
            f"{each.device_id}/{each.sensor}, partition {each.partition} offset {each.offset}",
            "rows",
            "1",
            str(each.rows),
        )
        for each in stored.inserted_twice(chunk.devices)
    )
    partitions = {reading.device_id: reading.partition for reading in sent if reading.partition != NOWHERE}
    for view, size_ms in VIEWS:
        ends = closed.hours if size_ms == HOUR_MS else closed.minutes
        _compare_windows(
            view, size_ms, expected, stored.windows(view, chunk.devices), _Closed(partitions, ends), report
        )


def _accepted(chunk: Chunk, stored: Stored, report: Report) -> list[Acknowledged]:
    """All that must be stored: what was acknowledged, and what of the unknown is there.

    Where a message may lie in Kafka more than once, nobody knows the append time that its window counts by.
    """
    if not chunk.promised and not chunk.unknown:
        return chunk.acknowledged
    messages = list(stored.messages(chunk.devices))
    sent = chunk.acknowledged + promised_readings(chunk.promised, chunk.acknowledged, messages)
    came = stored_intents(chunk.unknown, sent, messages)
    report.unknown_stored += len(came)
    return [each._replace(append_ts=None) for each in sent + came] if chunk.repeats else sent + came


class _Closed:
    """Which windows are closed, by the partition of their device; of a device without readings, all."""

    def __init__(self, partitions: Mapping[str, int], ends: Mapping[int, int]) -> None:
        self._partitions = partitions
        self._ends = ends

    def __call__(self, key: WindowKey, size_ms: int) -> bool:
        partition = self._partitions.get(key.device_id)
        return partition is None or key.start + size_ms <= self._ends.get(partition, key.start)


def _compare_windows(
    view: str, size_ms: int, expected: Readings, stored: Iterator[StoredWindow], closed: _Closed, report: Report
) -> None:
    windows = expected_windows(expected, size_ms)
    want = {key: window for key, window in windows.items() if closed(key, size_ms)}
    report.windows[view] += len(want)
    report.open_windows[view] += len(windows) - len(want)
    report.add(compare_windows(view, want, (row for row in stored if closed(row.key, size_ms))))


def _conflicts(sent: list[Acknowledged]) -> int:
    """Identities that were sent with more than one value."""
    values: dict[Identity, tuple[float | None, str | None]] = {}
    differ = set()
    for each in sent:
        identity = Identity(each.device_id, each.sensor, each.ts)
        if values.setdefault(identity, (each.value, each.text)) != (each.value, each.text):
            differ.add(identity)
    return len(differ)


def _compare_refusals(sent: Sent, refused: Mapping[tuple[int, int], str], report: Report) -> None:
    fates = sent.bad_fates
    bad = {
        (fates.partition[row], fates.offset[row]): BadRecord(sent.kinds[row], sent.reasons[row])
        for row in range(len(sent.kinds))
        if fates.state[row] == ACKNOWLEDGED
    }
    report.bad = len(bad)
    good = sent.fates
    names = (
        ((partition, offset), "/".join(sent.names[series]))
        for partition, offset, series in zip(good.partition, good.offset, sent.series, strict=True)
        if (partition, offset) in refused
    )
    report.add(compare_refusals(bad, names, refused))
