"""Reading ledgers: every message that `weir load` was about to send, and what became of it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Final

import msgspec

from weir.errors import UsageError
from weir.load.entries import (
    VERSION,
    Acknowledged,
    Bad,
    End,
    Entry,
    Failed,
    Header,
    Readings,
    Series,
    Spooled,
    Unknown,
    decode,
)

UNKNOWN: Final = 0
ACKNOWLEDGED: Final = 1
FAILED: Final = 2
SPOOLED: Final = 3
"""Acknowledged by the gateway, with no place told."""

NO_TIME: Final = -1
"""Append time that the broker did not tell."""


@dataclass
class Fates:
    """What became of messages: columns ``state``, ``partition``, ``offset``, ``append_ts`` (ms), a row a message."""

    state: array[int] = field(default_factory=lambda: array("b"))
    partition: array[int] = field(default_factory=lambda: array("i"))
    offset: array[int] = field(default_factory=lambda: array("q"))
    append_ts: array[int] = field(default_factory=lambda: array("q"))

    def extend(self, count: int) -> None:
        """Messages of which nothing is known yet."""
        for column, value in ((self.state, UNKNOWN), (self.partition, -1), (self.offset, -1), (self.append_ts, -1)):
            column.extend([value] * count)

    def store(self, row: int, partition: int, offset: int, append_ts: int) -> None:
        """The broker acknowledged it."""
        self.state[row], self.partition[row], self.offset[row] = ACKNOWLEDGED, partition, offset
        self.append_ts[row] = append_ts


@dataclass
class Sent:
    """Everything in some ledgers; about 40 bytes a reading.

    Readings are columns: ``series`` is a place in ``names`` (device id, sensor), ``ts`` event time (ms), ``values`` NaN
    where ``texts`` has a text under the row's number. Bad records are ``kinds`` and the ``reasons`` to be given.
    """

    topics: set[str] = field(default_factory=set)
    started_ms: int | None = None
    repeats: bool = False
    """Some of it went through a gateway, which may write a message more than once."""
    unfinished: int = 0
    """Sessions without an end: the generator was killed, or still runs."""
    names: list[tuple[str, str]] = field(default_factory=list)
    series: array[int] = field(default_factory=lambda: array("i"))
    ts: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    texts: dict[int, str] = field(default_factory=dict)
    fates: Fates = field(default_factory=Fates)
    kinds: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    bad_fates: Fates = field(default_factory=Fates)

    @property
    def devices(self) -> list[str]:
        """Every device, in order of their ids."""
        return sorted({device for device, _ in self.names})

    def count(self, state: int) -> int:
        """Messages in one of the states, bad ones included."""
        return self.fates.state.count(state) + self.bad_fates.state.count(state)

    def ends(self) -> dict[int, int]:
        """By partition, the offset after the last acknowledged message."""
        ends: dict[int, int] = {}
        for fates in (self.fates, self.bad_fates):
            for partition, offset in zip(fates.partition, fates.offset, strict=True):
                if offset >= ends.get(partition, 0):
                    ends[partition] = offset + 1
        return ends


def read_ledgers(paths: Iterable[Path]) -> Sent:
    """Read ledgers one after another; about 1 s a million readings.

    A last line that a kill left torn is left out. Raises :class:`UsageError` for a file that is missing, no ledger, of
    another version, or damaged before its end.
    """
    sent = Sent()
    for path in paths:
        session: _Session | None = None
        for number, entry in _entries(path):
            if isinstance(entry, Header):
                session = _Session(sent, entry, path)
                continue
            if session is None:
                raise UsageError(f"{path} is no ledger: it does not begin with a header.")
            try:
                session.enter(entry)
            except (IndexError, ValueError) as error:
                raise UsageError(f"The ledger {path} contradicts itself in line {number}.") from error
    return sent


def _entries(path: Path) -> Iterator[tuple[int, Entry]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    return
                try:
                    yield number, decode(line)
                except msgspec.DecodeError as error:
                    raise UsageError(f"{path} is no ledger, or damaged in line {number}: {error}.") from error
    except OSError as error:
        raise UsageError(f"The ledger {path} cannot be read: {error.strerror}.") from error


class _Session:
    """One run of the generator: enters its lines into what was sent."""

    def __init__(self, sent: Sent, header: Header, path: Path) -> None:
        if header.version != VERSION:
            raise UsageError(f"{path} is a ledger of version {header.version}; this Weir reads version {VERSION}.")
        self._sent = sent
        self._series: list[int] = []
        self._rows = array("q")
        """By number: the row of a reading, or minus one minus the row of a bad record."""
        sent.topics.add(header.topic)
        sent.started_ms = min(header.started_ms, sent.started_ms or header.started_ms)
        sent.unfinished += 1
        sent.repeats |= header.repeats
        self._places = {name: place for place, name in enumerate(sent.names)}

    def enter(self, entry: Entry) -> None:
        """Raises IndexError or ValueError for an entry that cannot follow those before."""
        match entry:
            case Readings():
                self._readings(entry)
            case Acknowledged():
                self._acknowledged(entry)
            case Bad():
                self._bad(entry)
            case Failed():
                for fates, row in self._named(entry.numbers):
                    fates.state[row] = FAILED
            case Spooled():
                for fates, row in self._named(entry.numbers):
                    fates.state[row] = SPOOLED
            case Series():
                self._names(entry)
            case End():
                self._sent.unfinished -= 1
            case Unknown() | Header():
                pass

    def _names(self, entry: Series) -> None:
        if entry.first != len(self._series):
            raise ValueError("series do not follow each other")
        for name in entry.names:
            place = self._places.setdefault(name, len(self._sent.names))
            if place == len(self._sent.names):
                self._sent.names.append(name)
            self._series.append(place)

    def _readings(self, entry: Readings) -> None:
        sent, first = self._sent, len(self._sent.ts)
        self._follow(entry.first, range(first, first + len(entry.series)))
        sent.series.extend([self._series[number] for number in entry.series])
        sent.ts.extend(accumulate(entry.ts))
        sent.values.extend([float("nan") if value is None else value for value in entry.values])
        sent.texts.update({first + place: text for place, text in entry.texts.items()})
        sent.fates.extend(len(entry.series))
        if not len(sent.series) == len(sent.ts) == len(sent.values):
            raise ValueError("columns differ in length")

    def _bad(self, entry: Bad) -> None:
        sent, first = self._sent, len(self._sent.kinds)
        self._follow(entry.first, range(-1 - first, -1 - first - len(entry.kinds), -1))
        sent.kinds += entry.kinds
        sent.reasons += entry.reasons
        sent.bad_fates.extend(len(entry.kinds))

    def _follow(self, first: int, rows: Sequence[int]) -> None:
        if first != len(self._rows):
            raise ValueError("numbers do not follow each other")
        self._rows.extend(rows)

    def _acknowledged(self, entry: Acknowledged) -> None:
        append_ts = NO_TIME if entry.append_ts is None else entry.append_ts
        for place, (fates, row) in enumerate(self._named(entry.numbers)):
            fates.store(row, entry.partition, entry.offset + (0 if entry.packed else place), append_ts)

    def _named(self, steps: list[int]) -> Iterator[tuple[Fates, int]]:
        good, bad = self._sent.fates, self._sent.bad_fates
        for number in accumulate(steps):
            if number < 0:
                raise ValueError("a number is negative")
            row = self._rows[number]
            yield (good, row) if row >= 0 else (bad, -1 - row)
