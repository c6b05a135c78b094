"""``python -m weir.stack.clickhouse --path DIR --host 127.0.0.1 --port N``: serve one data directory until SIGTERM."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from pathlib import Path

import uvicorn

from weir.errors import StackError, WeirError
from weir.stack.clickhouse.engine import Engine
from weir.stack.clickhouse.server import Server

log = logging.getLogger("weir.clickhouse")

GRACE_SECONDS = 30
ENGINE_OPTIONS: dict[str, str] = {}


def main() -> int:
    """Serve; 0 after a signal, 1 with one sentence on stderr if that is not possible."""
    arguments = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        serve(arguments.path, arguments.host, arguments.port)
    except WeirError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def serve(path: Path, host: str, port: int) -> None:
    """Open the engine on ``path`` and answer on ``host``:``port`` until SIGTERM or SIGINT."""
    # Native answers name DateTime('zone') columns without the zone, so that clients read them in the server's
    os.environ["TZ"] = "UTC"
    engine = Engine(path, ENGINE_OPTIONS)
    server = Server(engine, max_running=32, max_waiting=256)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn sends the signal again after it has shut down
    config = uvicorn.Config(
        server,  # type: ignore[arg-type]
        host=host,
        port=port,
        interface="asgi3",
        lifespan="off",
        ws="none",
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=1 << 20,
    )
    log.info("ClickHouse %s answers on http://%s:%d from %s.", engine.version, host, port, path)
    try:
        uvicorn.Server(config).run()
    finally:
        server.close()
        engine.close()
        log.info("ClickHouse has stopped.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m weir.stack.clickhouse", description=__doc__)
    parser.add_argument("--path", type=Path, required=True, help="data directory")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, required=True, help="port to listen on")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
