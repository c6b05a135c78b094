"""One check of a range: every closed window of every organisation, and once more what seems to differ.

A window may look different only because a correction is on its way from one stage to the next. So what differs is asked
again after the stages have stored all that was in Kafka when it was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from connectors.kafka.client import kafka_client_config
from sinks.clickhouse.parity import Slice, StoredParity, Tally, whole_windows
from sinks.clickhouse.parity_queries import LEVELS, Level
from streams.engine.group_progress import GroupProgress
from weir.settings import Settings

SETTLE_SECONDS: Final = 10.0
"""How long a correction may be on its way before the window counts as different."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Scope:
    """Event times from ``begin`` up to ``end`` (ms); ``orgs`` empty means every organisation that has rows there."""

    begin: int
    end: int
    orgs: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Compared:
    """One level of one organisation, slice by slice."""

    org: str
    level: Level
    parts: Mapping[Slice, Tally]

    @property
    def tally(self) -> Tally:
        """Windows by verdict."""
        return sum(self.parts.values(), Tally())

    @property
    def faulty(self) -> list[Slice]:
        """The slices that have windows which are not equal."""
        return [part for part, tally in self.parts.items() if tally.faults]


@dataclass(frozen=True, slots=True)
class Checked:
    """A whole check. ``closed`` is the event time (ms) up to which windows of a level are closed, None for none."""

    scope: Scope
    closed: Mapping[Level, int | None]
    compared: Sequence[Compared]

    @property
    def faults(self) -> int:
        """Windows that are not equal."""
        return sum(each.tally.faults for each in self.compared)

    @property
    def faults_by_level(self) -> dict[Level, int]:
        """The same for each level."""
        return {level: sum(each.tally.faults for each in self.compared if each.level == level) for level in self.closed}

    @property
    def windows(self) -> int:
        """Windows that were compared."""
        return sum(each.tally.checked for each in self.compared)

    def faulty(self, level: Level | None = None) -> list[Slice]:
        """The slices, of one level or of both, that have windows which are not equal."""
        return [part for each in self.compared if level in (None, each.level) for part in each.faulty]


class ParityCheck:
    """Checks ranges. Every method blocks and raises :class:`~weir.errors.TransientError` when a server is away."""

    def __init__(self, settings: Settings, stored: StoredParity, say: Say) -> None:
        """``say`` is told what is going on."""
        self._settings = settings
        self.stored = stored
        self._say = say
        self._progress = GroupProgress(kafka_client_config(settings.kafka))

    def close(self) -> None:
        """Leave the brokers."""
        self._progress.close()

    def check(self, scope: Scope, levels: Sequence[Level] = LEVELS) -> Checked:
        """Compare every closed window in ``scope``."""
        orgs = list(scope.orgs) or self.stored.organisations(scope.begin, scope.end)
        closed = {level: self._closed(level) for level in levels}
        compared = [self._compare(org, level, scope, closed[level]) for org in orgs for level in levels]
        checked = Checked(scope, closed, compared)
        if not checked.faults:
            return checked
        self._say(f"{checked.faults:,} windows differ so far: waiting for what may be on its way")
        self.settle(SETTLE_SECONDS)
        return replace(checked, compared=[self._again(each) for each in compared])

    def settle(self, seconds: float) -> bool:
        """Wait until every stage has stored what was there for it, at most so long at each; say whether all have.

        In order: what one stage publishes is there before the next is asked.
        """
        groups, topics = self._settings.groups, self._settings.topics
        stages = (
            (groups.readings, topics.readings),
            (groups.aggregates_1m, topics.aggregates_1m),
            (groups.aggregates_1h, topics.aggregates_1h),
        )
        return all(self._progress.await_stored(group, topic, seconds, seconds) for group, topic in stages)

    def await_stored(self, level: Level, patience_seconds: float) -> bool:
        """Wait until what was published for ``level`` is stored; give up when nothing moves for so long."""
        groups, topics = self._settings.groups, self._settings.topics
        if level == "1m":
            return self._progress.await_stored(groups.aggregates_1m, topics.aggregates_1m, patience_seconds)
        return self._progress.await_stored(groups.aggregates_1h, topics.aggregates_1h, patience_seconds)

    def _closed(self, level: Level) -> int | None:
        groups, topics = self._settings.groups, self._settings.topics
        if level == "1m":
            return self._progress.closed(groups.readings, topics.readings)
        return self._progress.closed(groups.aggregates_1m, topics.aggregates_1m)

    def _compare(self, org: str, level: Level, scope: Scope, closed: int | None) -> Compared:
        if closed is None:
            return Compared(org, level, {})
        begin, end = whole_windows(level, scope.begin, min(scope.end, closed))
        parts = self.stored.slices(Slice(level, org, begin, end)) if begin < end else []
        return Compared(org, level, self._tallies(parts))

    def _again(self, before: Compared) -> Compared:
        """The same with its faulty slices compared once more."""
        return replace(before, parts={**before.parts, **self._tallies(before.faulty)})

    def _tallies(self, parts: Sequence[Slice]) -> dict[Slice, Tally]:
        tallies = {}
        for number, part in enumerate(parts, start=1):
            self._say(f"{part.org} {part.level}: {instant(part.begin)}, slice {number} of {len(parts)}")
            tallies[part] = self.stored.tally(part)
        return tallies


def instant(ms: int) -> str:
    """An event time (ms since 1970) for a person, in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
