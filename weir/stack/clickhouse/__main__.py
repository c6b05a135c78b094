"""``python -m weir.stack.clickhouse --path DIR --host 127.0.0.1 --port N``: serve one data directory until SIGTERM."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from weir.errors import StackError, WeirError
from weir.stack.clickhouse.engine import Engine
from weir.stack.clickhouse.server import Server

log = logging.getLogger("weir.clickhouse")

MAX_HEAD_BYTES = 1 << 20  # the server's http_max_uri_size


def main() -> int:
    """Serve; 0 after a signal, 1 with one sentence on stderr if that is not possible."""
    arguments = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        serve(arguments)
    except WeirError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def serve(arguments: argparse.Namespace) -> None:
    """Open the engine on ``path`` and answer on ``host``:``port`` until SIGTERM or SIGINT.

    Raises :class:`~weir.errors.StackError` if the directory or the port is not to be had.
    """
    path, host, port = arguments.path, arguments.host, arguments.port
    listener = _listen(host, port)
    try:
        engine = Engine(path)
    except WeirError:
        listener.close()
        raise
    server = Server(engine, arguments.max_running, arguments.max_waiting)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn sends the signal again after it has shut down
    log.info("ClickHouse %s answers on http://%s:%d from %s.", engine.version, host, port, path)
    uvicorn.Server(_config(server, arguments.grace_seconds)).run(sockets=[listener])
    if not server.close(timeout_seconds=1):
        log.warning("ClickHouse stops while queries still run; none of them was acknowledged.")
        os._exit(0)  # Python would wait for their threads; what was acknowledged is on disk
    engine.close()
    log.info("ClickHouse has stopped.")


def _config(server: Server, grace_seconds: int) -> uvicorn.Config:
    return uvicorn.Config(
        server,
        interface="asgi3",
        lifespan="off",
        ws="none",
        log_level="critical",  # its errors are answers broken off on purpose; ours are logged here
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=grace_seconds,
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
    )


def _listen(host: str, port: int) -> socket.socket:
    # asyncio sets TCP_NODELAY only on sockets that name their protocol, and without it every answer waits 40 ms
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise StackError(
            f"ClickHouse cannot listen on {host}:{port}: {error.strerror}; choose another --port."
        ) from None
    return listener


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m weir.stack.clickhouse", description=__doc__)
    parser.add_argument("--path", type=Path, required=True, help="data directory")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, required=True, help="port to listen on")
    parser.add_argument("--max-running", type=int, default=32, help="queries that run at once")
    parser.add_argument("--max-waiting", type=int, default=256, help="queries that wait for them; beyond: code 202")
    parser.add_argument("--grace-seconds", type=int, default=30, help="how long queries may go on after a signal")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
