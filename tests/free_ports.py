"""Ports for a test's own servers, from a range that neither Weir's defaults nor Linux' ephemeral ports use.

Every test process takes one of a few slots, each with ports of its own, so that runs side by side do not meet. A slot
is held by the name of an abstract Unix socket: nothing is left behind, however the process ends.
"""

from __future__ import annotations

import functools
import itertools
import random
import socket
from collections.abc import Iterator

from weir.stack.ports import is_free

SLOTS = 8
SINGLES, BLOCKS, END = 25_000, 27_000, 29_000
BLOCK = 20
"""Ports of one embedded stack, with room for some workers."""


def free_block() -> int:
    """The first of :data:`BLOCK` free ports in a row."""
    for start in itertools.islice(_mine()[1], 200):
        if all(is_free(port) for port in range(start, start + BLOCK)):
            return start
    raise RuntimeError(f"No {BLOCK} free ports in a row between {BLOCKS} and {END}; end what listens there.")


def free_port() -> int:
    """One free port, not given again soon."""
    for port in itertools.islice(_mine()[0], 2_000):
        if is_free(port):
            return port
    raise RuntimeError(f"No free port between {SINGLES} and {BLOCKS}; end what listens there.")


@functools.cache
def _mine() -> tuple[Iterator[int], Iterator[int]]:
    """Single ports and blocks of this process's slot, in random order, over and over."""
    slot = _slot()
    singles = range(SINGLES + slot, BLOCKS, SLOTS)
    blocks = range(BLOCKS + slot * BLOCK, END - BLOCK + 1, SLOTS * BLOCK)
    return (
        itertools.cycle(random.sample(singles, len(singles))),
        itertools.cycle(random.sample(blocks, len(blocks))),
    )


_HELD: list[socket.socket] = []


def _slot() -> int:
    for slot in random.sample(range(SLOTS), SLOTS):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0weir-test-ports-{slot}")
        except OSError:
            claim.close()
            continue
        _HELD.append(claim)
        return slot
    raise RuntimeError(f"More than {SLOTS} test runs at the same time.")
