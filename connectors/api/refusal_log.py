"""Every refusal of a known caller becomes an event of its organisation, so that its people see who tried what.

Each is written in a transaction of its own: that of the request was rolled back. A caller writes at most
:data:`MOST_A_MINUTE`; what goes beyond is counted, and the next event says how many there were.

What is not there and what belongs to somebody else are logged alike, as the answer does not tell them apart either.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from anyio import to_thread
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from connectors.api import metrics
from connectors.api.observation import UNROUTED, route_of
from connectors.entities.actor import Actor
from connectors.entities.directory import open_directory
from weir.errors import WeirError

logger = logging.getLogger(__name__)

MOST_A_MINUTE: Final = 60
MOST_CALLERS: Final = 10_000
REFUSED: Final = (401, 403, 404)


@dataclass(frozen=True, slots=True)
class Known:
    """Whom a refused request came from, or claimed to."""

    name: str
    organisation: str | None


class Allowance:
    """How many events a caller may still write this minute. Safe from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Everybody begins with a full minute."""
        self._clock = clock
        self._used: dict[str, tuple[float, int]] = {}
        self._changing = threading.Lock()

    def take(self, name: str) -> int | None:
        """How many refusals went unwritten before this one; None when this one must not be written either."""
        with self._changing:
            now = self._clock()
            begun, count = self._used.get(name, (now, 0))
            unwritten = 0
            if now - begun >= 60:
                begun, count, unwritten = now, 0, max(count - MOST_A_MINUTE, 0)
            if name not in self._used and len(self._used) >= MOST_CALLERS:
                self._forget(now)
            self._used[name] = (begun, count + 1)
            return unwritten if count < MOST_A_MINUTE else None

    def _forget(self, now: float) -> None:
        """Make room: callers of earlier minutes, or everybody when all are of this one."""
        self._used = {name: used for name, used in self._used.items() if now - used[0] < 60}
        if len(self._used) >= MOST_CALLERS:
            self._used.clear()


class RefusalLog:
    """Writes ``access.refused`` before the refusal is answered."""

    def __init__(self, app: ASGIApp, dsn: str, allowance: Allowance) -> None:
        """Watch ``app``, write to the database of ``dsn``."""
        self._app = app
        self._dsn = dsn
        self._allowance = allowance

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and look at the status of its answer."""

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in REFUSED:
                status, state = message["status"], scope.get("state", {})
                known = state.get("caller") or state.get("suspect")
                if known is not None and (status == 401 or route_of(scope) != UNROUTED):
                    known = Known(known.name, known.organisation)
                    await to_thread.run_sync(self._record, known, scope, status)
            await send(message)

        await self._app(scope, receive, watched)

    def _record(self, known: Known, scope: Scope, status: int) -> None:
        unwritten = self._allowance.take(known.name)
        if unwritten is None or known.organisation is None:
            metrics.REFUSALS.labels("no").inc()
            return
        data = {
            "status": status,
            "method": scope["method"],
            "route": route_of(scope),
            "path": scope["raw_path"].decode("ascii", "replace")[:300],
            "unwritten_before": unwritten,
        }
        try:
            with open_directory(self._dsn, Actor(known.name, "viewer", known.organisation)) as directory:
                entity = directory.organisation_id(known.organisation)
                if entity is not None:
                    directory.events.record("access.refused", entity, data)
            metrics.REFUSALS.labels("yes").inc()
        except WeirError as error:  # the refusal itself stands
            metrics.REFUSALS.labels("no").inc()
            logger.error("A refusal could not be written as an event: %s", error)
