"""The gateway's server around an application that answers a constant: ``python -m tests.constant_door PORT``.

What the server does with connections, headers and bodies is the same, and needs no Kafka. ``POST /stream`` answers
while it reads, ``GET /never`` does not answer, ``GET /large`` answers 64 MB; everything else reads its body and says
how long it was.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from connectors.gateway.app import NOBODY
from connectors.gateway.errors import REQUEST_TIMEOUT, GatewayError
from connectors.gateway.http import encode_json
from connectors.gateway.server.bodies import pieces, read_body
from connectors.gateway.server.held_bytes import HELD
from connectors.gateway.server.server import Opened, serve
from weir.settings import GatewaySettings, load_settings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Constant:
    """The application."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/stream":
            await self._stream(scope, receive, send)
        elif scope["path"] == "/never":
            await asyncio.sleep(3_600)
        elif scope["path"] == "/large":
            await answer(send, 200, bytes(64_000_000))
        else:
            await self._whole(scope, receive, send)

    async def _whole(self, scope: Scope, receive: Receive, send: Send) -> None:
        limits = self._settings.body_bytes, self._settings.body_seconds
        try:
            with HELD.share(NOBODY) as share:
                body = await read_body(receive, scope["headers"], *limits, share)
        except GatewayError as error:
            await answer(send, error.status, encode_json(error.body()), closes=error.code == REQUEST_TIMEOUT)
            return
        if body is not None:
            await answer(send, 200, b"%d" % len(body))

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        limits = self._settings.body_seconds, self._settings.stream_seconds
        try:
            async for piece in pieces(receive, *limits, scope["headers"]):
                await send({"type": "http.response.body", "body": b"%d " % len(piece), "more_body": True})
        except GatewayError as error:
            await send({"type": "http.response.body", "body": encode_json(error.body()), "more_body": True})
        await send({"type": "http.response.body", "body": b"end"})


async def answer(send: Send, status: int, body: bytes, closes: bool = False) -> None:
    """A whole answer."""
    headers = [(b"content-length", b"%d" % len(body)), *([(b"connection", b"close")] if closes else [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main(port: int) -> None:
    """Serve until a signal, and say what happens."""
    settings = load_settings().gateway
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)

    @asynccontextmanager
    async def opening() -> AsyncIterator[Opened]:
        yield Opened(Constant(settings), lambda: print("stopping", flush=True))
        print("closed", flush=True)

    serve(settings, settings.host, port, opening)


if __name__ == "__main__":
    main(int(sys.argv[1]))
