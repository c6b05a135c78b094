"""The order of section "What a committed offset means" (docs/architecture.md), broken on purpose in this process.

====================== ==========================================================================================
broken order           what is wrong, and what a crash then costs
====================== ==========================================================================================
insert_before_plan     blocks are inserted before their plan is committed: a restart cuts others, rows are doubled
unplanned_token        a block goes under another token each time: a restart inserts it again, rows are doubled
commit_before_insert   the next checkpoint is committed before the insert: a restart begins behind it, rows are lost
====================== ==========================================================================================
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

from streams.engine.partition_state import PartitionState, Pending
from streams.engine.stage import Stage

Taken = list[tuple[PartitionState, Pending]]


def insert_before_plan() -> None:
    """Insert first, then plan."""
    plan = _method("_plan")

    async def wrong(self: Stage, taken: Taken) -> Any:
        for state, pending in taken:
            await asyncio.to_thread(self._insert, state.lease, pending)
        return await plan(self, taken)

    _replace("_plan", wrong)


def commit_before_insert() -> None:
    """Say that rows are stored, then store them."""
    plan = _method("_plan")

    async def wrong(self: Stage, taken: Taken) -> Any:
        kept: Taken = await plan(self, taken)
        for state, pending in kept:
            state.flushed(pending)
        await self._commit({state.lease: state.checkpoint() for state, _ in kept})
        return kept

    _replace("_plan", wrong)


def unplanned_token() -> None:
    """Give every insert a token that nobody could repeat."""
    token = _method("_token")
    _replace("_token", lambda self, *block: f"{token(self, *block)}:{uuid.uuid4()}")


BROKEN: dict[str, Callable[[], None]] = {
    each.__name__: each for each in (insert_before_plan, unplanned_token, commit_before_insert)
}


def _method(name: str) -> Callable[..., Any]:
    try:
        method: Callable[..., Any] = vars(Stage)[name]
    except KeyError:
        raise LookupError(f"Stage has no method {name}: tests/fault/broken_orders.py must follow.") from None
    return method


def _replace(name: str, wrong: Callable[..., Any]) -> None:
    setattr(Stage, name, wrong)
