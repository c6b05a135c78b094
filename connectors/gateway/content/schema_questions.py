"""Questions to the registry in threads: one for all who ask the same, a share for each who asks, answers kept.

Whoever asks much, or for what does not exist, must not keep others from answers: each owner has few questions under
way, and it is the owner with most answers whose oldest is forgotten. A question that nobody waits for any more is not
put.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from connectors.gateway.content.schema_text import RegisteredSchema
from connectors.gateway.errors import KAFKA_RETRIABLE, GatewayError
from weir.errors import ConfigError, TransientError

NEGATIVE_SECONDS: Final = 5.0
"""How long an id stays unknown: a device with a wrong id must not send a request a record."""

MOST_KEPT: Final = 2_000
MOST_KEPT_TEXT: Final = 8_388_608
"""Characters of schemas that are kept; parsed they take about ten times as much memory."""

MOST_OF_ONE: Final = 8
MOST_WAITING: Final = 256
THREADS: Final = 4

Key = tuple[str, str, int | bytes]
"""How it was asked for (id, text, version, latest), the subject, and the id, digest or number."""


class Refused(NamedTuple):
    """An answer that is none: code and sentence of the error."""

    code: int
    message: str


class Found(NamedTuple):
    """A schema and the characters of its text."""

    schema: RegisteredSchema
    characters: int


Answer = Found | Refused
Ask = Callable[[], Answer]
"""Runs in a thread; raises :class:`GatewayError`, or the registry's :class:`TransientError` or :class:`ConfigError`."""


class _Kept(NamedTuple):
    answer: Answer
    until: float

    @property
    def characters(self) -> int:
        return self.answer.characters if isinstance(self.answer, Found) else len(self.answer.message)


@dataclass(slots=True)
class _Shelf:
    """What is kept for one owner, the least lately used first."""

    kept: OrderedDict[Key, _Kept] = field(default_factory=OrderedDict)
    characters: int = 0
    asking: int = 0


@dataclass(slots=True)
class _Question:
    """One question under way and how many wait for it."""

    thread: Future[Answer]
    task: asyncio.Task[Answer]
    waiting: int = 0


class Questions:
    """For one event loop. An owner is whose subject it is."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Nothing is known yet; ``clock`` (seconds) ages what is kept."""
        self._clock = clock
        self._threads = ThreadPoolExecutor(THREADS, "schemas")
        self._shelves: dict[str, _Shelf] = {}
        self._under_way: dict[Key, _Question] = {}
        self._kept = self._characters = 0

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._under_way:
            await asyncio.wait([each.task for each in self._under_way.values()])
        self._threads.shutdown(wait=False)

    def known(self, owner: str, key: Key) -> RegisteredSchema | None:
        """What was found before; no I/O."""
        shelf = self._shelves.get(owner)
        kept = shelf.kept.get(key) if shelf is not None else None
        return kept.answer.schema if kept is not None and isinstance(kept.answer, Found) else None

    async def answer(self, owner: str, key: Key, ask: Ask, seconds: float = float("inf")) -> RegisteredSchema:
        """The schema that ``ask`` finds, kept for ``seconds`` and beyond that while the registry is away.

        Raises :class:`GatewayError`: what ``ask`` refused, or 503.
        """
        shelf = self._shelves.get(owner)
        kept = shelf.kept.get(key) if shelf is not None else None
        if shelf is not None and kept is not None and self._clock() < kept.until:
            shelf.kept.move_to_end(key)
            answer = kept.answer
        else:
            answer = await self._asked(owner, key, ask, seconds, kept)
        if isinstance(answer, Refused):
            raise GatewayError(*answer, retry_after=1.0 if answer.code == KAFKA_RETRIABLE else None)
        return answer.schema

    async def _asked(self, owner: str, key: Key, ask: Ask, seconds: float, old: _Kept | None) -> Answer:
        """Join the question under way, or put it; one who goes away does not end it for the others."""
        question = self._under_way.get(key) or self._put(owner, key, ask, seconds, old)
        question.waiting += 1
        try:
            return await asyncio.shield(question.task)
        finally:
            question.waiting -= 1
            if not question.waiting and not question.task.done() and question.thread.cancel():
                self._under_way.pop(key, None)  # who asks again now must not join what is cancelled

    def _put(self, owner: str, key: Key, ask: Ask, seconds: float, old: _Kept | None) -> _Question:
        shelf = self._shelves.setdefault(owner, _Shelf())
        if shelf.asking >= MOST_OF_ONE or len(self._under_way) >= MOST_WAITING:
            said = "Too many questions about schemas are under way; try again."
            raise GatewayError(KAFKA_RETRIABLE, said, retry_after=1.0)
        shelf.asking += 1
        thread = self._threads.submit(ask)
        task = asyncio.create_task(self._outcome(owner, key, thread, seconds, old))
        question = self._under_way[key] = _Question(thread, task)

        def ended(_: object) -> None:
            shelf.asking -= 1
            if self._under_way.get(key) is question:
                del self._under_way[key]

        task.add_done_callback(ended)
        return question

    async def _outcome(self, owner: str, key: Key, thread: Future[Answer], seconds: float, old: _Kept | None) -> Answer:
        try:
            answer = await asyncio.wrap_future(thread)
        except GatewayError as error:
            answer = Refused(error.code, error.message)
        except (TransientError, ConfigError):
            if old is not None and isinstance(old.answer, Found):
                return old.answer
            return Refused(KAFKA_RETRIABLE, "The schema registry cannot be reached; try again.")
        self._keep(owner, key, answer, seconds if isinstance(answer, Found) else NEGATIVE_SECONDS)
        return answer

    def _keep(self, owner: str, key: Key, answer: Answer, seconds: float) -> None:
        shelf = self._shelves.setdefault(owner, _Shelf())
        self._forget(shelf, key)
        kept = shelf.kept[key] = _Kept(answer, self._clock() + seconds)
        shelf.characters += kept.characters
        self._characters += kept.characters
        self._kept += 1
        while self._kept > MOST_KEPT or self._characters > MOST_KEPT_TEXT:
            largest = max(self._shelves.values(), key=_size)
            self._forget(largest, next(iter(largest.kept)))

    def _forget(self, shelf: _Shelf, key: Key) -> None:
        kept = shelf.kept.pop(key, None)
        if kept is not None:
            shelf.characters -= kept.characters
            self._characters -= kept.characters
            self._kept -= 1


def _size(shelf: _Shelf) -> float:
    """How much of what may be kept is one owner's."""
    return max(shelf.characters / MOST_KEPT_TEXT, len(shelf.kept) / MOST_KEPT)
