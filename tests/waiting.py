"""Waiting for something that a running system will do, with a limit and a sentence when it does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")

POLL_SECONDS = 0.1


def wait_until(ask: Callable[[], Answer], what: str, seconds: float = 30.0, poll: float = POLL_SECONDS) -> Answer:
    """Ask every ``poll`` seconds until the answer is true, and return it.

    Raises AssertionError with ``what`` and the last answer after ``seconds``; whatever ``ask`` raises goes through.
    """
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"After {seconds:g} s not yet: {what} (last answer: {answer!r})")
        time.sleep(poll)
