"""A web server that answers a constant: what the gateway would reach if it did nothing.

``python -m bench.constant_server`` listens where the gateway of the settings would, with its server and limits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, Final

from connectors.gateway.server.server import Opened, serve
from weir.settings import load_settings

Message = MutableMapping[str, Any]

ANSWER: Final = b"{}"
_START: Final = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"2")],
}
_BODY: Final = {"type": "http.response.body", "body": ANSWER}


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Read the body and answer."""
    while (await receive()).get("more_body"):
        pass
    await send(_START)
    await send(_BODY)


@asynccontextmanager
async def _opened() -> AsyncIterator[Opened]:
    yield Opened(app)


def main() -> None:
    """Serve until SIGTERM."""
    gateway = load_settings().gateway
    serve(gateway, gateway.host, gateway.port, _opened)


if __name__ == "__main__":
    main()
