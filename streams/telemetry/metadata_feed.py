"""Keeps the active series' metadata in step with Postgres: looks for a new version, loads it, swaps it in."""

from __future__ import annotations

import asyncio
import logging
import time

from prometheus_client import Gauge

from connectors.postgres.metadata import load_metadata, metadata_version
from streams.telemetry.series import ActiveSeries, Registered
from weir.errors import TransientError
from weir.settings import Settings

logger = logging.getLogger(__name__)

SLOW_SECONDS, PATIENCE_SECONDS = 0.5, 3.0
"""An answer that took longer than the first is not asked for again, for the second: readings wait for it."""

AGE = Gauge("weir_metadata_age_seconds", "Seconds since the metadata in use was last known to be current.")


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
        """Load the metadata if its version changed; while Postgres is away the last stays in use and tells its age."""
        async with self._one_at_a_time:
            await self._refresh()

    async def _refresh(self) -> None:
        try:
            dsn = self._settings.postgres.dsn.get_secret_value()
            version = await asyncio.to_thread(metadata_version, dsn)
            if version != self._series.registered.version:
                self._series.refresh(await asyncio.to_thread(load_registered, self._settings))
                logger.info("metadata version %d is in force", version)
            self._current_at, self._away = time.monotonic(), False
        except TransientError as error:
            self._away = True
            logger.warning("%s Metadata of %.0f seconds ago stays in use.", error, self.age_seconds())
