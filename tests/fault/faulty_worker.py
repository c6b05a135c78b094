"""``weir worker`` with failpoints: ``python -m tests.fault.faulty_worker --orders FILE [--break NAME] worker``.

It patches methods of the real classes and then runs the very same thing: ``weir worker`` checks what it checks and
replaces itself by ``faust -A streams.app worker``, into which this module slips once more.
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys
import tempfile
from pathlib import Path

MODULE = "tests.fault.faulty_worker"


def main(arguments: list[str]) -> None:
    """Run the command after the options: ``worker …`` is Weir's, ``faust …`` is what that becomes."""
    parser = argparse.ArgumentParser(prog=MODULE, description=__doc__)
    parser.add_argument("--orders", type=Path, help="file with an order, see tests/fault/failpoints.py")
    parser.add_argument("--fail-at", metavar="NAME:N[:STAGE]", help="kill itself at a failpoint, from the start")
    parser.add_argument("--break", dest="broken", help="an order to break")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    program = options.command[0]
    own = arguments[: -len(options.command)]
    if program == "worker":
        become_faulty(own)
        run_module("weir", options.command)
    else:
        install(options)
        run_module("faust", options.command[1:])


def become_faulty(own: list[str]) -> None:
    """Let the step from ``weir worker`` to Faust lead through this module again, in the same process id."""
    execute = os.execv

    def execv(path: str, command: list[str]) -> None:
        python, dash_m, module, *rest = command
        if (dash_m, module) != ("-m", "faust"):
            raise LookupError(f"weir worker runs {command}: tests/fault/faulty_worker.py must follow.")
        execute(path, [python, dash_m, MODULE, *own, module, *rest])

    os.execv = execv  # type: ignore[assignment]


def install(options: argparse.Namespace) -> None:
    """Put the failpoints, or the broken order, into this process."""
    from tests.fault import failpoints
    from tests.fault.broken_orders import BROKEN

    if options.fail_at:
        name, passing, *stage = options.fail_at.split(":")
        options.orders = options.orders or Path(tempfile.mkdtemp(prefix="weir-orders-")) / "orders"
        failpoints.OrderFile(options.orders).give(failpoints.Order("kill", name, int(passing), *stage))
    if options.broken:
        BROKEN[options.broken]()
    if options.orders:
        failpoints.install(failpoints.OrderFile(options.orders))


def run_module(module: str, arguments: list[str]) -> None:
    """As ``python -m module arguments``."""
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
