"""An answer for what nobody foresaw: one sentence to the client, the traceback to the log."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from connectors.api.errors import answer_to


class LastResort:
    """Answers 500 for an exception that came through; when the answer had begun, the connection is cut instead."""

    def __init__(self, app: ASGIApp) -> None:
        """Watch ``app``."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            if begun or scope["type"] != "http":
                raise
            await answer_to(error)(scope, receive, send)
