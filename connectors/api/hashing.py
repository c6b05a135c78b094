"""How many slow hashes are computed side by side: each takes a core for tens of milliseconds, and up to 64 MiB."""

from __future__ import annotations

from typing import Final

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar

AT_ONCE: Final = 2

_limiter: RunVar[CapacityLimiter] = RunVar("weir_api_hashing")


def hashing() -> CapacityLimiter:
    """The limiter of the running event loop, for whatever checks a password or a key."""
    try:
        return _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(AT_ONCE)
        _limiter.set(limiter)
        return limiter
