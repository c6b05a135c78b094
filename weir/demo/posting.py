"""The demo's way through the gateway, and beside it for what no device could post."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict
from typing import Final

from weir.demo.ledger import Ledger, Uplink
from weir.demo.reading import Outgoing
from weir.errors import TransientError, UsageError
from weir.load.gateway_door import Door, Fate, Locked, Placed, Refused, Spooled, plain_json
from weir.load.gateway_lanes import GatewayLanes, Post

ONLY_KAFKA: Final = frozenset(
    {"truncated payload", "unknown schema id", "huge length prefix", "Avro of another type", "pair that swallows"}
)
"""Kinds of bad records that come from another producer: the gateway lets none of them through."""

PATIENCE_SECONDS: Final = 30.0
"""How long a gateway may be away."""


class GatewayUplink:
    """Posts readings in small batches and enters what became of them; bad records that only a producer could write go
    to ``beside``. Threads may share it.
    """

    def __init__(self, door: Door, topic: str, ledger: Ledger, beside: Uplink) -> None:
        """Nothing is connected yet."""
        self._ledger = ledger
        self._beside = beside
        self._lanes: GatewayLanes[Outgoing] = GatewayLanes(door, topic, PATIENCE_SECONDS, self._settle)
        self._changed = threading.Condition()
        self._waiting = 0

    def send(self, message: Outgoing) -> None:
        """Hand one message over; does not block. Raises :class:`UsageError` when the gateway takes no more."""
        if message.kind in ONLY_KAFKA:
            self._beside.send(message)
            return
        with self._changed:
            self._waiting += 1
        try:
            self._lanes.put(_post(message))
        except Locked as error:
            raise UsageError(str(error)) from error

    def poll(self) -> None:
        """Let acknowledgements in; does not block. Raises :class:`UsageError` when the gateway takes no more."""
        self._beside.poll()
        try:
            self._lanes.check()
        except Locked as error:
            raise UsageError(str(error)) from error

    def flush(self, seconds: float) -> None:
        """Wait until everything sent has an answer; raises :class:`TransientError` after ``seconds``."""
        deadline = time.monotonic() + seconds
        self._beside.flush(seconds)
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, max(0.0, deadline - time.monotonic()))
            if self._waiting:
                raise TransientError(
                    f"The gateway has not answered {self._waiting} readings within {seconds:.0f} s; see `weir status`."
                )

    def close(self) -> None:
        """Close the connections; what has no answer is entered as such."""
        self._lanes.close()

    def _settle(self, message: Outgoing, fate: Fate) -> None:
        match fate:
            case Placed(partition, offset):
                self._ledger.acknowledged(message, partition, offset, None)
            case Spooled():
                self._ledger.spooled(message)
            case Refused(code, _):
                self._ledger.refused(message, code)
            case _:
                self._ledger.silent(message)
        with self._changed:
            self._waiting -= 1
            self._changed.notify_all()


def _post(message: Outgoing) -> Post[Outgoing]:
    """A reading goes as JSON; a bad record as the bytes that it is, each in a request of its own."""
    if message.reading is not None:
        return Post(message, message.key, "json", plain_json(asdict(message.reading)))
    return Post(message, message.key, "binary", message.value, alone=True)
