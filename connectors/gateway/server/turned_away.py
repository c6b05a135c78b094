"""Answers to those who reach no route: as bytes where there is no request, as an application where there is one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from math import ceil
from typing import Any, Final

from connectors.gateway import errors
from connectors.gateway.errors import GatewayError
from connectors.gateway.http import JSON, RawHeaders, encode_json

RETRY_SECONDS: Final = 2.0
"""When a client for whom there was no room should come back."""
NO_ROOM: Final = GatewayError(
    errors.KAFKA_RETRIABLE, "Too many clients are connected; try again.", reason="too_many", retry_after=RETRY_SECONDS
)


def response_bytes(error: GatewayError) -> bytes:
    """A whole HTTP/1.1 response, after which the connection is closed."""
    status, body = error.status, encode_json(error.body())
    head = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode())]
    head += [name + b": " + value for name, value in _headers(error, body)]
    return b"\r\n".join([*head, b"", body])


async def too_many(
    _scope: MutableMapping[str, Any],
    _receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """The application of a client for whom there is no room."""
    body = encode_json(NO_ROOM.body())
    await send({"type": "http.response.start", "status": NO_ROOM.status, "headers": _headers(NO_ROOM, body)})
    await send({"type": "http.response.body", "body": body})


def _headers(error: GatewayError, body: bytes) -> RawHeaders:
    headers = [
        (b"content-type", JSON.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % ceil(error.retry_after)))
    return headers
