"""When a stage flushes: every time here is of a clock that only the test moves."""

from __future__ import annotations

import pytest

from streams.engine.flush_schedule import FlushSchedule


class FakeClock:
    """Seconds that stand still."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def schedule(clock: FakeClock) -> FlushSchedule:
    return FlushSchedule(0.25, 2.0, clock)


def flushed(schedule: FlushSchedule, clock: FakeClock, seconds: float) -> None:
    """Rows were stored by a flush that began and ended so long ago."""
    schedule.begun(stores=True)
    clock.pass_(seconds)


def test_a_lone_reading_after_a_quiet_time_waits_for_nothing(schedule: FlushSchedule, clock: FakeClock) -> None:
    assert schedule.came(behind=False)
    assert schedule.rows_are_due
    flushed(schedule, clock, 0.26)
    schedule.came(behind=False)
    assert schedule.rows_are_due


def test_what_comes_soon_after_a_flush_is_stored_together_a_quarter_of_a_second_after_it_began(
    schedule: FlushSchedule, clock: FakeClock
) -> None:
    flushed(schedule, clock, 0.1)
    assert schedule.came(behind=False)
    assert not schedule.rows_are_due
    assert schedule.wait_seconds == pytest.approx(0.15)
    clock.pass_(0.1)
    assert not schedule.came(behind=False), "more rows put the flush neither off nor forward"
    assert schedule.wait_seconds == pytest.approx(0.05)
    clock.pass_(0.06)
    assert schedule.rows_are_due


def test_no_reading_waits_longer_than_a_flush_interval_at_any_steady_rate(
    schedule: FlushSchedule, clock: FakeClock
) -> None:
    came: list[float] = []
    worst = 0.0
    for _ in range(2_000):
        clock.pass_(0.003)
        schedule.came(behind=False)
        came.append(clock.now)
        if schedule.rows_are_due:
            worst = max(worst, clock.now - came[0])
            came.clear()
            schedule.begun(stores=True)
    assert worst == pytest.approx(0.25, abs=0.004)


def test_a_backlog_gathers_large_blocks(schedule: FlushSchedule, clock: FakeClock) -> None:
    schedule.came(behind=True)
    assert schedule.wait_seconds == pytest.approx(2.0)
    clock.pass_(1.5)
    assert not schedule.came(behind=True)
    assert schedule.wait_seconds == pytest.approx(0.5)


def test_readings_of_now_do_not_wait_for_a_backlog_beside_them(schedule: FlushSchedule, clock: FakeClock) -> None:
    flushed(schedule, clock, 0.05)
    schedule.came(behind=True)
    assert schedule.came(behind=False)
    assert schedule.wait_seconds == pytest.approx(0.2)


def test_a_flush_that_only_settles_a_checkpoint_puts_off_no_reading(schedule: FlushSchedule, clock: FakeClock) -> None:
    flushed(schedule, clock, 0.25)
    schedule.begun(stores=False)
    clock.pass_(0.01)
    schedule.came(behind=False)
    assert schedule.rows_are_due


def test_what_a_flush_leaves_is_due_at_once(schedule: FlushSchedule, clock: FakeClock) -> None:
    schedule.begun(stores=True)
    schedule.left()
    assert schedule.rows_are_due


def test_while_nothing_comes_it_is_looked_now_and_then_and_never_more_often(
    schedule: FlushSchedule, clock: FakeClock
) -> None:
    assert schedule.wait_seconds == pytest.approx(0.25)
    clock.pass_(0.25)
    assert schedule.wait_seconds <= 0
    assert not schedule.rows_are_due, "there are no rows"
    schedule.begun(stores=False)
    assert schedule.wait_seconds == pytest.approx(0.25)
