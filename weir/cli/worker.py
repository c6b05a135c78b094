"""``weir worker``: one Faust worker with every stream."""

from __future__ import annotations

import os
import socket
import sys

import click

from streams.preflight import check
from weir.errors import ConfigError
from weir.settings import load_settings

_FAUST_LEVELS = {"debug": "debug", "info": "info", "warning": "warn", "error": "error"}


@click.command(
    name="worker",
    epilog="Example: WEIR_WORKER__WEB_PORT=29411 weir worker\n\n"
    "Exit codes: 0 stopped, 1 crashed with nothing committed, 2 settings, topics or tables do not fit.",
)
@click.option(
    "--log-level",
    default="info",
    show_default=True,
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="How much it says on stderr.",
)
def command(log_level: str) -> None:
    """Run one worker: reads, validates, enriches, aggregates, stores. The same as `faust -A streams.app worker`.

    Start as many as there are partitions; they share them, and take over from each other.
    """
    settings = load_settings()
    _require_port(settings.worker.web_host, settings.worker.web_port)
    check(settings)  # exit 2 before anything is consumed
    os.environ.setdefault("POLARS_MAX_THREADS", "1")  # workers scale by partitions and processes
    level, port = _FAUST_LEVELS[log_level], str(settings.worker.web_port)
    os.execv(  # noqa: S606 - our own interpreter, no shell
        sys.executable,
        [sys.executable, "-m", "faust", "-A", "streams.app", "worker", "-l", level, "--web-port", port],
    )


def _require_port(host: str, port: int) -> None:
    """Faust would find out late and say it in a traceback."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"The worker's web page cannot listen on {host}:{port} ({error.strerror}); another worker may run "
                "already: set WEIR_WORKER__WEB_PORT to a free port."
            ) from error
