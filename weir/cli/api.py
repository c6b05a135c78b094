"""``weir api``: the HTTP API of metadata."""

from __future__ import annotations

import logging
import signal
import sys

import click
import uvicorn

from connectors.api.app import make_app
from weir.listening import listening
from weir.settings import Settings, load_settings

DRAIN_SECONDS = 10
"""How long requests that are being answered may take once the program is asked to end."""
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
    with listening(host, port, "The API", "WEIR_API__PORT") as listener:
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
