"""The server process: its socket, its limits, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import uvicorn

from connectors.gateway.server.certificate import Certificate, certificate_of
from connectors.gateway.server.metrics import WATCHED
from connectors.gateway.server.protocol import (
    IDLE_SECONDS,
    SURPLUS_CONNECTIONS,
    Limits,
    cut_overdue,
    protocol_of,
)
from weir.listening import listening
from weir.settings import GatewaySettings

logger = logging.getLogger(__name__)

DRAIN_SECONDS: Final = 10
"""How long requests that are being answered may take once the program is asked to end."""
LOOK_SECONDS: Final = 0.25
"""How often connections are looked at; a limit of time is exceeded by no more."""
RENEW_SECONDS: Final = 60.0
"""How often the files of the certificate are looked at."""
OTHER_FILES: Final = 200
"""Files besides clients: of the spool, of libraries, connections to servers."""


@dataclass(frozen=True)
class Opened:
    """What serves requests. ``stopping`` is called when the program is asked to end, before anything is closed."""

    app: Callable[..., Any]
    stopping: Callable[[], None] = lambda: None


Opening = Callable[[], AbstractAsyncContextManager[Opened]]


class DoorServer(uvicorn.Server):
    """Serves what ``opening`` opens on ``listener``; it is closed when the last request has its answer."""

    def __init__(
        self, settings: GatewaySettings, listener: socket.socket, certificate: Certificate | None, opening: Opening
    ) -> None:
        """Nothing is opened yet."""
        self._protocol = protocol_of(Limits.of(settings))
        super().__init__(
            uvicorn.Config(
                _nothing,
                http=self._protocol,
                loop="uvloop",
                ws="none",
                lifespan="off",
                interface="asgi3",
                proxy_headers=False,  # the access log's own affair, see client_address
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=IDLE_SECONDS,
                timeout_graceful_shutdown=DRAIN_SECONDS,
            )
        )
        WATCHED.watch("weir_gateway_connections", lambda: len(self.server_state.connections))
        self._header_seconds = settings.header_seconds
        self._listener = listener
        self._certificate = certificate
        self._opening = opening
        self._open = AsyncExitStack()
        self._stopping: Callable[[], None] = lambda: None
        self._background: list[asyncio.Task[None]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the application first, so that what it cannot do without ends the program with a sentence."""
        opened = await self._open.enter_async_context(self._opening())
        try:
            self._stopping = opened.stopping
            self.config.loaded_app = opened.app
            await super().startup(sockets=[])
            self.servers.append(await self._listen())
        except BaseException:
            await self._open.aclose()
            raise
        self._background = [asyncio.create_task(self._cut()), asyncio.create_task(self._renew())]

    async def _listen(self) -> asyncio.base_events.Server:
        loop = asyncio.get_running_loop()
        context = self._certificate.context if self._certificate else None
        return await loop.create_server(
            lambda: self._protocol(config=self.config, server_state=self.server_state, app_state={}, _loop=loop),
            sock=self._listener,
            ssl=context,
            ssl_handshake_timeout=self._header_seconds if context else None,
            backlog=self.config.backlog,
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nothing new, answer what is there, cut what does not end, and then close the application."""
        self._stopping()
        logger.info("The gateway takes no new requests.")
        try:
            await super().shutdown(sockets=[])
        finally:
            for each in self._background:
                each.cancel()
            await self._open.aclose()
            logger.info("The gateway has ended.")

    async def _cut(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await cut_overdue(self.server_state.connections)

    async def _renew(self) -> None:
        while self._certificate is not None:
            await asyncio.sleep(RENEW_SECONDS)
            self._certificate.renew()


def serve(settings: GatewaySettings, host: str, port: int, opening: Opening) -> None:
    """Serve what ``opening`` opens until SIGTERM or SIGINT; blocks. Raises :class:`~weir.errors.ConfigError`."""
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # a line for each client that speaks no HTTP has no end
    certificate = certificate_of(settings.tls_certificate, settings.tls_key)
    _allow_files(settings.most_connections + SURPLUS_CONNECTIONS + OTHER_FILES)
    with listening(host, port, "The gateway", "WEIR_GATEWAY__PORT") as listener:
        server = DoorServer(settings, listener, certificate, opening)
        for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn takes them over, and gives them back at its end
            signal.signal(number, server.handle_exit)
        server.run()


def _allow_files(needed: int) -> None:
    """Raise the limit of open files: each client is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        logger.warning("The system allows %d open files; %d clients need %d (ulimit -n).", hard, needed, needed)


async def _nothing(_scope: object, _receive: object, _send: object) -> None:
    """Stands where the application comes once it is open."""
