"""Which devices of an organisation have sent lately: they share its limit, so what is advised depends on them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

ACTIVE_SECONDS: Final = 60.0


class ActiveDevices:
    """The devices of this minute and how many there were in the last one."""

    __slots__ = ("_before", "_ids", "_since")

    def __init__(self) -> None:
        """Begin with none."""
        self._ids: set[str] = set()
        self._before = 0
        self._since = 0.0

    def note(self, device_ids: Iterable[str], now: float) -> None:
        """These have just sent, or tried to; ``now`` in seconds of any clock that does not go back."""
        if now - self._since >= ACTIVE_SECONDS:
            self._before = len(self._ids) if now - self._since < 2 * ACTIVE_SECONDS else 0
            self._ids, self._since = set(), now
        self._ids.update(device_ids)

    def __len__(self) -> int:
        """How many are active: of this minute and the last, the greater number."""
        return max(len(self._ids), self._before)
