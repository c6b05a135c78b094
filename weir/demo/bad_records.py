"""Records that must be refused, one of each kind, and the reason that each must be refused with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import cycle
from typing import Any

from weir.demo.reading import Framing, Outgoing, Reading

UNKNOWN_SCHEMA_ID = 2_000_000_000
YEAR_2099_MS = 4_070_908_800_000
BETWEEN_PAYLOADS = 14
"""Bytes that a block decoder may put between two payloads: nine of a sentinel and the five of the next message."""

Record = tuple[bytes | None, str]
"""A message value, and the reason that it must be refused with."""


class BadRecords:
    """Makes bad records in a fixed order, each kind before any comes again."""

    def __init__(self, readings: Framing, alerts: Framing) -> None:
        """``alerts`` writes valid Avro of another type than a reading."""
        self._readings = readings
        self._alerts = alerts
        self._kinds = cycle(KINDS.items())

    def next(self, good: Reading) -> list[Outgoing]:
        """The next kind, made from a ``good`` numeric reading: one message, or a pair that belongs together."""
        kind, make = next(self._kinds)
        return [Outgoing(good.device_id, value, kind, reason=reason) for value, reason in make(self, good)]

    def _truncated(self, good: Reading) -> list[Record]:
        whole = self._frame(good)
        return [(whole[: len(whole) * 2 // 3], "undecodable")]

    def _unknown_schema(self, good: Reading) -> list[Record]:
        return [(b"\0" + UNKNOWN_SCHEMA_ID.to_bytes(4, "big") + self._frame(good)[5:], "unknown_schema_id")]

    def _huge_length(self, good: Reading) -> list[Record]:
        return [(self._readings.prefix + b"\x80\x80\x80\x80\x80\x80\x01" + self._frame(good)[6:], "undecodable")]

    def _other_type(self, good: Reading) -> list[Record]:
        alert = {"id": "demo", "kind": "threshold", "state": "triggered", "org_id": "x", "device_id": good.device_id}
        return [(self._alerts.frame({**alert, "sensor": good.sensor, "ts": good.ts}), "wrong_schema")]

    def _unknown_device(self, good: Reading) -> list[Record]:
        return [(self._frame(good, device_id="demo-stranger"), "unknown_device")]

    def _unknown_sensor(self, good: Reading) -> list[Record]:
        return [(self._frame(good, sensor="demo-unheard-of"), "unknown_sensor")]

    def _nan(self, good: Reading) -> list[Record]:
        return [(self._frame(good, value=float("nan")), "not_finite")]

    def _from_1970(self, good: Reading) -> list[Record]:
        return [(self._frame(good, ts=1_000), "too_old")]

    def _from_2099(self, good: Reading) -> list[Record]:
        return [(self._frame(good, ts=YEAR_2099_MS), "too_far_in_future")]

    def _no_value(self, good: Reading) -> list[Record]:
        return [(self._frame(good, value=None), "no_value")]

    def _out_of_bounds(self, good: Reading) -> list[Record]:
        return [(self._frame(good, value=1e9), "out_of_bounds")]

    def _no_json(self, good: Reading) -> list[Record]:
        return [(b'{"device_id": "' + good.device_id.encode(), "invalid_json")]

    def _empty(self, _: Reading) -> list[Record]:
        return [(None, "empty_value")]

    def _swallowing_pair(self, good: Reading) -> list[Record]:
        """The first claims for its last text the head of the second; laid end to end they are whole records again.

        That head is itself a whole record and all ASCII (a text with an early time), so that as a text it is valid.
        """
        head = self._readings.payload(asdict(Reading(good.device_id, good.sensor, ts=1, str_value="head")))
        tail = self._readings.payload(asdict(good))
        claimed = replace(good, source="x" * (BETWEEN_PAYLOADS + len(head)))
        first = self._frame(claimed)[: -len(claimed.source or "")]
        return [(first, "undecodable"), (self._readings.prefix + head + tail, "trailing_bytes")]

    def _frame(self, good: Reading, **changes: Any) -> bytes:  # noqa: ANN401 - any field of a reading
        return self._readings.frame(asdict(replace(good, **changes)))


Make = Callable[[BadRecords, Reading], list[Record]]

KINDS: dict[str, Make] = {
    "truncated payload": BadRecords._truncated,
    "unknown schema id": BadRecords._unknown_schema,
    "huge length prefix": BadRecords._huge_length,
    "Avro of another type": BadRecords._other_type,
    "unknown device": BadRecords._unknown_device,
    "not a number": BadRecords._nan,
    "from 1970": BadRecords._from_1970,
    "from 2099": BadRecords._from_2099,
    "pair that swallows": BadRecords._swallowing_pair,
    "unknown sensor": BadRecords._unknown_sensor,
    "no value": BadRecords._no_value,
    "out of bounds": BadRecords._out_of_bounds,
    "broken JSON": BadRecords._no_json,
    "empty": BadRecords._empty,
}
"""Every kind of bad record, in the order in which they are sent."""
