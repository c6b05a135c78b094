"""A worker that is killed after its relay has written the first batch and before it has saved how far it came."""

from __future__ import annotations

import os
import runpy
import signal
import sys

from connectors.postgres.outbox import Outbox


def main() -> None:
    """Run ``faust worker`` with a relay that dies; the web port is that of the settings."""
    Outbox.save = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
    port = os.environ["WEIR_WORKER__WEB_PORT"]
    sys.argv = ["faust", "-A", "streams.app", "worker", "-l", "info", "--web-port", port]
    runpy.run_module("faust", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
