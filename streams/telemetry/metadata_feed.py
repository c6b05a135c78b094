"""Keeps the active series' metadata in step with Postgres: hears of a change, loads what changed, swaps it in.

Postgres notifies whoever listens; a notification that is lost only delays, because the version is asked for regularly.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable

import psycopg
from prometheus_client import Gauge

from connectors.postgres.connection import connection
from connectors.postgres.metadata import Metadata, load_changes, load_metadata, metadata_version
from streams.telemetry.registered import Registered
from streams.telemetry.series import ActiveSeries
from weir.errors import WeirError
from weir.settings import Settings

logger = logging.getLogger(__name__)

SLOW_SECONDS, PATIENCE_SECONDS = 0.5, 3.0
"""An answer that took longer than the first is not asked for again, for the second: readings wait for it."""

LISTEN_AGAIN_SECONDS = 5.0
"""Pause before a lost connection is made again; meanwhile the regular question finds the changes."""

AGE = Gauge("weir_metadata_age_seconds", "Seconds since the metadata in use was last known to be current.")

Changed = Callable[[Metadata], Awaitable[None]]


def load_registered(settings: Settings) -> Registered:
    """Read all sensors from Postgres; blocks. Raises TransientError or ConfigError."""
    metadata = load_metadata(settings.postgres.dsn.get_secret_value())
    return Registered(metadata, settings.retention.raw_days)


class MetadataFeed:
    """Refreshes one :class:`~streams.telemetry.series.ActiveSeries`."""

    def __init__(self, settings: Settings, series: ActiveSeries) -> None:
        """Begin with the snapshot that ``series`` holds."""
        self._settings = settings
        self._series = series
        self._current_at = time.monotonic()
        self._away = False
        self._ask_again_at = 0.0
        AGE.set_function(self.age_seconds)
        self._one_at_a_time = asyncio.Lock()
        self._soon: asyncio.Task[None] | None = None
        self.on_change: list[Changed] = []
        """Called with the metadata of each new version, after it is in force."""

    def age_seconds(self) -> float:
        """Seconds since the metadata in use was last known to be current."""
        return time.monotonic() - self._current_at

    async def learned(self) -> bool:
        """Look for newer metadata now, because a reading names what is not registered; say whether there was some.

        A device may send the moment it was registered. While Postgres is away nothing is asked here: the timer does.
        """
        before = self._series.registered.version
        if self._away or time.monotonic() < self._ask_again_at:
            return False
        began = time.monotonic()
        await self.refresh()
        took = time.monotonic() - began
        self._ask_again_at = time.monotonic() + (PATIENCE_SECONDS if took > SLOW_SECONDS else 0.0)
        return self._series.registered.version != before

    async def refresh(self) -> None:
        """Load what changed if the version did; while Postgres is away the last stays in use and tells its age."""
        async with self._one_at_a_time:
            await self._refresh()

    async def _refresh(self) -> None:
        try:
            dsn = self._settings.postgres.dsn.get_secret_value()
            version = await asyncio.to_thread(metadata_version, dsn)
            registered = self._series.registered
            if version != registered.version:
                newer = await asyncio.to_thread(_updated, registered, dsn)
                self._series.refresh(newer)
                logger.info("metadata version %d is in force", newer.version)
                for tell in self.on_change:
                    await tell(newer.metadata)
            self._current_at, self._away = time.monotonic(), False
        except WeirError as error:
            self._away = True
            logger.warning("%s Metadata of %.0f seconds ago stays in use.", error, self.age_seconds())

    def listen(self) -> None:
        """Refresh whenever Postgres says that something changed; a thread of its own waits for that."""
        loop = asyncio.get_running_loop()

        def heard() -> None:
            loop.call_soon_threadsafe(self._refresh_soon)

        dsn = self._settings.postgres.dsn.get_secret_value()
        threading.Thread(target=_listen, args=(dsn, heard), name="metadata-listener", daemon=True).start()

    def _refresh_soon(self) -> None:
        """Once for all changes that are heard of before it begins."""
        if self._soon is None or self._soon.done():
            self._soon = asyncio.get_running_loop().create_task(self.refresh())


def _updated(registered: Registered, dsn: str) -> Registered:
    return registered.updated(load_changes(dsn, registered.metadata))


def _listen(dsn: str, heard: Callable[[], None]) -> None:
    while True:
        try:
            with connection(dsn, autocommit=True) as conn:
                conn.execute("LISTEN weir_metadata")
                heard()  # what changed before it listened
                for _ in conn.notifies():
                    heard()
        except (WeirError, psycopg.Error):
            time.sleep(LISTEN_AGAIN_SECONDS)
        except RuntimeError:
            return  # the event loop has ended
