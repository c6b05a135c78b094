"""Ports for a test's own servers, from a range that neither Weir's defaults nor Linux' ephemeral ports use."""

from __future__ import annotations

import itertools
import random

from weir.stack.ports import is_free

FIRST, LAST = 27000, 28999
BLOCK = 20
"""Ports of one embedded stack, with room for some workers."""

_starts = itertools.cycle(random.sample(range(FIRST, LAST - BLOCK, BLOCK), (LAST - BLOCK - FIRST) // BLOCK))


def free_block() -> int:
    """The first of :data:`BLOCK` free ports in a row; random, so that two test runs on one machine seldom meet."""
    for start in itertools.islice(_starts, 200):
        if all(is_free(port) for port in range(start, start + BLOCK)):
            return start
    raise RuntimeError(f"No {BLOCK} free ports in a row between {FIRST} and {LAST}; end what listens there.")


def free_port() -> int:
    """One free port."""
    return free_block()
