"""One question at a time, for all that is wanted meanwhile: a hundred requests at once cost two questions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, Generic, TypeVar

Found = TypeVar("Found")

MOST_AT_ONCE: Final = 1_000
"""Names in one question: 50 ms for as many devices. 5,000 in one made none cheaper (20,000 took as long either way)."""


class Gathered(Generic[Found]):
    """Asks ``question(names)``, which answers with what it found by name; for one event loop."""

    def __init__(self, question: Callable[[Collection[str]], Awaitable[Mapping[str, Found]]]) -> None:
        """Ask nothing yet."""
        self._question = question
        self._one_at_a_time = asyncio.Lock()
        self._gathering: dict[str, None] = {}
        self._next: asyncio.Task[Mapping[str, Found]] | None = None
        self._current: tuple[Collection[str], asyncio.Task[Mapping[str, Found]] | None] = ((), None)

    async def ask(self, names: Collection[str]) -> dict[str, Found]:
        """What was found of ``names``, in a question that is under way or in the next one; raises what it raises."""
        asked, current = self._current
        later = [each for each in names if current is None or each not in asked]
        joined = [current] if current is not None and len(later) < len(names) else []
        if later:
            joined.append(self._join(later))
        answers = [await asyncio.shield(each) for each in joined]
        return {each: found[each] for found in answers for each in names if each in found}

    def _join(self, names: Collection[str]) -> asyncio.Task[Mapping[str, Found]]:
        self._gathering |= dict.fromkeys(names)
        if self._next is None:
            self._next = asyncio.create_task(self._asked())
            self._next.add_done_callback(_seen)
        return self._next

    async def _asked(self) -> Mapping[str, Found]:
        async with self._one_at_a_time:
            names, self._gathering = self._gathering, {}
            self._current, self._next = (names, self._next), None
            try:
                found: dict[str, Found] = {}
                wanted = list(names)
                for begin in range(0, len(wanted), MOST_AT_ONCE):
                    found |= await self._question(wanted[begin : begin + MOST_AT_ONCE])
                return found
            finally:
                self._current = ((), None)


def _seen(task: asyncio.Task[Mapping[str, Found]]) -> None:
    """Whoever waited may be gone; an error that nobody sees is no fault."""
    if not task.cancelled():
        task.exception()
