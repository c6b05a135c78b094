"""When keys were last used, noted at most once a minute each, in the background and many at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from connectors.gateway.door.database import DoorDatabase
from connectors.gateway.door.queries import note_uses
from weir.errors import WeirError

logger = logging.getLogger(__name__)

WRITE_SECONDS: Final = 5.0
MOST_AT_ONCE: Final = 1_000
MOST_KEPT: Final = 200_000


class KeyUses:
    """Gathers prefixes of used keys; what cannot be written waits for Postgres, or is left out."""

    EVERY_SECONDS: Final = 60.0
    """How often a key that is in use is noted again."""

    def __init__(self, database: DoorDatabase) -> None:
        """Nothing was used yet."""
        self._database = database
        self._used: dict[str, None] = {}
        self._task: asyncio.Task[None] | None = None

    def note(self, prefix: str) -> None:
        """This key was used now."""
        if len(self._used) < MOST_KEPT:
            self._used[prefix] = None

    async def start(self) -> None:
        """Write every few seconds from now on."""
        self._task = asyncio.create_task(self._write_again())

    async def stop(self) -> None:
        """Write what is left, unless Postgres is away."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        with contextlib.suppress(WeirError):
            await self.write()

    async def write(self) -> None:
        """Write all that was gathered; raises what :meth:`DoorDatabase.ask` does, and keeps the rest."""
        while self._used:
            prefixes = list(self._used)[:MOST_AT_ONCE]
            await self._database.ask(note_uses, prefixes)
            for each in prefixes:
                self._used.pop(each, None)

    async def _write_again(self) -> None:
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            try:
                await self.write()
            except WeirError as error:
                logger.debug("Last uses of keys wait: %s", error)
