"""Where the time goes between a worker's restart and the moment it has caught up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.stage_progress import StageProgress

HELD_LOOKS: Final = 3
"""Caught up is what stays so for three looks; the first of them counts."""

AGE_SECONDS: Final = 1.0
"""A newest row younger than this is as fresh as ever, however fresh it was before."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a restarted worker, ``at`` a time of ``time.time()``.

    Messages taken in since its start, messages not yet stored, and the age in seconds of the newest stored reading of
    the partition that is furthest behind.
    """

    at: float
    answers: bool
    readings_taken: float
    minutes_taken: float
    readings_lag: int
    minutes_lag: int
    age: float


@dataclass(frozen=True, slots=True)
class Before:
    """How it was when the worker was killed: age of the newest row (p95, s), progress of both stages."""

    age: float
    readings: StageProgress
    minutes: StageProgress


@dataclass(frozen=True, slots=True)
class Phases:
    """Seconds: ``start``, ``session``, ``replay`` and ``backlog`` follow each other and make up ``recovered``.

    ``minutes_replayed`` counts from the restart, too.
    """

    recovered: float
    start: float
    session: float
    replay: float
    backlog: float
    minutes_replayed: float


def caught_up(looks: Sequence[Look], before: Before, most_lag: int) -> bool:
    """Whether the last looks found all windows rebuilt, few messages left to store, and rows as fresh as before."""
    last = looks[-HELD_LOOKS:]
    return len(last) == HELD_LOOKS and all(_fine(look, before, most_lag) for look in last)


def _fine(look: Look, before: Before, most_lag: int) -> bool:
    rebuilt = look.readings_taken >= before.readings.replay and look.minutes_taken >= before.minutes.replay
    lag = max(look.readings_lag, look.minutes_lag)
    return look.answers and rebuilt and lag <= most_lag and look.age <= max(AGE_SECONDS, before.age)


def phases(looks: Sequence[Look], before: Before, started: float, assigned: float) -> Phases:
    """Cut the time since ``started``; ``assigned`` is when the dead member's partitions were given to the new one.

    ``looks`` end with those that found it caught up. A phase that was over before the one in front of it took no time.
    """
    answers = next(look.at for look in looks if look.answers)
    given = max(answers, assigned)
    rebuilt = max(given, next(look.at for look in looks if look.readings_taken >= before.readings.replay))
    minutes = next(look.at for look in looks if look.minutes_taken >= before.minutes.replay)
    done = max(rebuilt, looks[-HELD_LOOKS].at)
    return Phases(
        recovered=done - started,
        start=answers - started,
        session=given - answers,
        replay=rebuilt - given,
        backlog=done - rebuilt,
        minutes_replayed=minutes - started,
    )
