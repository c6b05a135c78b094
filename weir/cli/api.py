"""``weir api``: the HTTP API of metadata."""

from __future__ import annotations

import logging
import signal
import socket
import sys

import click
import uvicorn

from connectors.api.app import make_app
from weir.errors import ConfigError
from weir.settings import Settings, load_settings

DRAIN_SECONDS = 10
"""How long requests that are being answered may take once the program is asked to end."""
WAITING_CONNECTIONS = 256
"""Connections that the system keeps until they are accepted."""
IDLE_SECONDS = 15
"""How long a connection may stay open without a request."""


@click.command(
    name="api",
    epilog="Example: weir api --port 8080\n\nExit codes: 0 stopped as asked, 1 crashed, 2 settings do not fit.",
)
@click.option("--host", help="Address to listen on. Default: WEIR_API__HOST.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on. Default: WEIR_API__PORT.")
def command(host: str | None, port: int | None) -> None:
    """Serve metadata over HTTP: entities, relationships, schemas, users, keys, processes, commands to devices.

    What it offers stands in /openapi.json and, for people, /docs. On SIGTERM or Ctrl-C it takes no new requests,
    answers those that it has, and ends.
    """
    settings = load_settings()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    serve(settings, host or settings.api.host, port or settings.api.port)


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until a signal. Raises :class:`~weir.errors.ConfigError` when the port cannot be had."""
    with listening(host, port) as listener:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _asked)
        make_server(settings).run(sockets=[listener])


def _asked(_number: int, _frame: object) -> None:
    """Uvicorn drains, and then raises the signal again for whoever handled it before: that was all."""


def make_server(settings: Settings) -> uvicorn.Server:
    """The server of these settings; it runs on sockets that it is given."""
    server: uvicorn.Server

    def draining() -> bool:
        return server.should_exit

    server = uvicorn.Server(
        uvicorn.Config(
            make_app(settings, draining),
            log_config=None,
            access_log=False,  # the API's own line says who
            server_header=False,
            limit_concurrency=settings.api.most_connections,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
    )
    return server


def listening(host: str, port: int) -> socket.socket:
    """A socket to serve on. Uvicorn would find out late that the port is taken, and end with a code of its own.

    The protocol is named because asyncio turns Nagle's algorithm off for sockets that name it only: answers of two
    packets, head and body, then wait 40 ms for the client's delayed acknowledgement (44 ms instead of 3 for /health).
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(WAITING_CONNECTIONS)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"The API cannot listen on {host}:{port} ({error.strerror}); another one may run already: set "
            "WEIR_API__PORT to a free port."
        ) from error
    return listener
