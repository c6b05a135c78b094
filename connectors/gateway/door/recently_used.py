"""A bounded memory whose least lately used entries go first, at the price of one dictionary look-up.

Two generations instead of a list in order of use: when the younger one is full, it becomes the older one, and what the
older one held is forgotten unless it was used meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class RecentlyUsed(Generic[Key, Value]):
    """Holds at most ``most`` entries, and at least half of that of the latest used. For one thread."""

    def __init__(self, most: int) -> None:
        """Nothing is held yet."""
        self._half = max(1, most // 2)
        self._younger: dict[Key, Value] = {}
        self._older: dict[Key, Value] = {}

    def get(self, key: Key) -> Value | None:
        """What was put there last; None when nothing was, or it was forgotten."""
        found = self._younger.get(key)
        if found is None:
            found = self._older.pop(key, None)
            if found is not None:
                self.put(key, found)
        return found

    def put(self, key: Key, value: Value) -> None:
        """Hold ``value``; forgets others when there are too many."""
        if len(self._younger) >= self._half and key not in self._younger:
            self._older, self._younger = self._younger, {}
        self._older.pop(key, None)
        self._younger[key] = value

    def drop(self, key: Key) -> None:
        """Forget one; nothing happens when it is not held."""
        self._younger.pop(key, None)
        self._older.pop(key, None)

    def clear(self) -> None:
        """Forget all."""
        self._younger, self._older = {}, {}

    def values(self) -> Iterator[Value]:
        """All that is held, in no order; nothing may be put or dropped meanwhile."""
        yield from self._younger.values()
        yield from self._older.values()

    def __len__(self) -> int:
        """How many are held."""
        return len(self._younger) + len(self._older)
