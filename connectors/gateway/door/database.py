"""Postgres for the gateway: a few threads with a connection each, so that the event loop waits for no server.

The memory of the door answers almost every request. What it has to ask is answered within :data:`ASK_SECONDS` or
fails, and after a failure everything fails at once until a probe is answered: requests must not pile up behind a server
that is away.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, Final, ParamSpec, TypeVar

import psycopg

from connectors.postgres.connection import cut_after, translated
from weir.errors import TransientError, WeirError

THREADS: Final = 3
"""One is for what changed, the others for keys and devices nobody asked for yet."""
ASK_SECONDS: Final = 3.0
MOST_WAITING: Final = 500
"""Questions under way: 0.3 ms each, and a server that needs longer for them is not one to queue at."""

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


class DoorDatabase:
    """Asks questions in threads; a lost connection is made anew when it is needed."""

    def __init__(self, dsn: str) -> None:
        """Connect to nothing yet."""
        self._dsn = dsn
        self._threads = ThreadPoolExecutor(THREADS, "door")
        self._own = threading.local()
        self._connections: set[psycopg.Connection] = set()
        self._changing = threading.Lock()
        self._waiting = 0
        self.is_away = False
        """Whether the last question failed."""

    async def ask(
        self,
        question: Callable[Concatenate[psycopg.Connection, Given], Answer],
        *args: Given.args,
        **kwargs: Given.kwargs,
    ) -> Answer:
        """The answer of ``question(connection, …)``, asked in a thread; it may be asked twice.

        Raises :class:`TransientError` when Postgres is away, slow or busy, :class:`~weir.errors.ConfigError` when it
        refuses.
        """
        if self.is_away or self._waiting >= MOST_WAITING:
            raise TransientError("Postgres is away, or has too much to answer.")
        return await self.probe(question, *args, **kwargs)

    async def probe(
        self,
        question: Callable[Concatenate[psycopg.Connection, Given], Answer],
        *args: Given.args,
        **kwargs: Given.kwargs,
    ) -> Answer:
        """The same, also while Postgres seems to be away: somebody has to ask regularly to find that it is back."""
        self._waiting += 1
        try:
            asked = asyncio.get_running_loop().run_in_executor(
                self._threads, lambda: self._asked(lambda conn: question(conn, *args, **kwargs))
            )
            async with asyncio.timeout(ASK_SECONDS):
                answer = await asked
        except TimeoutError as error:
            self.is_away = True
            raise TransientError(f"Postgres did not answer within {ASK_SECONDS:g} s.") from error
        except WeirError:
            self.is_away = True
            raise
        finally:
            self._waiting -= 1
        self.is_away = False
        return answer

    def close(self) -> None:
        """End the threads and connections; blocks until a question that is under way is answered or cut."""
        self._threads.shutdown(cancel_futures=True)
        for conn in self._connections:
            conn.close()

    def _asked(self, question: Callable[[psycopg.Connection], Answer]) -> Answer:
        held: psycopg.Connection | None = getattr(self._own, "connection", None)
        try:
            if held is not None:
                try:
                    return _within(held, question)
                except psycopg.OperationalError:  # it was closed while nobody used it, or just now
                    self._forget(held)
            return _within(self._connect(), question)
        except psycopg.Error as error:
            self._forget(getattr(self._own, "connection", None))
            raise translated(error, self._dsn) from error

    def _connect(self) -> psycopg.Connection:
        conn = psycopg.connect(
            self._dsn,
            autocommit=True,
            connect_timeout=2,  # the least that libpq knows
            application_name="weir gateway",
            prepare_threshold=None,  # a pooler in between need not know prepared statements
        )
        self._own.connection = conn
        with self._changing:
            self._connections.add(conn)
        return conn

    def _forget(self, conn: psycopg.Connection | None) -> None:
        self._own.connection = None
        if conn is not None:
            conn.close()
            with self._changing:
                self._connections.discard(conn)


def _within(conn: psycopg.Connection, question: Callable[[psycopg.Connection], Answer]) -> Answer:
    with cut_after(conn, ASK_SECONDS):
        return question(conn)
