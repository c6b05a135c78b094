"""Bodies of requests: how they arrive, how long that may take, how large they may become, and their compression."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Final

from connectors.gateway import errors
from connectors.gateway.errors import GatewayError
from connectors.gateway.http import RawHeaders
from connectors.gateway.server.held_bytes import Share
from connectors.gateway.server.inflating import IDENTITY, Inflater, encoding_of, inflated

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

INLINE_BYTES: Final = 32_768
"""Compressed bodies up to here are inflated at once; larger ones in a thread, so that nobody waits for them."""


async def read_body(
    receive: Receive, headers: RawHeaders, most_bytes: int, seconds: float, share: Share
) -> bytes | None:
    """The whole body, inflated if it came compressed; None when the client has left. ``share`` holds it from now on.

    Raises :class:`~connectors.gateway.errors.GatewayError`: TOO_LARGE for more than ``most_bytes``, before reading
    when the length was announced, and counted after inflating; REQUEST_TIMEOUT when it is not there after ``seconds``;
    UNSUPPORTED_MEDIA_TYPE for an unknown encoding; BAD_REQUEST for a compressed body that is none; what
    :meth:`~connectors.gateway.server.held_bytes.HeldBytes.add` raises.
    """
    encoding = encoding_of(headers)
    if _announced(headers) > most_bytes:
        raise _too_large(most_bytes)
    message = _at_once(receive)
    if message is not None and not message.get("more_body"):  # nearly always: it came with the headers
        body = _body_of(message)
    else:
        try:
            async with asyncio.timeout(seconds):
                body = await _gathered(receive, message, most_bytes, share)
        except TimeoutError:
            raise GatewayError(errors.REQUEST_TIMEOUT, f"The body did not arrive within {seconds:g} s.") from None
    if body is not None and len(body) > most_bytes:
        raise _too_large(most_bytes)
    if not body:
        return body
    share.hold(len(body))
    if encoding == IDENTITY:
        return body
    if len(body) > INLINE_BYTES:
        whole = await asyncio.to_thread(inflated, body, encoding, most_bytes)
    else:
        whole = inflated(body, encoding, most_bytes)
    if whole is None:
        raise _too_large(most_bytes)
    share.hold(len(whole))
    return whole


async def pieces(
    receive: Receive, idle_seconds: float, most_seconds: float, headers: RawHeaders = ()
) -> AsyncIterator[bytes]:
    """The body as it comes, inflated; ends with the body or when the client has left. No piece is empty.

    What a client that has left sent compressed is not inflated further: 8 KB may be hours of work for nobody.

    Raises :class:`~connectors.gateway.errors.GatewayError`: REQUEST_TIMEOUT after ``idle_seconds`` without a piece or
    ``most_seconds`` in all, and the errors of compression of :func:`read_body`.
    """
    encoding = encoding_of(headers)
    inflater = None if encoding == IDENTITY else Inflater(encoding)
    end = time.monotonic() + most_seconds
    ahead: Message | None = None
    while True:
        message = ahead or _at_once(receive) or await _next(receive, idle_seconds, end, most_seconds)
        ahead = None
        if message["type"] != "http.request":
            return
        body = message.get("body", b"")
        if inflater is None:
            if body:
                yield body
        else:
            for piece in inflater.feed(body):
                yield piece
                await asyncio.sleep(0)  # whoever else waits has a turn
                if time.monotonic() > end:
                    raise _lasted(most_seconds)
                ahead = ahead or _at_once(receive)
                if ahead is not None and ahead["type"] != "http.request":
                    return
        if not message.get("more_body"):
            if inflater is not None:
                inflater.finish()
            return
        if time.monotonic() > end:
            raise _lasted(most_seconds)


def _at_once(receive: Receive) -> Message | None:
    """What is there already, without the 6 µs that a time limit costs; None when there is nothing yet."""
    waiting: Any = receive()
    try:
        waiting.send(None)
    except StopIteration as arrived:
        message: Message = arrived.value
        return message
    waiting.close()  # asked again under a limit
    return None


async def _next(receive: Receive, idle_seconds: float, end: float, most_seconds: float) -> Message:
    left = end - time.monotonic()
    try:
        async with asyncio.timeout(min(idle_seconds, left)):
            return await receive()
    except TimeoutError:
        if left <= idle_seconds:
            raise _lasted(most_seconds) from None
        raise GatewayError(errors.REQUEST_TIMEOUT, f"Nothing arrived for {idle_seconds:g} s.") from None


def _lasted(most_seconds: float) -> GatewayError:
    return GatewayError(errors.REQUEST_TIMEOUT, f"A stream may last {most_seconds:g} s; open another one.")


async def _gathered(receive: Receive, message: Message | None, most_bytes: int, share: Share) -> bytes | None:
    body = bytearray()
    while True:
        if message is None:
            message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > most_bytes:
            raise _too_large(most_bytes)
        share.hold(len(body))
        if not message.get("more_body"):
            return bytes(body)
        message = None


def _body_of(message: Message) -> bytes | None:
    return message.get("body", b"") if message["type"] == "http.request" else None


def _too_large(most_bytes: int) -> GatewayError:
    return GatewayError(errors.TOO_LARGE, f"The body is larger than {most_bytes} bytes; send fewer records at once.")


def _announced(headers: RawHeaders) -> int:
    for name, value in headers:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0
