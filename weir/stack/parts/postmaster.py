"""What a Postgres that was killed leaves behind: a pid file that can keep the next one from starting."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from weir.errors import StackError

DEPARTURE_SECONDS = 10.0
"""How long backends may take to notice that their postmaster is gone; they look once a second."""


def clear_stale_pid_file(data: Path) -> None:
    """Remove ``postmaster.pid`` if nothing works on ``data`` any more; does nothing if there is none.

    Postgres does this itself unless a process with the old pid exists, and takes even a zombie for one: where process 1
    does not collect orphans, as in many containers, a killed Postgres would never start again. It must not be removed
    while a backend lives, so those are waited for. Raises :class:`~weir.errors.StackError` if one stays.
    """
    pid_file = data / "postmaster.pid"
    if not pid_file.exists():
        return
    deadline = time.monotonic() + DEPARTURE_SECONDS
    while pids := processes_on(data):
        if time.monotonic() > deadline:
            raise StackError(f"A Postgres that is not ours (pid {pids[0]}) works on {data}; stop it first.")
        time.sleep(0.1)
    pid_file.unlink()


def processes_on(data: Path) -> list[int]:
    """Pids of living Postgres processes whose working folder is ``data``, as that of every server process is."""
    found = []
    for process in psutil.process_iter(["name", "cwd", "status"]):
        zombie = process.info["status"] == psutil.STATUS_ZOMBIE
        if process.info["name"] == "postgres" and not zombie and process.info["cwd"] == str(data.resolve()):
            found.append(process.pid)
    return found
