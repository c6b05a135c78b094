"""What a ``session_id`` keeps between requests: temporary tables, SET and USE, one query at a time.

Most clients open a session and never put anything into it (clickhouse-connect opens one by default). A session
therefore gets a connection of its own only with the first statement that changes it; until then its queries run on
fresh connections like any other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from weir.stack.clickhouse.engine import EngineConnection
from weir.stack.clickhouse.exceptions import SESSION_IS_LOCKED, SESSION_NOT_FOUND, ClickHouseError
from weir.stack.clickhouse.request import SessionKey


@dataclass
class Session:
    """One session; ``connection`` exists once a statement changed it."""

    id: str
    timeout_seconds: int
    expires_at: float = 0.0
    busy: bool = False
    connection: EngineConnection | None = None


class Lease:
    """One request's hold on its session; :meth:`release` lets the next one in and may be called again."""

    def __init__(self, sessions: Sessions, session: Session, close: bool) -> None:
        """``close`` ends the session with this request."""
        self.session = session
        self._sessions: Sessions | None = sessions
        self._close = close

    def release(self) -> None:
        """Give the session back."""
        sessions, self._sessions = self._sessions, None
        if sessions is not None:
            sessions.release(self.session, self._close)


class Sessions:
    """All sessions of the process; safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """No session yet; ``clock`` counts seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    def acquire(self, key: SessionKey) -> Lease:
        """The session, marked busy, created if need be.

        Raises :class:`ClickHouseError` 373 if another request runs in it, 372 if it must exist and does not.
        """
        with self._lock:
            self._expire()
            session = self._sessions.get(key.id)
            if session is None:
                if key.check:
                    raise ClickHouseError(SESSION_NOT_FOUND, f"Session {key.id} not found")
                session = self._sessions[key.id] = Session(key.id, key.timeout_seconds)
            if session.busy:
                raise ClickHouseError(SESSION_IS_LOCKED, f"Session {key.id} is locked by a concurrent client")
            session.busy, session.timeout_seconds = True, key.timeout_seconds
            return Lease(self, session, key.close)

    def release(self, session: Session, close: bool) -> None:
        """Let the next request in, or end the session."""
        with self._lock:
            session.busy = False
            session.expires_at = self._clock() + session.timeout_seconds
            if close:
                self._end(session)

    def close(self) -> None:
        """End every session."""
        with self._lock:
            for session in list(self._sessions.values()):
                self._end(session)

    def _expire(self) -> None:
        now = self._clock()
        for session in list(self._sessions.values()):
            if not session.busy and session.expires_at <= now:
                self._end(session)

    def _end(self, session: Session) -> None:
        self._sessions.pop(session.id, None)
        if session.connection is not None:
            session.connection.close()
            session.connection = None
