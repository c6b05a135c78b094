"""The relay as a part of the worker: a thread that the Faust app starts and stops."""

from __future__ import annotations

import asyncio
import threading
from typing import Final

import faust
from mode import Service

from streams.events.relay import Relay
from weir.settings import Settings

STOP_SECONDS: Final = 5.0
"""Longest wait for the thread at a stop; what it has not saved by then is passed on again."""


def add_relay(app: faust.App, settings: Settings) -> None:
    """Put the relay on ``app``; what no waiting mends crashes the worker."""

    @app.service
    class EventRelay(Service):
        async def on_start(self) -> None:
            self._running_loop = asyncio.get_running_loop()
            self._stopping = threading.Event()
            self._thread = threading.Thread(target=self._work, name="event-relay", daemon=True)
            self._thread.start()

        async def on_stop(self) -> None:
            self._stopping.set()
            await asyncio.to_thread(self._thread.join, STOP_SECONDS)

        def _work(self) -> None:
            try:
                Relay(settings).run(self._stopping)
            except Exception as error:
                self._running_loop.call_soon_threadsafe(asyncio.ensure_future, app.crash(error))
