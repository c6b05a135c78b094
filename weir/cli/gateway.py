"""``weir gateway``: the door for devices."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import click

from connectors.gateway.parts import make_app, open_parts
from connectors.gateway.server.server import Opened, serve
from weir.garbage import collect_rarely
from weir.settings import Settings, load_settings


@click.command(
    name="gateway",
    epilog="Example: weir gateway --port 8082\n\n"
    "Exit codes: 0 stopped as asked, 1 crashed or the registry is away, 2 settings do not fit.",
)
@click.option("--host", help="Address to listen on. Default: WEIR_GATEWAY__HOST.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on. Default: WEIR_GATEWAY__PORT.")
def command(host: str | None, port: int | None) -> None:
    """Take readings of devices over HTTP, as Kafka REST Proxy v2 and v3 do, with keys, quotas and a spool.

    What it takes stands in /openapi.json. On SIGTERM or Ctrl-C it takes no new requests, answers those that it has,
    and ends; what Kafka has not taken by then waits on disk for the next start.
    """
    settings = load_settings()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every question to the registry
    serve(settings.gateway, host or settings.gateway.host, port or settings.gateway.port, partial(_opened, settings))


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Opened]:
    async with open_parts(settings) as parts:

        def stopping() -> None:
            parts.is_draining = True

        app = make_app(parts)
        collect_rarely()
        yield Opened(app, stopping)
