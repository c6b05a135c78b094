"""Limits of what a client sends: how much, for how long, and that it is JSON with one meaning."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from connectors.api.errors import BadRequestError, refusal
from connectors.api.strict_json import read_json, require_text
from weir.settings import ApiSettings


class BodyTooLargeError(Exception):
    """The client sends more than is taken."""


class BodyGuard:
    """Reads the whole body before the request goes on, or refuses it.

    A client that announces too much is refused before it sends anything.
    """

    def __init__(self, app: ASGIApp, settings: ApiSettings) -> None:
        """Guard ``app``."""
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a body that was checked."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            require_text(scope["path"])
            async with asyncio.timeout(self._settings.body_seconds):
                body = await self._body(Headers(scope=scope), receive)
            if body is None:  # the client has left
                return
            if body:
                read_json(body)
        except BodyTooLargeError:
            answer = refusal(413, f"The body is larger than {self._settings.body_bytes} bytes.")
            await answer(scope, receive, send)
        except TimeoutError:
            answer = refusal(408, f"The body did not come within {self._settings.body_seconds:g} s.")
            answer.headers["Connection"] = "close"
            await answer(scope, receive, send)
        except BadRequestError as error:
            await refusal(400, str(error))(scope, receive, send)
        else:
            await self._app(scope, _again(body, receive), send)

    async def _body(self, headers: Headers, receive: Receive) -> bytes | None:
        announced = headers.get("content-length", "0")
        if announced.isdigit() and int(announced) > self._settings.body_bytes:
            raise BodyTooLargeError
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if len(body) > self._settings.body_bytes:
                raise BodyTooLargeError
            if not message.get("more_body", False):
                break
        if body and headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise BadRequestError("The body must be JSON; send Content-Type: application/json.")
        return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """Give the body that was read once more, then whatever else comes."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
