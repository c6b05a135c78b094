"""How much of bodies and unread reports the process holds at once, so that many small requests cannot fill its memory.

A few kilobytes of gzip are megabytes of body: 200 streams that sent 4 KB each held 840 MB.
"""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import Final

from connectors.gateway.errors import KAFKA_RETRIABLE, OVER_QUOTA, GatewayError
from connectors.gateway.records import Caller

MOST_BYTES: Final = 268_435_456
"""Of everybody: 64 bodies of the largest size at once. A gateway at full load, 80,000 records/s, holds 4 MB."""
MOST_OF_ORGANISATION: Final = MOST_BYTES // 2
MOST_OF_KEY: Final = MOST_BYTES // 8
RETRY_SECONDS: Final = 2.0
"""When whoever was refused should come back."""


class HeldBytes:
    """Counts what requests hold; for one event loop."""

    def __init__(
        self,
        most: int = MOST_BYTES,
        most_of_organisation: int = MOST_OF_ORGANISATION,
        most_of_key: int = MOST_OF_KEY,
    ) -> None:
        """Nothing is held. The limits are bytes of all, of one organisation, and of one key."""
        self._most = most
        self._most_of_organisation = most_of_organisation
        self._most_of_key = most_of_key
        self._keys: Counter[str] = Counter()
        self._organisations: Counter[str] = Counter()
        self.total = 0

    def share(self, caller: Caller) -> Share:
        """What one request holds: nothing yet, and nothing after its ``with`` block."""
        return Share(self, caller)

    def add(self, caller: Caller, count: int) -> None:
        """Hold more. Raises :class:`GatewayError`, and holds nothing more: 429 for one's own limits, 503 for all's."""
        if self._keys[caller.prefix] + count > self._most_of_key:
            raise _too_much("This key has", OVER_QUOTA, "over_quota")
        if self._organisations[caller.organisation] + count > self._most_of_organisation:
            raise _too_much("This organisation has", OVER_QUOTA, "over_quota")
        if self.total + count > self._most:
            raise _too_much("The gateway has", KAFKA_RETRIABLE, "too_many")
        self.total += count
        self._keys[caller.prefix] += count
        self._organisations[caller.organisation] += count

    def remove(self, caller: Caller, count: int) -> None:
        """Hold less."""
        self.total -= count
        for counts, name in ((self._keys, caller.prefix), (self._organisations, caller.organisation)):
            counts[name] -= count
            if counts[name] <= 0:
                del counts[name]


class Share:
    """The bytes that one request holds, given back at the end of its ``with`` block."""

    __slots__ = ("_caller", "_held", "bytes")

    def __init__(self, held: HeldBytes, caller: Caller) -> None:
        """None yet."""
        self._held = held
        self._caller = caller
        self.bytes = 0

    def hold(self, count: int) -> None:
        """Hold ``count`` bytes from now on, instead of what was held before. Raises as :meth:`HeldBytes.add`."""
        more = count - self.bytes
        if more > 0:
            self._held.add(self._caller, more)
        elif more:
            self._held.remove(self._caller, -more)
        self.bytes = count

    def __enter__(self) -> Share:
        """Begin."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Give everything back."""
        self.hold(0)


def _too_much(who: str, code: int, reason: str) -> GatewayError:
    said = f"{who} too many bytes under way; wait for answers, then try again."
    return GatewayError(code, said, reason=reason, retry_after=RETRY_SECONDS)


HELD: Final = HeldBytes()
"""Those of this process."""
