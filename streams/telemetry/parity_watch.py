"""Checks in a running worker, at a low rate, that stored windows are what they were made of.

Each round looks at the hours in which windows have closed since the last round, of one organisation after the other,
and at one older hour of one of them at random. An hour that differs is looked at again a little later, because a
correction may be on its way, and from then on in every round until it is equal. Only the worker that holds partition 0
of the readings does it. Whatever fails is said and tried again in the next round: a check must never stop a stream.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime
from itertools import product
from typing import Final, NamedTuple

import faust
from prometheus_client import Counter, Gauge

from connectors.kafka.client import kafka_client_config
from sinks.clickhouse.parity import HOUR_MS, QueryLimits, Slice, StoredParity, Tally, whole_windows
from sinks.clickhouse.parity_queries import DAY_MS, LEVELS, Level
from streams.engine.group_progress import GroupProgress
from streams.engine.retrying import STOPPING
from weir.settings import Settings

logger = logging.getLogger(__name__)

CHECKED: Final = Counter(
    "weir_parity_windows_checked", "Stored windows held against what they were made of.", ["level"]
)
DIFFERENT: Final = Gauge(
    "weir_parity_windows_different", "Windows known to be missing, different or without readings now.", ["level"]
)
SHARE: Final = Gauge(
    "weir_parity_verified_share",
    "Share of the windows checked since the start that do not differ now.",
    ["level"],
)

Closed = dict[Level, int | None]
"""Event time (ms) up to which windows of each level are closed; None for none."""

LOOK_BACK_MS: Final = HOUR_MS
"""How far before the present the first round begins, and a round that fell behind goes on."""

ROUND_DOUBTS: Final = 20
"""Differing hours that one round looks at again."""


class _Hour(NamedTuple):
    level: Level
    org: str
    start: int


class ParityWatch:
    """What was checked, and which hours differ. Used from one thread at a time; :meth:`round` blocks for its queries.

    What differs is remembered by the hour, up to where its windows were closed when they were looked at.
    """

    def __init__(self, stored: StoredParity, kept_days: int, round_seconds: float) -> None:
        """Begin with nothing checked; ``round_seconds`` is what one round may take before it stops early."""
        self._stored = stored
        self._kept_ms = kept_days * DAY_MS
        self._round_seconds = round_seconds
        self._seen: dict[tuple[Level, str], int] = {}
        self._looked_at: dict[tuple[Level, str], float] = {}
        self._doubts: dict[_Hour, tuple[Slice, Tally]] = {}
        self._closed: Closed = dict.fromkeys(LEVELS)
        self._checked: dict[Level, int] = dict.fromkeys(LEVELS, 0)

    def round(self, closed: Closed) -> list[Slice]:
        """Check what has closed since the last round and one older hour; return what seems to differ.

        ``closed`` is up to when windows are closed now. Looked at is what was closed in the round before: what has just
        been published is not stored yet.
        """
        closed, self._closed = self._closed, closed
        deadline = time.monotonic() + self._round_seconds
        suspects = []
        for part in self._due(closed):
            tally = self._stored.tally(part)
            self._note(part, tally)
            if tally.faults:
                suspects.append(part)
            if STOPPING.is_set() or time.monotonic() > deadline:
                break
        return suspects

    def again(self, suspects: Iterable[Slice]) -> None:
        """Look at suspects, and at hours that differed before, once more: what differs still, differs."""
        before = [part for part, _ in self._doubts.values()]
        random.shuffle(before)
        for hour, end in _ends_by_hour([*suspects, *before[:ROUND_DOUBTS]]).items():
            if STOPPING.is_set():
                return
            known = self._doubts.get(hour)
            part = Slice(hour.level, hour.org, hour.start, max(end, known[0].end if known else 0))
            tally = self._stored.tally(part)
            if tally.faults:
                self._doubts[hour] = (part, tally)
                if known is None:
                    logger.warning("%s", told(part, tally))
            elif known is not None:
                del self._doubts[hour]
        self.publish()

    def publish(self) -> None:
        """Set the gauges."""
        for level in LEVELS:
            different = sum(tally.faults for part, tally in self._doubts.values() if part.level == level)
            checked = self._checked[level]
            DIFFERENT.labels(level).set(different)
            SHARE.labels(level).set(1.0 - different / max(checked, different) if different else 1.0)

    def forget(self) -> None:
        """Another worker checks now: what it finds is not this one's to say."""
        self._seen.clear()
        self._doubts.clear()
        self._closed = dict.fromkeys(LEVELS)
        for gauge in (DIFFERENT, SHARE):
            gauge.clear()

    def _due(self, closed: Closed) -> Iterable[Slice]:
        """What this round should look at: first what has waited longest for its turn."""
        present = max((until for until in closed.values() if until is not None), default=None)
        if present is None:
            return
        orgs = self._stored.organisations(present - 2 * LOOK_BACK_MS, present)
        for level, org in sorted(product(LEVELS, orgs), key=lambda each: self._looked_at.get(each, 0.0)):
            until = closed[level]
            if until is not None:
                yield from self._fresh(level, org, until)
        if orgs:
            yield from self._older(random.choice(orgs), closed)  # noqa: S311 - no secret

    def _fresh(self, level: Level, org: str, until: int) -> Iterable[Slice]:
        earliest = until - LOOK_BACK_MS - (HOUR_MS if level == "1h" else 0)
        begin, end = whole_windows(level, max(self._seen.get((level, org), 0), earliest), until)
        yield from hours(Slice(level, org, begin, end))

    def _older(self, org: str, closed: Closed) -> Iterable[Slice]:
        """One hour of those that are kept, at random: its minutes and itself."""
        now = time.time_ns() // 1_000_000
        oldest = self._stored.oldest_hour(org, now - self._kept_ms)
        until = closed["1h"]
        if oldest is None or until is None or oldest + HOUR_MS > until:
            return
        hour = oldest + random.randrange((until - oldest) // HOUR_MS) * HOUR_MS  # noqa: S311 - no secret
        for level in LEVELS:
            yield Slice(level, org, hour, hour + HOUR_MS)

    def _note(self, part: Slice, tally: Tally) -> None:
        of = part.level, part.org
        self._seen[of] = max(part.end, self._seen.get(of, 0))
        self._looked_at[of] = time.monotonic()
        CHECKED.labels(part.level).inc(tally.checked)
        self._checked[part.level] += tally.checked


def hours(whole: Slice) -> Iterable[Slice]:
    """Cut a range at whole hours."""
    begin = whole.begin
    while begin < whole.end:
        end = min(whole.end, begin // HOUR_MS * HOUR_MS + HOUR_MS)
        yield Slice(whole.level, whole.org, begin, end)
        begin = end


def _ends_by_hour(parts: Iterable[Slice]) -> dict[_Hour, int]:
    """How far into each hour these slices reach; none of them reaches beyond its hour."""
    ends: dict[_Hour, int] = {}
    for part in parts:
        hour = _Hour(part.level, part.org, part.begin // HOUR_MS * HOUR_MS)
        ends[hour] = max(part.end, ends.get(hour, 0))
    return ends


def told(part: Slice, tally: Tally) -> str:
    """Say what differs and what shows it."""
    begin, end = (datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M") for ms in (part.begin, part.end))
    return (
        f"{tally.faults} of {tally.checked} {part.level} windows of {part.org} are not what they were made of "
        f"({tally.missing} missing, {tally.different} different, {tally.phantom} phantom): "
        f"see `weir parity --org {part.org} --from {begin} --to {end}`."
    )


async def check_once(look: Callable[[], list[Slice]], watch: ParityWatch, recheck_seconds: float) -> None:
    """One round: look, and once more at what seems to differ. Never raises, and never blocks the event loop."""
    try:
        suspects = await asyncio.to_thread(look)
        if suspects:
            await asyncio.sleep(recheck_seconds)
        await asyncio.to_thread(watch.again, suspects)
    except Exception as error:  # whatever it is: a check must never stop a stream
        logger.warning("Stored windows were not checked: %s", error)


def add_parity_watch(app: faust.App, settings: Settings, ours: Callable[[], bool]) -> None:
    """Put the check on ``app``; it works while ``ours`` says that this worker is the one to do it."""
    wanted = settings.parity
    if not wanted.interval_seconds:
        return
    limits = QueryLimits(threads=1, seconds=wanted.query_seconds)
    watch = ParityWatch(StoredParity(settings, limits), settings.retention.raw_days, wanted.interval_seconds)
    groups, topics = settings.groups, settings.topics

    def look() -> list[Slice]:
        with closing(GroupProgress(kafka_client_config(settings.kafka))) as progress:
            minutes = progress.closed(groups.readings, topics.readings)
            hours = progress.closed(groups.aggregates_1m, topics.aggregates_1m)
        return watch.round({"1m": minutes, "1h": hours})

    @app.timer(wanted.interval_seconds)  # type: ignore[untyped-decorator]  # Faust's is
    async def check_stored_windows() -> None:
        if ours():
            await check_once(look, watch, wanted.recheck_seconds)
        else:
            watch.forget()
