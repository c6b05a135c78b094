"""Learns every moment what changed in the metadata, and tells those who remember it.

So nothing that is remembered needs to be asked again, however much it is: a snapshot of Postgres says exactly which
rows it has not seen. Whoever asks while a change arrives asks again (:attr:`DoorWatch.generation`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Final

from connectors.gateway.door.database import DoorDatabase
from connectors.gateway.door.queries import Changes, changes_since
from weir.errors import TransientError, WeirError

logger = logging.getLogger(__name__)

LONGEST_SECONDS: Final = 1.0
"""A change of a device is in force within a second, however rarely keys are looked at."""
SHORTEST_SECONDS: Final = 0.05


class DoorWatch:
    """Asks every ``every_seconds``; what is remembered holds for ``away_seconds`` after the last answer.

    ``told`` are called with what changed, in the event loop.
    """

    def __init__(
        self,
        database: DoorDatabase,
        every_seconds: float,
        away_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Know nothing yet."""
        self._database = database
        self._every = min(max(every_seconds, SHORTEST_SECONDS), LONGEST_SECONDS)
        self._away = max(away_seconds, 2 * self._every)
        self._clock = clock
        self._snapshot: str | None = None
        self._version = -1
        self._asking = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._is_quiet = False
        self.told: list[Callable[[Changes], None]] = []
        self.generation = 0
        """Grows whenever something changed; what was asked before that may be old."""
        self.holds_until = float("-inf")
        """Until when, by the clock, what is remembered holds without another answer."""

    async def start(self) -> None:
        """Ask once and go on in the background; Postgres may be away."""
        with contextlib.suppress(WeirError):
            await self.look()
        self._task = asyncio.create_task(self._look_again())

    async def stop(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def look(self) -> None:
        """Ask what changed, and tell; raises what :meth:`DoorDatabase.ask` does."""
        async with self._asking:
            await self._look()

    async def be_current(self) -> None:
        """Ask now unless what is remembered holds; raises what :meth:`DoorDatabase.ask` does."""
        if self._clock() < self.holds_until:
            return
        async with self._asking:
            if self._clock() < self.holds_until:  # somebody else has asked
                return
            if self._database.is_away:
                raise TransientError("Postgres is away.")
            await self._look()

    async def _look(self) -> None:
        began = self._clock()
        changes = await self._database.probe(changes_since, self._snapshot, self._version)
        if changes:
            self.generation += 1
            for tell in self.told:
                tell(changes)
        # only now: what could not be told is asked again
        self._snapshot, self._version = changes.snapshot, changes.version
        self.holds_until = began + self._away

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.look()
            except WeirError as error:
                if not self._is_quiet:
                    logger.warning("What is known of keys and devices holds for %g s: %s", self._away, error)
                self._is_quiet = True
            except Exception:  # what is remembered ends by itself when this goes on
                logger.exception("What changed in the metadata could not be told")
            else:
                self._is_quiet = False
