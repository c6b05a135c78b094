"""Fetches that wait to be decoded: those of one lease are joined, so that blocks grow while the agent is behind.

One of many bytes is cut: messages may be packed."""

from __future__ import annotations

import asyncio
from collections import deque

from streams.engine.fetch import Fetch, Lease


class JoiningQueue:
    """First in, first out by lease; within a lease in order, joined and cut to a good size. For one event loop."""

    def __init__(self, most_messages: int, most_bytes: int) -> None:
        """Join fetches to at most so many messages and payload bytes; one of more bytes is cut between messages."""
        self._most = (most_messages, most_bytes)
        self._waiting: dict[Lease, deque[Fetch]] = {}
        self._filled = asyncio.Event()

    def put(self, fetch: Fetch) -> None:
        """Add a fetch behind those of its lease."""
        waiting = self._waiting.setdefault(fetch.lease, deque())
        for part in fetch.parts(self._most[1]):
            joined = waiting[-1].joined(part, *self._most) if waiting else None
            if joined is not None:
                waiting[-1] = joined
            else:
                waiting.append(part)
        self._filled.set()

    async def get(self) -> Fetch:
        """Take the first fetch of the lease that has waited longest; the lease then waits behind the others."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        lease = next(iter(self._waiting))
        waiting = self._waiting.pop(lease)
        fetch = waiting.popleft()
        if waiting:
            self._waiting[lease] = waiting
        return fetch
