"""Waiting for commands without a connection for every device that waits: one look for all of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final
from uuid import UUID

from anyio import to_thread

from connectors.api.metrics import WAITING
from connectors.postgres.connection import connection
from weir.errors import WeirError

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.5
"""Pause between two looks: half of it is what a command waits on average until its device hears of it."""


class CommandWatch:
    """Wakes whoever waits for commands of a device. Lives in one event loop."""

    def __init__(self, dsn: str, draining: Callable[[], bool]) -> None:
        """Look into the database of ``dsn`` while anybody waits; nobody waits any longer once ``draining``."""
        self._dsn = dsn
        self._draining = draining
        self._waiting: dict[UUID, set[asyncio.Event]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def wait(self, device: UUID, seconds: float) -> bool:
        """Whether a command for ``device`` may have come; False after ``seconds``, or when the program ends."""
        woken = asyncio.Event()
        self._waiting.setdefault(device, set()).add(woken)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(seconds):
                with WAITING.track_inprogress():
                    await woken.wait()
        except TimeoutError:
            return False
        finally:
            self._waiting[device].discard(woken)
            if not self._waiting[device]:
                del self._waiting[device]
        return not self._draining()

    async def _look(self) -> None:
        while self._waiting:
            await asyncio.sleep(LOOK_SECONDS)
            devices = list(self._waiting)
            try:
                found = devices if self._draining() else await to_thread.run_sync(self._with_commands, devices)
            except WeirError as error:  # those who wait go on waiting; the next look may succeed
                logger.error("%s", error)
                continue
            for device in found:
                for woken in self._waiting.get(device, ()):
                    woken.set()

    def _with_commands(self, devices: list[UUID]) -> list[UUID]:
        with connection(self._dsn) as conn:
            rows = conn.execute(
                "SELECT DISTINCT device_id FROM commands WHERE device_id = ANY (%s) AND status = 'pending'"
                " AND (expires_at IS NULL OR expires_at > now())",
                (devices,),
            ).fetchall()
        return [row[0] for row in rows]
