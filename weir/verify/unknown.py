"""Readings whose place in Kafka nobody knows: those that are stored came through.

Of unknown readings nobody knows whether Kafka has them; spooled ones the gateway promised to bring there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from weir.verify.compare import StoredReading
from weir.verify.recompute import Acknowledged
from weir.verify.stored import StoredMessage


class Intent(NamedTuple):
    """A reading that was about to be sent; ``value`` is None for a text."""

    device_id: str
    sensor: str
    ts: int
    value: float | None
    text: str | None


class Promised(NamedTuple):
    """A reading that the gateway acknowledged from its spool; ``is_last``: its identity was not sent again after it."""

    intent: Intent
    is_last: bool


NOWHERE: Final = -1
"""Partition of a reading whose place is not known."""

BEFORE_ALL, AFTER_ALL = -1, 2**62
"""Offsets that stand for what is not found: it holds when nothing else has its identity, or in any case."""


def promised_readings(
    promised: Sequence[Promised], acknowledged: Iterable[Acknowledged], stored: Sequence[StoredMessage]
) -> list[Acknowledged]:
    """Every promised reading, under the place of the last stored message that can be it; ``stored`` is in log order.

    One that is not among ``stored`` has no place: it must hold if it was the last of its identity to be sent, because
    a gateway keeps the order of a device; else a later one may have taken its row.
    """
    found = _claimed((each.intent for each in promised), acknowledged, reversed(stored))
    places: dict[StoredReading, list[Acknowledged]] = defaultdict(list)
    for reading, place in found:
        places[reading].append(place)
    result = []
    for intent, is_last in promised:
        waiting = places[_row(intent)]
        result.append(
            waiting.pop() if waiting else Acknowledged(*intent, NOWHERE, AFTER_ALL if is_last else BEFORE_ALL, None)
        )
    return result


def stored_intents(
    unknown: Iterable[Intent], acknowledged: Iterable[Acknowledged], stored: Iterable[StoredMessage]
) -> list[Acknowledged]:
    """Unknown readings that are stored, with the partition, offset and append time that they are stored under.

    A stored message that no acknowledgement names belongs to an intent of the same identity and value; each intent
    counts once, so a message too many stays a phantom.
    """
    return [place for _, place in _claimed(unknown, acknowledged, stored)]


def _claimed(
    intents: Iterable[Intent], acknowledged: Iterable[Acknowledged], stored: Iterable[StoredMessage]
) -> list[tuple[StoredReading, Acknowledged]]:
    waiting: dict[StoredReading, int] = defaultdict(int)
    for each in intents:
        waiting[_row(each)] += 1
    known = {(each.partition, each.offset, *each[:3]) for each in acknowledged}  # a message may hold many readings
    came = []
    for message in stored:
        place = (message.partition, message.offset)
        if (*place, *message.reading[:3]) in known or not waiting.get(message.reading, 0):
            continue
        known.add((*place, *message.reading[:3]))
        waiting[message.reading] -= 1
        device_id, sensor, ts, value, text = message.reading
        here = Acknowledged(device_id, sensor, ts, value, text or None, *place, message.append_ts)
        came.append((message.reading, here))
    return came


def _row(intent: Intent) -> StoredReading:
    return StoredReading(intent.device_id, intent.sensor, intent.ts, intent.value, intent.text or "")
