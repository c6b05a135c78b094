"""Keys in paths: a device may be called ``hall/2``, which a client writes as ``/devices/hall%2F2``.

Servers decode a path before it is routed, and the slash within a key would look like one between segments.
"""

from __future__ import annotations

from urllib.parse import unquote

from starlette.convertors import Convertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send

from connectors.entities.values import SLASH


class KeySegment(Convertor[str]):
    """One segment of a path, with the slashes that its key has: ``{key:key}`` in a route."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        """From the path to the key."""
        return value.replace(SLASH, "/")

    def to_string(self, value: str) -> str:
        """From the key to the path."""
        return value.replace("/", SLASH)


register_url_convertor("key", KeySegment())


class PathSegments:
    """Decodes the path of a request segment by segment."""

    def __init__(self, app: ASGIApp) -> None:
        """Nothing to set."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        raw = scope.get("raw_path") if scope["type"] == "http" else None
        if raw and b"%2f" in raw.lower():
            segments = raw.decode("ascii", "replace").split("/")
            scope["path"] = "/".join(unquote(segment).replace("/", SLASH) for segment in segments)
        await self._app(scope, receive, send)
