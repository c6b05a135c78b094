"""Which processor core a process may use: ``python -m bench.pinned CORE MODULE ARGUMENTS`` runs a module on one.

A core is chosen before the module's first thread starts, because threads keep what they were born with.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def cores() -> tuple[int, frozenset[int]]:
    """The core for what is measured, and those for everything else; the same one where there is only one.

    Ask before :func:`moved`: it moves whoever asks, too.
    """
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], frozenset(usable[1:] or usable)


@contextmanager
def moved(pids: Iterable[int], to: frozenset[int]) -> Iterator[None]:
    """Keep processes, with all their threads, on the cores ``to``; give them back what they had. Linux only."""
    had: dict[int, set[int]] = {}
    try:
        for pid in pids:
            for task in Path(f"/proc/{pid}/task").iterdir():
                with suppress(OSError):  # a thread that has just ended
                    thread = int(task.name)
                    had[thread] = os.sched_getaffinity(thread)
                    os.sched_setaffinity(thread, to)
        yield
    finally:
        for thread, before in had.items():
            with suppress(OSError):
                os.sched_setaffinity(thread, before)


def main() -> None:
    """Run what the command line says."""
    core, module = int(sys.argv[1]), sys.argv[2]
    os.sched_setaffinity(0, {core})
    sys.argv = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
