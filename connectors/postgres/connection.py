"""The one place that opens connections to Postgres and says in one sentence what went wrong."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict

from weir.errors import ConfigError, TransientError, WeirError
from weir.server_errors import postgres_passes

CONNECT_TIMEOUT_SECONDS = 5


@contextmanager
def connection(
    dsn: str, *, autocommit: bool = False, within_seconds: float | None = None
) -> Iterator[psycopg.Connection]:
    """A connection that commits at the end of the block, or rolls back when the block raises.

    With ``within_seconds`` the whole block ends by then, also when the server never answers: libpq has no time-out for
    that. Raises :class:`TransientError` when the server is away or busy and :class:`ConfigError` for anything that no
    retry mends: a DSN that does not parse, no such database, a refused password, missing tables.
    """
    try:
        with (
            psycopg.connect(
                dsn, autocommit=autocommit, connect_timeout=CONNECT_TIMEOUT_SECONDS, application_name="weir"
            ) as conn,
            cut_after(conn, within_seconds),
        ):
            yield conn
    except psycopg.Error as error:
        raise translated(error, dsn) from error


@contextmanager
def cut_after(conn: psycopg.Connection, seconds: float | None) -> Iterator[None]:
    """Shut the connection's socket down after so long; whoever waits for it gets an OperationalError then."""
    if seconds is None:
        yield
        return
    with socket.socket(fileno=os.dup(conn.fileno())) as line:
        timer = threading.Timer(seconds, line.shutdown, [socket.SHUT_RDWR])
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def translated(error: psycopg.Error, dsn: str) -> WeirError:
    """The error of ours that ``error`` means; its text never holds the password of ``dsn``."""
    try:
        place = where(dsn)
    except psycopg.Error:
        # libpq repeats the text, and the password in it
        return ConfigError("WEIR_POSTGRES__DSN does not parse; it should look like postgresql://user@host:5432/weir.")
    if error.sqlstate in ("42P01", "42703", "42883"):
        return ConfigError(f"{place} lacks Weir's tables ({first_line(error)}); run `weir migrate`.")
    if error.sqlstate is None and not isinstance(error, psycopg.OperationalError):
        return ConfigError(f"{place}: {first_line(error)}.")
    text = first_line(error)
    if error.sqlstate is None and "FATAL:" in text:  # refused before a session existed: libpq keeps no SQLSTATE then
        return _refused(place, text)
    if postgres_passes(error.sqlstate):
        return TransientError(
            f"Postgres at {place} cannot be reached: {_reason(text)}; see that it runs (`weir status`)."
        )
    return ConfigError(f"Postgres at {place} refused a statement ({error.sqlstate}): {text}.")


def _refused(place: str, text: str) -> WeirError:
    reason = text.split("FATAL:", 1)[1].strip()
    if "starting up" in reason or "shutting down" in reason or "recovery" in reason or "too many" in reason:
        return TransientError(f"Postgres at {place} is not ready: {reason}; try again in a moment.")
    if reason.startswith("database") and reason.endswith("does not exist"):
        return ConfigError(f"Postgres at {place} has no such database; run `weir migrate`.")
    return ConfigError(f"Postgres at {place} refused the connection: {reason}; check WEIR_POSTGRES__DSN.")


def _reason(text: str) -> str:
    # libpq: connection to server at "host", port 1 failed: Connection refused
    return text.rsplit(" failed: ", 1)[-1]


def database_of(dsn: str) -> str:
    """Name of the database that a DSN names; raises :class:`ConfigError` for a DSN that does not parse."""
    try:
        return str(conninfo_to_dict(dsn).get("dbname") or "postgres")
    except psycopg.Error as error:
        raise translated(error, dsn) from error


def where(dsn: str) -> str:
    """``host:port/database`` of a DSN, which may be shown to anyone."""
    parts = conninfo_to_dict(dsn)
    host, port = parts.get("host", "localhost"), parts.get("port", 5432)
    return f"{host}:{port}/{parts.get('dbname', '')}"


def first_line(error: psycopg.Error) -> str:
    """The server's own words, one line, without a closing full stop."""
    text = error.diag.message_primary or str(error)
    return text.strip().split("\n", 1)[0].rstrip(".")
