"""One benchmark as a process of its own, on a stack that runs already."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

from bench.report.plan import Measurement
from bench.report.results import Entry
from weir.errors import StackError

PATIENCE: Final = 6.0
"""So many times the expected seconds, and no less than ten minutes, until a benchmark counts as hanging."""

SHORTEST_PATIENCE: Final = 600.0
CLEANING_SECONDS: Final = 90.0


def run(measurement: Measurement, known: Collection[str], data_dir: Path, quick: bool) -> Entry:
    """Run it to its end, with its progress on our stderr; blocks for as long as it takes.

    Raises :class:`~weir.errors.StackError` when it fails or gives no JSON. A Ctrl-C ends it first, so that it leaves
    neither worker nor database behind.
    """
    words = [*measurement.program, *measurement.words(quick)]
    runs = 1 if quick else measurement.runs
    if "--runs" in known and runs > 1:
        words += ["--runs", str(runs)]
    where = ["--data-dir", str(data_dir)] if "--data-dir" in known else []
    command = words[1:] if words[0] == "python" else ["-m", *words]
    begun = time.monotonic()
    # a group of its own: a terminal's Ctrl-C reaches only us, and we hand it on once
    child = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, *command, "--json", *where], stdout=subprocess.PIPE, text=True, process_group=0
    )
    try:
        out, _ = child.communicate(timeout=max(SHORTEST_PATIENCE, PATIENCE * measurement.seconds))
    except subprocess.TimeoutExpired:
        _end(child)
        raise StackError(f"it did not end in {time.monotonic() - begun:,.0f} s") from None
    except BaseException:
        _end(child)
        raise
    if child.returncode:
        raise StackError(f"`{shlex.join(words)}` ended with {child.returncode}")
    try:
        result = json.loads(out)
    except ValueError:
        raise StackError(f"`{shlex.join(words)}` gave no JSON") from None
    return Entry(shlex.join(words), round(time.monotonic() - begun, 1), result, quick)


def _end(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGTERM)
    try:
        child.communicate(timeout=CLEANING_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
