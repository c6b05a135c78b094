"""What passes between the parts of the gateway: who calls, what is to be written, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from connectors.entities.actor import Role

Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose key a request carries. ``device`` is the id of the one device that a device's key is for."""

    prefix: str
    organisation: str
    role: Role
    device: str | None = None


class Outgoing(NamedTuple):
    """One record for Kafka; ``partition`` -1 lets the key decide, ``timestamp_ms`` 0 the clock."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int = -1
    headers: Headers = ()
    timestamp_ms: int = 0


class Written(NamedTuple):
    """The broker has it, or (``offset`` -1) the spool has it on disk."""

    partition: int
    offset: int
    timestamp_ms: int = 0


SAMPLED_OUT = Written(-1, -2)
"""Taken and left out by the device's sampling policy: nothing is stored of it."""

SPOOLED_OFFSET = -1
