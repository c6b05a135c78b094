"""Readings of which nobody knows whether Kafka has them: those that are stored came through."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

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


def stored_intents(
    unknown: Iterable[Intent], acknowledged: Iterable[Acknowledged], stored: Iterable[StoredMessage]
) -> list[Acknowledged]:
    """Unknown readings that are stored, with the partition, offset and append time that they are stored under.

    A stored message that no acknowledgement names belongs to an intent of the same identity and value; each intent
    counts once, so a message too many stays a phantom.
    """
    waiting: dict[StoredReading, int] = defaultdict(int)
    for each in unknown:
        waiting[StoredReading(each.device_id, each.sensor, each.ts, each.value, each.text or "")] += 1
    known = {(each.partition, each.offset) for each in acknowledged}
    came = []
    for message in stored:
        place = (message.partition, message.offset)
        if place in known or not waiting.get(message.reading, 0):
            continue
        known.add(place)
        waiting[message.reading] -= 1
        device_id, sensor, ts, value, text = message.reading
        came.append(Acknowledged(device_id, sensor, ts, value, text or None, *place, message.append_ts))
    return came
