"""One log line and two metrics for every request: what, by whom, with which result, in which time."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from connectors.api import metrics

logger = logging.getLogger(__name__)

UNROUTED = "(none)"
"""The route of requests that have none: a label of whatever a client writes would have no bound."""
CLIENT_LEFT = 499
"""What nginx calls a request whose client left before its answer."""
METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})


class Observation:
    """Observes ``app``; the log never holds a path or a body as they came, only the route that they took."""

    def __init__(self, app: ASGIApp) -> None:
        """Nothing to set."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and look at its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, begun = CLIENT_LEFT, time.perf_counter()

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, observed)
        finally:
            _tell(scope, status, time.perf_counter() - begun)


def route_of(scope: Scope) -> str:
    """The template of the route that a request took, such as ``/devices/{device}``."""
    return getattr(scope.get("route"), "path_format", UNROUTED)


def _tell(scope: Scope, status: int, seconds: float) -> None:
    method = scope["method"] if scope["method"] in METHODS else "OTHER"
    route, caller = route_of(scope), scope.get("state", {}).get("caller")
    metrics.REQUESTS.labels(method, route, str(status)).inc()
    metrics.SECONDS.labels(method, route).observe(seconds)
    logger.info(
        "%s %s %d %.0f ms organisation=%s actor=%s",
        method,
        route,
        status,
        1000 * seconds,
        (caller.organisation or "-") if caller else "-",
        caller.name if caller else "-",
    )
