"""Whether the secret of a key is right: a slow hash, so that guessing costs the guesser and not those who know.

Wrong secrets must not keep right ones waiting. A prefix that nobody has costs a pause as long as a check, and no work;
one that somebody has may be tried :data:`MOST_WRONG` times a minute; and so many wait at most as are answered soon.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from connectors.entities.keys import SECRETS
from connectors.entities.passwords import Passwords
from connectors.gateway.door.recently_used import RecentlyUsed
from weir.errors import TransientError

THREADS: Final = 2
"""A check takes a core for 20 ms; the event loop must keep one."""
MOST_WAITING: Final = 250
"""Checks under way: 2.5 s of work."""
MOST_WRONG: Final = 20
"""Wrong secrets of one prefix a minute: a device that was given the wrong one does not try more often."""
WINDOW_SECONDS: Final = 60.0
MOST_PREFIXES: Final = 100_000


class SecretChecks:
    """Checks secrets in threads of its own; for one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, passwords: Passwords = SECRETS) -> None:
        """Nobody has tried anything yet."""
        self._clock = clock
        self._passwords = passwords
        self._threads = ThreadPoolExecutor(THREADS, "secrets")
        self._waiting = 0
        self._tried: RecentlyUsed[str, tuple[float, int]] = RecentlyUsed(MOST_PREFIXES)
        self._took: deque[float] = deque([0.0], maxlen=64)

    async def start(self) -> None:
        """Learn how long a check takes here, so that unknown prefixes take as long from the first one on."""
        await self._timed(None, "")

    def allows(self, prefix: str) -> bool:
        """Whether another secret of this prefix may be tried now; counts as wrong until it was right."""
        began, tried = self._tried.get(prefix) or (self._clock(), 0)
        if self._clock() - began >= WINDOW_SECONDS:
            began, tried = self._clock(), 0
        if tried < MOST_WRONG:
            self._tried.put(prefix, (began, tried + 1))
        return tried < MOST_WRONG

    def forgive(self, prefix: str) -> None:
        """That try was none: the secret was right, or nobody could tell."""
        began, tried = self._tried.get(prefix) or (self._clock(), 0)
        self._tried.put(prefix, (began, max(0, tried - 1)))

    async def fits(self, kept: str | None, secret: str) -> bool:
        """Whether the secret is the one of the hash ``kept``; None is nobody's, and takes as long.

        Raises :class:`TransientError` when too many wait for theirs.
        """
        if kept is None:
            self._took.rotate()
            await asyncio.sleep(self._took[0])
            return False
        if self._waiting >= MOST_WAITING:
            raise TransientError("Too many keys are used for the first time in this moment.")
        return await self._timed(kept, secret)

    def close(self) -> None:
        """End the threads; blocks until the checks that have begun are done."""
        self._threads.shutdown(cancel_futures=True)

    async def _timed(self, kept: str | None, secret: str) -> bool:
        began = time.perf_counter()
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._passwords.matches, kept, secret)
        finally:
            self._waiting -= 1
            self._took.append(time.perf_counter() - began)
