"""The access log: one line a request, written by a thread, so that no request waits for a disk or a full pipe."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final

from connectors.gateway.records import Caller

FLUSH_SECONDS: Final = 0.5
"""How long a line may wait for others; it costs a request 2 µs instead of 11 with a handler of logging."""
MOST_LINES: Final = 100_000
"""Lines that wait for whoever reads the log, about 20 MB; further ones are counted and lost."""
MOST_NAMES: Final = 10_000
"""Callers whose text is remembered."""

Write = Callable[[str], object]


def to_stderr(text: str) -> None:
    """Write to where the program's other lines go."""
    sys.stderr.write(text)
    sys.stderr.flush()


class AccessLog:
    """Lines such as ``… INFO connectors.gateway POST /topics/{topic} 200 3.1 ms organisation=acme …``."""

    def __init__(self, write: Write = to_stderr, clock: Callable[[], float] = time.time) -> None:
        """``write`` is called in a thread; ``clock`` gives seconds since 1970."""
        self._write = write
        self._clock = clock
        self._lines: list[str] = []
        self._names: dict[str, tuple[Caller, str]] = {}
        self._second = -1
        self._time = ""
        self._flushing: asyncio.Task[None] | None = None
        self.lost = 0
        """Lines that were not written because too many waited."""

    def add(
        self,
        method: str,
        route: str,
        status: int,
        seconds: float,
        caller: Caller | None,
        client: str,
        counts: Mapping[str, int],
        body_bytes: int,
    ) -> None:
        """Note one request. ``route`` and ``method`` are words of ours, ``client`` is an address."""
        if len(self._lines) >= MOST_LINES:
            self.lost += 1
            return
        now = self._clock()
        if int(now) != self._second:
            self._second = int(now)
            self._time = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
        who = self._who(caller) if caller is not None else "organisation=- actor=-"
        self._lines.append(
            f"{self._time},{int(now * 1000) % 1000:03d} INFO connectors.gateway {method} {route} {status} "
            f"{1000 * seconds:.1f} ms {who} records={counts.get('records', 0)} refused={counts.get('refused', 0)} "
            f"bytes={body_bytes} client={client}\n"
        )

    def _who(self, caller: Caller) -> str:
        known = self._names.get(caller.prefix)
        if known is not None and known[0] is caller:
            return known[1]
        text = f"organisation={_plain(caller.organisation)} actor=key:{_plain(caller.prefix)}"
        if caller.device is not None:
            text += f" device={_plain(caller.device)}"
        if len(self._names) >= MOST_NAMES:
            self._names.clear()
        self._names[caller.prefix] = (caller, text)
        return text

    async def start(self) -> None:
        """Begin to write."""
        self._flushing = asyncio.create_task(self._flush_for_ever())

    async def stop(self) -> None:
        """Write what is there, and end; a reader that takes nothing is given :data:`FLUSH_SECONDS`."""
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.wait([self._flushing])
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._flush()
        except TimeoutError:
            self.lost += len(self._lines)

    async def _flush_for_ever(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await asyncio.shield(self._flush())

    async def _flush(self) -> None:
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        try:
            await asyncio.to_thread(self._write, "".join(lines))
        except (OSError, ValueError):  # closed at the other end: nobody wants them
            self.lost += len(lines)


def _plain(text: str) -> str:
    """``text`` as one word that cannot look like another field or line."""
    if text.isascii() and text.isprintable() and not set(text) & set(' "=\\'):
        return text
    return json.dumps(text)
