"""Keys whose slow hash was computed a moment ago, so that a device which polls does not cost a core.

Kept as a keyed hash with a key of this process: its memory gives nobody a key.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from connectors.api.credentials import KeyCredential

MOST: Final = 100_000


class VerifiedKeys:
    """Remembers for ``seconds``; the least lately verified go first. Safe from several threads."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is remembered yet."""
        self._seconds = seconds
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, tuple[float, KeyCredential]] = OrderedDict()
        self._changing = threading.Lock()

    def get(self, text: str) -> KeyCredential | None:
        """Whose key ``text`` is, if that was verified within the time."""
        with self._changing:
            since, credential = self._known.get(self._digest(text), (0.0, None))
        return credential if credential and self._clock() - since < self._seconds else None

    def add(self, text: str, credential: KeyCredential) -> None:
        """Remember that ``text`` was verified now."""
        with self._changing:
            self._known[self._digest(text)] = (self._clock(), credential)
            self._known.move_to_end(self._digest(text))
            if len(self._known) > MOST:
                self._known.popitem(last=False)

    def _digest(self, text: str) -> bytes:
        return hmac.digest(self._secret, text.encode(), "sha256")
