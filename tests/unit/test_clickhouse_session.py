"""Sessions of the embedded ClickHouse, with a clock of the test's own."""

from __future__ import annotations

import pytest

from weir.stack.clickhouse.exceptions import ClickHouseError
from weir.stack.clickhouse.request import SessionKey
from weir.stack.clickhouse.session import Sessions


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def key(check: bool = False, close: bool = False) -> SessionKey:
    return SessionKey("s", timeout_seconds=60, check=check, close=close)


def refusal(sessions: Sessions, asked: SessionKey) -> int:
    with pytest.raises(ClickHouseError) as caught:
        sessions.acquire(asked)
    return caught.value.code


def test_a_session_is_one_request_wide() -> None:
    sessions = Sessions(FakeClock())
    lease = sessions.acquire(key())
    assert refusal(sessions, key()) == 373
    lease.release()
    again = sessions.acquire(key())
    assert again.session is lease.session
    lease.release()  # a lease that is over cannot free the session of the next one
    assert refusal(sessions, key()) == 373


def test_a_session_ends_after_its_timeout() -> None:
    clock = FakeClock()
    sessions = Sessions(clock)
    sessions.acquire(key()).release()
    clock.now = 59.9
    sessions.acquire(key(check=True)).release()
    clock.now = 59.9 + 60
    assert refusal(sessions, key(check=True)) == 372


def test_a_session_does_not_time_out_while_its_query_runs() -> None:
    clock = FakeClock()
    sessions = Sessions(clock)
    lease = sessions.acquire(key())
    clock.now = 1000
    assert refusal(sessions, key()) == 373
    lease.release()
    sessions.acquire(key(check=True)).release()


def test_a_session_may_be_closed_by_its_request() -> None:
    sessions = Sessions(FakeClock())
    sessions.acquire(key(close=True)).release()
    assert refusal(sessions, key(check=True)) == 372
