"""Waiting until a server that a benchmark has started answers."""

from __future__ import annotations

import time
from typing import Final

import httpx

from weir.errors import StackError
from weir.stack.child import Child

START_SECONDS: Final = 60.0


def await_ok(child: Child, url: str) -> None:
    """Block until ``url`` answers with 200; raises :class:`~weir.errors.StackError` when ``child`` ends or is late."""
    deadline = time.monotonic() + START_SECONDS
    while child.exit_code() is None and time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=5.0, trust_env=False).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise StackError(f"{child.name} does not answer at {url}; the last lines of {child.log}:\n{child.last_lines()}")
