"""A door on a database for a test: who calls and what metadata says, with a clock that the test moves."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from connectors.gateway.door.door import Door, open_door
from connectors.gateway.errors import GatewayError
from tests.stack_under_test import settings_from
from tests.waiting import patient

LOOK_SECONDS = 0.05
AWAY_SECONDS = 600.0


@dataclass
class MovedClock:
    """The real one, and what the test adds."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@dataclass
class MovedWall:
    """The time of day, and what the test adds."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@asynccontextmanager
async def door_on(
    dsn: str,
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
    data_dir: Path | None = None,
) -> AsyncIterator[Door]:
    """A door that looks for changes so often that no test has to wait for them; without a folder it begins anew."""
    with tempfile.TemporaryDirectory() as own:
        gateway = {"key_seconds": LOOK_SECONDS, "away_seconds": AWAY_SECONDS, "data_dir": data_dir or own}
        async with open_door(settings_from({"postgres": {"dsn": dsn}, "gateway": gateway}), clock, wall) as door:
            yield door


async def becomes(ask: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + patient(seconds)
    while not ask():
        if time.monotonic() > deadline:
            raise AssertionError(f"After {seconds:g} s it is still not so that {what}.")
        await asyncio.sleep(0.01)


async def refused(asked: Awaitable[object]) -> GatewayError:
    """The refusal that it ends with."""
    try:
        answer = await asked
    except GatewayError as error:
        return error
    raise AssertionError(f"It was not refused: {answer!r}")
