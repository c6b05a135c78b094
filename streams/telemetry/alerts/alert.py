"""What an alert is: its kinds, its states, and the id that the same cause always has."""

from __future__ import annotations

import hashlib
from typing import Final, Literal, NamedTuple

Kind = Literal["above", "below", "silent"]
State = Literal["triggered", "resolved"]

ABOVE: Final[Kind] = "above"
BELOW: Final[Kind] = "below"
SILENT: Final[Kind] = "silent"
TRIGGERED: Final[State] = "triggered"
RESOLVED: Final[State] = "resolved"


class Alert(NamedTuple):
    """A change of an alert, as it is announced; times in milliseconds.

    ``since`` is when its cause began: the first reading outside (event time), or the last one before the silence
    (append time). ``offset`` is where in the ``partition`` of the readings it was found.
    """

    id: str
    kind: Kind
    state: State
    org_id: str
    project_id: str
    device_id: str
    sensor: str
    ts: int
    threshold: float | None
    value: float | None
    since: int
    partition: int
    offset: int


class Known(NamedTuple):
    """An alert that was announced before: since when its cause holds, and at which offset it was triggered.

    It is open where a worker begins; ``resolved`` says that its end was announced, too, at a later offset.
    """

    id: str
    kind: Kind
    org_id: str
    project_id: str
    device_id: str
    sensor: str
    since: int
    offset: int
    resolved: bool


def alert_id(device_id: str, sensor: str, kind: Kind, since_ms: int) -> str:
    """The id of an alert: the same cause has the same id, whoever finds it and however often."""
    cause = "\0".join((device_id, sensor, kind, str(since_ms)))
    return hashlib.blake2b(cause.encode(), digest_size=16).hexdigest()
