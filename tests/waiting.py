"""Waiting for something that a running system will do, with a limit and a sentence when it does not.

A limit is there so that a test that fails ends. It says nothing of speed, and a test that passes never comes near it;
so all limits are multiplied by one factor, :data:`PATIENCE`, which the slowest machine that runs the tests decides.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Answer = TypeVar("Answer")

POLL_SECONDS = 0.1
TAIL_LINES = 25

PATIENCE = float(os.environ.get("WEIR_TEST_PATIENCE", "3"))
"""Seen: a machine on which the servers, the workers and the test got a fifth of what two idle cores give."""


def patient(seconds: float) -> float:
    """A limit that only matters when a test fails, for a slow machine."""
    return seconds * PATIENCE


def wait_until(
    ask: Callable[[], Answer],
    what: str,
    seconds: float = 30.0,
    poll: float = POLL_SECONDS,
    explain: Callable[[], str] = str,
) -> Answer:
    """Ask every ``poll`` seconds until the answer is true, and return it.

    Raises AssertionError with ``what``, the last answer and what ``explain`` says after ``seconds`` times
    :data:`PATIENCE`; whatever ``ask`` raises goes through.
    """
    deadline = time.monotonic() + patient(seconds)
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"After {patient(seconds):g} s not yet: {what} (last answer: {answer!r}){explain()}")
        time.sleep(poll)


def tail(file: Path) -> str:
    """The last lines of a log, under its name; for the words of a failure."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        lines = ["(it does not exist)"]
    return "\n".join([f"\n--- the last lines of {file.name}:", *lines[-TAIL_LINES:]])
