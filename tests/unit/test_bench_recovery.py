"""The recovery benchmark: what it makes of a log and of its looks, and where its load lies in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from bench.dataset import Dataset
from bench.live_load import LoadPlan
from bench.measured_worker import assignments
from bench.recovery import RecoveryShape, load_plan
from bench.recovery_phases import Before, Look, Phases, caught_up, phases
from bench.stage_progress import StageProgress

HOUR_END = 1_700_002_800_000
LOG = """\
--- started 2026-11-21T13:38:03+0000
[2026-11-21 13:38:13,707] [22000] [INFO] w.aggregates.1m: assigned [0, 1]
[2026-11-21 13:38:13,756] [22000] [INFO] w.readings: assigned [0, 1, 2, 3]
[2026-11-21 13:38:14,001] [22000] [INFO] w.aggregates.1m: assigned [2, 3]
[2026-11-21 13:38:14,500] [22000] [INFO] w.aggregates.1h: assigned []
[2026-11-21 13:38:29,621] [22000] [INFO] w.readings: gave up [0, 1, 2, 3]
"""


def test_the_last_assignment_counts_and_an_empty_one_does_not() -> None:
    found = assignments(LOG)
    local = {topic: datetime.fromtimestamp(at, UTC).astimezone() for topic, at in found.items()}
    assert {topic: f"{at:%H:%M:%S.%f}" for topic, at in local.items()} == {
        "w.readings": "13:38:13.756000",
        "w.aggregates.1m": "13:38:14.001000",
    }


BEFORE = Before(age=0.4, readings=StageProgress(lag=0, replay=1_000), minutes=StageProgress(lag=0, replay=50))
BEHIND = Look(at=0.0, answers=True, readings_taken=0, minutes_taken=0, readings_lag=900, minutes_lag=0, age=8.0)
FRESH = replace(BEHIND, readings_taken=1_900, minutes_taken=60, readings_lag=40, age=0.6)


def test_time_is_cut_where_the_worker_answers_is_assigned_has_read_again_and_stays_caught_up() -> None:
    looks = [
        replace(BEHIND, at=101.0, answers=False),
        replace(BEHIND, at=102.0),
        replace(BEHIND, at=107.0, readings_taken=400, minutes_taken=50),
        replace(BEHIND, at=109.0, readings_taken=1_000, minutes_taken=50),
        *(replace(FRESH, at=at) for at in (112.0, 112.5, 113.0)),
    ]
    assert phases(looks, BEFORE, started=100.0, assigned=106.0) == Phases(
        recovered=12.0, start=2.0, session=4.0, replay=3.0, backlog=3.0, minutes_replayed=7.0
    )


def test_a_session_that_ended_before_the_worker_answered_was_not_waited_for() -> None:
    looks = [replace(FRESH, at=at) for at in (103.0, 103.5, 104.0)]
    assert phases(looks, BEFORE, started=100.0, assigned=101.0) == Phases(
        recovered=3.0, start=3.0, session=0.0, replay=0.0, backlog=0.0, minutes_replayed=3.0
    )


@pytest.mark.parametrize(
    "last",
    [
        replace(FRESH, readings_lag=101),
        replace(FRESH, minutes_lag=101),
        replace(FRESH, age=1.1),
        replace(FRESH, answers=False),
        replace(FRESH, readings_taken=999),
        replace(FRESH, minutes_taken=49),
    ],
)
def test_one_look_that_finds_it_behind_means_that_it_has_not_caught_up(last: Look) -> None:
    assert caught_up([FRESH, FRESH, FRESH], BEFORE, most_lag=100)
    assert not caught_up([FRESH, FRESH, last], BEFORE, most_lag=100)
    assert not caught_up([FRESH, last, FRESH], BEFORE, most_lag=100)
    assert not caught_up([FRESH, FRESH], BEFORE, most_lag=100)


def test_rows_may_be_as_old_as_they_were_before_the_kill() -> None:
    assert caught_up([replace(FRESH, age=2.9)] * 3, replace(BEFORE, age=3.0), most_lag=100)


def test_the_kill_falls_a_second_before_the_hour_closes() -> None:
    plan = load_plan(RecoveryShape(400, history_minutes=59, live_seconds=70.0), HOUR_END, lateness_seconds=5.0)
    assert plan.begin_ms + 70_000 == HOUR_END + 4_000
    assert plan.seconds > 70.0, "the load must go on while the worker catches up"


def test_history_fills_every_minute_of_every_sensor_and_live_readings_follow_without_a_gap() -> None:
    plan = LoadPlan(readings_per_second=400, begin_ms=HOUR_END, seconds=10.0, history_minutes=3)
    history, live = Dataset(plan.history()), Dataset(plan.live())
    minutes = np.unique(history.series * 1_000 + (history.ts - HOUR_END) // 60_000 + 10)
    assert len(history.ts) == len(minutes) == 400 * 3
    assert HOUR_END - 180_000 <= history.ts.min() <= history.ts.max() < HOUR_END
    assert HOUR_END - 1_010 < live.ts.min() < HOUR_END + 10
    assert len(live.ts) == 4_000
    for series in (0, 399):
        assert set(np.diff(np.unique(live.ts[live.series == series]))) <= {1_010, 1_011}  # 1 % are resends
