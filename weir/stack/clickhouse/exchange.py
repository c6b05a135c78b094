"""Bytes between the event loop, which owns the socket, and the thread that holds the engine's connection.

The thread works synchronously: it pulls the body and pushes the answer, and waits for the loop in both. The body is
fetched one chunk ahead, so that the socket is read while the engine parses.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import Future
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CHUNK_BYTES = 1 << 20
"""A chunk of the body; uvicorn hands over at most 64 KiB at once, and every hop to the thread costs about 0.1 ms."""


class ClientGoneError(Exception):
    """The client closed its connection before the request or its answer was complete."""


async def gather(receive: Receive, at_least: int) -> tuple[bytes, bool]:
    """The next bytes of a body, at least that many unless it ends, and whether more may come."""
    parts, size, more = [], 0, True
    while more and size < at_least:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part, more = message.get("body", b""), message.get("more_body", False)
        parts.append(part)
        size += len(part)
    return (parts[0] if len(parts) == 1 else b"".join(parts)), more


class Body:
    """The body of one request, read by the thread; raises :class:`ClientGoneError`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, receive: Receive, is_read: bool) -> None:
        """Nothing is read before the first chunk is asked for; ``is_read`` says that nothing is left to read."""
        self._loop, self._receive = loop, receive
        self._ahead: Future[tuple[bytes, bool]] | None = None
        self._more = not is_read

    def chunks(self) -> Iterator[bytes]:
        """The rest of the body as it came over the wire."""
        while self._more:
            ahead = self._ahead or self._fetch()
            chunk, self._more = ahead.result()
            self._ahead = self._fetch() if self._more else None
            if chunk:
                yield chunk

    def _fetch(self) -> Future[tuple[bytes, bool]]:
        return asyncio.run_coroutine_threadsafe(gather(self._receive, CHUNK_BYTES), self._loop)


class Reply:
    """The answer to one request, written by the thread; raises :class:`ClientGoneError` once nobody reads it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, receive: Receive, send: Send) -> None:
        """Nothing is sent before :meth:`start`."""
        self._loop, self._receive, self._send = loop, receive, send
        self._gone = threading.Event()
        self._watch: asyncio.Task[None] | None = None
        self.started = False

    def start(self, status: int, headers: list[tuple[str, str]], watch: bool) -> None:
        """Send status and headers; ``watch`` for a client that goes away while a long answer is written."""
        self.started = True
        encoded = [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers]
        self._await(self._start({"type": "http.response.start", "status": status, "headers": encoded}, watch))

    def write(self, data: bytes, more: bool) -> None:
        """Send a part of the body, and end it unless ``more`` follows."""
        if self._gone.is_set():
            raise ClientGoneError
        self._await(self._send({"type": "http.response.body", "body": data, "more_body": more}))

    def close(self) -> None:
        """Stop watching; called on the loop."""
        if self._watch is not None:
            self._watch.cancel()

    async def _start(self, message: Message, watch: bool) -> None:
        await self._send(message)
        if watch:
            self._watch = asyncio.create_task(self._await_disconnect())

    async def _await_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone.set()

    def _await(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        asyncio.run_coroutine_threadsafe(run(), self._loop).result()
