"""The streams under way: how many one key may have, and their end when the gateway stops."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Final

from connectors.gateway.errors import OVER_QUOTA, GatewayError
from connectors.gateway.v3.stream import RecordStream

MOST_OF_KEY: Final = 100
"""Streams of one key at once: a device has one or two, a site that collects for its devices one for each core."""

RETRY_SECONDS: Final = 5.0
"""When a client with too many streams should open another one."""

LOOK_SECONDS: Final = 0.25
"""How often it is looked whether the gateway is about to stop, while there are streams."""


class LiveStreams:
    """Knows every stream: those that are not told of the gateway's end would hold it up until they are cut."""

    def __init__(self, is_draining: Callable[[], bool]) -> None:
        """None yet."""
        self._is_draining = is_draining
        self._of_keys: Counter[str] = Counter()
        self._streams: set[RecordStream] = set()
        self._watching: asyncio.Task[None] | None = None

    def enter(self, key: str) -> None:
        """Count one more of a key, until :meth:`leave`. Raises :class:`GatewayError` 429 when it has too many."""
        if self._of_keys[key] >= MOST_OF_KEY:
            said = f"This key has {MOST_OF_KEY} streams open; send more records on each."
            raise GatewayError(OVER_QUOTA, said, retry_after=RETRY_SECONDS)
        self._of_keys[key] += 1

    def leave(self, key: str) -> None:
        """Count one less."""
        self._of_keys[key] -= 1
        if self._of_keys[key] <= 0:
            del self._of_keys[key]

    async def chunks(self, key: str, stream: RecordStream, first: bytes) -> AsyncIterator[bytes]:
        """The reports of a stream that has entered, and leaves at their end."""
        with self._told(stream):
            try:
                async for chunk in stream.chunks(first):
                    yield chunk
            finally:
                self.leave(key)

    @contextmanager
    def _told(self, stream: RecordStream) -> Iterator[None]:
        self._streams.add(stream)
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            self._streams.discard(stream)

    async def _watch(self) -> None:
        while self._streams:
            await asyncio.sleep(LOOK_SECONDS)
            for each in list(self._streams) if self._is_draining() else ():
                each.stop()
        self._watching = None
