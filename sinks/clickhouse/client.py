"""The one place that connects to ClickHouse and says in one sentence what went wrong."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, Error

from sinks.clickhouse.cluster import session_settings
from weir.errors import ConfigError, TransientError, WeirError
from weir.server_errors import clickhouse_passes
from weir.settings import ClickHouseSettings

# it logs every failed request with a traceback, and without a handler that goes to stderr beside our one sentence
logging.getLogger("clickhouse_connect").addHandler(logging.NullHandler())

UNKNOWN_DATABASE = 81
UNKNOWN_TABLE = 60
REFUSED_LOGINS = (192, 193, 194, 516)


def connect(settings: ClickHouseSettings, *, database: bool = True) -> Client:
    """A client of the HTTP interface that several threads may share: it keeps no session.

    ``database=False`` connects without naming the database, for the one who is about to create it. Asks the server
    for its version and settings, so it blocks, at most ``timeout_seconds``. Close it.

    Raises :class:`TransientError` when the server is away or busy, :class:`ConfigError` for a URL that is none, a
    refused login or a missing database.
    """
    url = urlsplit(settings.url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ConfigError(f"WEIR_CLICKHOUSE__URL is {settings.url}; it should look like http://host:8123.")
    with translating(settings):
        return clickhouse_connect.get_client(
            interface=url.scheme,
            host=url.hostname,
            port=url.port or (8443 if url.scheme == "https" else 8123),
            proxy_path=url.path.strip("/"),
            username=settings.username,
            password=settings.password.get_secret_value(),
            database=settings.database if database else "default",
            connect_timeout=5,
            send_receive_timeout=max(1, round(settings.timeout_seconds)),
            autogenerate_session_id=False,
            client_name="weir",
            query_retries=0,
            settings=session_settings(settings),
        )


class ClientOfEachThread:
    """One client for every thread that asks, made when it first asks; raises what :func:`connect` raises."""

    def __init__(self, settings: ClickHouseSettings) -> None:
        """Connect later."""
        self._settings = settings
        self._local = threading.local()

    def get(self) -> Client:
        """The calling thread's client."""
        client: Client | None = getattr(self._local, "client", None)
        if client is None:
            client = self._local.client = connect(self._settings)
        return client


@contextmanager
def translating(settings: ClickHouseSettings) -> Iterator[None]:
    """Turn what clickhouse-connect raises inside the block into Weir's errors, see :func:`translated`."""
    try:
        yield
    except (ClickHouseError, OSError) as error:
        raise translated(error, settings) from error


def translated(error: Exception, settings: ClickHouseSettings) -> WeirError:
    """The error of ours that ``error`` means: :class:`TransientError` when the same call may succeed later."""
    code = error.code if isinstance(error, Error) else None
    words = said(error)
    if code is None:
        return TransientError(
            f"ClickHouse at {settings.url} cannot be reached: {_root(error)}; see that it runs (`weir status`)."
        )
    if code == UNKNOWN_DATABASE:
        return ConfigError(f"ClickHouse at {settings.url} has no database {settings.database}; run `weir migrate`.")
    if code == UNKNOWN_TABLE:
        return ConfigError(f"ClickHouse at {settings.url} lacks a table ({words}); run `weir migrate`.")
    if code in REFUSED_LOGINS:
        return ConfigError(
            f"ClickHouse at {settings.url} refused user {settings.username}; "
            "check WEIR_CLICKHOUSE__USERNAME and WEIR_CLICKHOUSE__PASSWORD."
        )
    if clickhouse_passes(code):
        return TransientError(f"ClickHouse at {settings.url} is busy (code {code}): {words}.")
    return ConfigError(f"ClickHouse at {settings.url} refused a statement (code {code}): {words}.")


def said(error: Exception) -> str:
    """The server's own words on one line: without code, name, version, stack trace, grammar and closing full stop."""
    text = " ".join(str(error).split()).split("DB::Exception:", 1)[-1]
    for noise in ("Stack trace:", "Expected one of:", " (for url ", ", server response: <"):
        text = text.split(noise, 1)[0]
    text = re.sub(r"\s*\(version [^()]*(\([^()]*\)[^()]*)?\)\s*$", "", text)
    return re.sub(r"\s*\([A-Z][A-Z0-9_]+\)\s*$", "", text).strip().rstrip(". ")


def _root(error: BaseException) -> str:
    """What the operating system said, under the layers of HTTP libraries; else the outermost words."""
    inner = error
    while inner.__cause__ is not None:
        inner = inner.__cause__
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    return said(error) if isinstance(error, Exception) else str(error)
