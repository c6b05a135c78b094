"""The ASGI application: finds the route and the caller of a request, and sends what its handler answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final

from connectors.gateway.door.credentials import credentials_of
from connectors.gateway.errors import (
    BAD_REQUEST,
    INTERNAL,
    METHOD_NOT_ALLOWED,
    NOT_ACCEPTABLE,
    NOT_FOUND,
    REQUEST_TIMEOUT,
    UNSUPPORTED_MEDIA_TYPE,
    GatewayError,
)
from connectors.gateway.http import (
    JSON,
    V2,
    Answer,
    RawHeaders,
    Reply,
    Request,
    Route,
    Router,
    StreamReply,
    json_reply,
    wait_header,
)
from connectors.gateway.records import Caller
from connectors.gateway.server.bodies import pieces, read_body
from connectors.gateway.server.held_bytes import HELD
from connectors.gateway.server.observation import Observation

if TYPE_CHECKING:
    from connectors.gateway.parts import Parts

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

NOBODY: Final = Caller("", "", "device")
CLIENT_LEFT: Final = 499
"""What nginx calls a request whose client left before its answer."""
UNROUTED: Final = "(none)"
"""The route of requests that have none: a label of whatever a client writes would have no bound."""
MOST_REMEMBERED: Final = 1_000
"""Spellings of Accept and Content-Type that are remembered."""


class Gateway:
    """Serves HTTP requests with the parts that it is given; opening and closing them is the server's work."""

    def __init__(self, parts: Parts, router: Router) -> None:
        """Nothing is served yet."""
        self._parts = parts
        self._settings = parts.settings.gateway
        self._router = router
        self._accepted: dict[tuple[tuple[str, ...], bytes], str | None] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, whose answer is always written, whatever happens."""
        if scope["type"] != "http":
            return
        begun = time.perf_counter()
        exchange = _Exchange(scope)
        try:
            answer = await self._answer(exchange, receive)
        except GatewayError as error:
            answer = self._refusal(exchange, error)
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("A fault in %s", exchange.label)
            answer = self._refusal(exchange, GatewayError(INTERNAL, "Something is wrong here; it was written down."))
        if answer is not None:
            try:
                await _write(scope, answer, send)
            except Exception:
                logger.exception("A fault while answering %s", exchange.label)
        status = answer.status if answer is not None else CLIENT_LEFT
        exchange.tell(self._parts.observation, status, time.perf_counter() - begun)

    async def _answer(self, exchange: _Exchange, receive: Receive) -> Answer | None:
        scope, headers = exchange.scope, exchange.scope["headers"]
        method, path = scope["method"], scope["path"]
        found = self._router.find(path)
        if found is None:
            raise GatewayError(NOT_FOUND, "HTTP 404 Not Found")
        methods, params = found
        exchange.route = next(iter(methods.values()))
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            return self._other_method(method, methods)
        exchange.route = route
        if not route.is_open:
            credentials = credentials_of(headers)
            caller = self._parts.identity.known(credentials) if credentials is not None else None
            exchange.caller = caller or await self._parts.identity.caller(credentials)
        exchange.media_type = self._negotiated(route, _header(headers, b"accept"))
        content_type = _media_type(_header(headers, b"content-type"))
        if route.consumes and content_type not in route.consumes:
            takes = ", ".join(route.consumes)
            raise GatewayError(UNSUPPORTED_MEDIA_TYPE, f"HTTP 415 Unsupported Media Type: send {takes}.")
        request = Request(method, path, params, scope["query_string"], headers, content_type, exchange.caller)
        exchange.request = request
        if route.streams:
            if request.header(b"idempotency-key") is not None:
                said = "A stream cannot be repeated under an Idempotency-Key; send its records to records:batch."
                raise GatewayError(BAD_REQUEST, said)
            limits = self._settings.body_seconds, self._settings.stream_seconds
            request.pieces = pieces(receive, *limits, headers)
            return await route.handler(request)
        with HELD.share(exchange.caller) as share:
            body = await read_body(receive, headers, self._settings.body_bytes, self._settings.body_seconds, share)
            if body is None:
                return None
            request.body = body
            return await self._handled(route, request)

    async def _handled(self, route: Route, request: Request) -> Answer:
        key = request.header(b"idempotency-key") if request.method == "POST" else None
        if key is None:
            return await route.handler(request)

        async def work() -> Reply:
            answer = await route.handler(request)
            if not isinstance(answer, Reply):
                raise TypeError(f"{route.template} streams and cannot be repeated")
            return answer

        return await self._parts.idempotency.answer(key, request, work)

    def _other_method(self, method: str, methods: Any) -> Answer:  # noqa: ANN401  # a mapping of routes
        names = {"OPTIONS", *methods, *(("HEAD",) if "GET" in methods else ())}
        allow = (b"allow", ", ".join(sorted(names)).encode())
        if method == "OPTIONS":
            return Reply(200, b"", JSON, (allow,))
        refused = GatewayError(METHOD_NOT_ALLOWED, "HTTP 405 Method Not Allowed")
        return json_reply(405, refused.body(), JSON, (allow,))

    def _negotiated(self, route: Route, accept: bytes | None) -> str:
        """The first type that the route gives and the client takes."""
        if not accept or accept == b"*/*":
            return route.produces[0]
        known = (route.produces, accept)
        if known not in self._accepted:
            if len(self._accepted) >= MOST_REMEMBERED:
                self._accepted.clear()
            self._accepted[known] = negotiated(route.produces, accept)
        found = self._accepted[known]
        if found is None:
            raise GatewayError(NOT_ACCEPTABLE, "HTTP 406 Not Acceptable")
        return found

    def _refusal(self, exchange: _Exchange, error: GatewayError) -> Reply:
        headers: list[tuple[bytes, bytes]] = []
        if error.retry_after is not None:
            headers.append(wait_header(error.retry_after))
        if error.status == 401:
            headers.append((b"www-authenticate", b'Basic realm="weir", Bearer'))
        if error.status == REQUEST_TIMEOUT // 100:
            headers.append((b"connection", b"close"))  # the rest of the body is not waited for
        media = V2 if exchange.route is not None and V2 in exchange.route.produces else JSON
        exchange.reason = error.reason
        if exchange.caller is not NOBODY and exchange.route is not None and exchange.route.method == "POST":
            self._parts.usage.count(exchange.caller.organisation, rejected=1, reason=error.reason)
        return json_reply(error.status, error.body(), media, headers)


class _Exchange:
    """What is known of a request so far."""

    __slots__ = ("caller", "media_type", "reason", "request", "route", "scope")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.route: Route | None = None
        self.caller = NOBODY
        self.request: Request | None = None
        self.media_type = JSON
        self.reason = ""

    @property
    def label(self) -> str:
        return self.route.template if self.route is not None else UNROUTED

    def tell(self, observation: Observation, status: int, seconds: float) -> None:
        caller = None if self.caller is NOBODY else self.caller
        counts = self.request.counts if self.request is not None else {}
        size = len(self.request.body) if self.request is not None else 0
        observation.tell(self.scope, self.label, status, seconds, caller, counts, size)


def negotiated(produces: tuple[str, ...], accept: bytes) -> str | None:
    """The first type of ``produces`` that an ``Accept`` header allows; a quality of 0 forbids."""
    ranges = []
    for each in accept.decode("latin-1").lower().split(","):
        media, *parameters = (part.strip() for part in each.split(";"))
        quality = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        try:
            ranges.append((float(quality), media))
        except ValueError:
            continue
    forbidden = {media for quality, media in ranges if quality <= 0}
    for _, media in sorted(ranges, key=lambda each: -each[0]):
        for offered in produces:
            if offered not in forbidden and _covers(media, offered) and media not in forbidden:
                return offered
    return None


def _covers(media: str, offered: str) -> bool:
    return media in ("*/*", "*", offered) or (media.endswith("/*") and offered.startswith(media[:-1]))


def _header(headers: RawHeaders, name: bytes) -> bytes | None:
    for each, value in headers:
        if each == name:
            return value
    return None


def _media_type(value: bytes | None) -> str:
    return value.partition(b";")[0].strip().lower().decode("latin-1") if value else ""


async def _write(scope: Scope, answer: Answer, send: Send) -> None:
    head = [(b"content-type", answer.media_type.encode())]
    if isinstance(answer, StreamReply):
        await send({"type": "http.response.start", "status": answer.status, "headers": head})
        async for chunk in answer.chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    head += [(b"content-length", b"%d" % len(answer.body)), *answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": head})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})
