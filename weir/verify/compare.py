"""Stored rows against expected ones: what is lost, doubled, different, or was never sent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from weir.verify.recompute import Identity, Readings, Window, WindowKey

Fault = Literal["lost", "doubled", "different", "never sent"]

RELATIVE = 1e-9
"""Two sums of the same numbers in another order differ by far less."""

CANCELLED = 1e-12
"""Of the magnitude of the values: what is left when large numbers cancel out, as in the spread of equal values."""

_ROUNDED = ("sum", "avg", "stddev")
_EXACT = ("count", "min", "max", "first", "last", "last_ts", "revision")


class Difference(NamedTuple):
    """One fault, in words that a person can follow up."""

    table: str
    fault: Fault
    where: str
    field: str = ""
    expected: str = ""
    stored: str = ""


class StoredReading(NamedTuple):
    """One row of the view ``readings``; ``value`` is None where the reading is no number."""

    device_id: str
    sensor: str
    ts: int
    value: float | None
    text: str


class StoredWindow(NamedTuple):
    """One row of the views ``aggregates_1m`` or ``aggregates_1h``."""

    key: WindowKey
    measures: Window


def compare_readings(expected: Readings, stored: Iterable[StoredReading]) -> list[Difference]:
    """Every identity must be stored exactly once, with the value and text that hold."""
    found: list[Difference] = []
    seen: set[Identity] = set()
    for row in stored:
        identity = Identity(row.device_id, row.sensor, row.ts)
        sent = expected.get(identity)
        if identity in seen:
            found.append(Difference("readings", "doubled", _where(*identity)))
        elif sent is None:
            found.append(Difference("readings", "never sent", _where(*identity), "value", "", str(row.value)))
        elif sent.value != row.value:
            found.append(_different(identity, "value", sent.value, row.value))
        elif (sent.text or "") != row.text:
            found.append(_different(identity, "text", sent.text, row.text))
        seen.add(identity)
    lost = (identity for identity in expected if identity not in seen)
    return found + [Difference("readings", "lost", _where(*identity)) for identity in lost]


def _different(identity: Identity, field: str, want: object, got: object) -> Difference:
    return Difference("readings", "different", _where(*identity), field, str(want), str(got))


def compare_windows(
    table: str, expected: Mapping[WindowKey, Window], stored: Iterable[StoredWindow]
) -> list[Difference]:
    """Every window must be stored exactly once with the same measures.

    Counts, extremes, first, last and revision must be equal; sum, avg and stddev may differ by rounding
    (:data:`RELATIVE`, :data:`CANCELLED`).
    """
    found: list[Difference] = []
    seen: set[WindowKey] = set()
    for key, measures in stored:
        where = _where(*key)
        want = expected.get(key)
        if key in seen:
            found.append(Difference(table, "doubled", where))
        elif want is None:
            found.append(Difference(table, "never sent", where, "count", "", str(measures.count)))
        else:
            found += [
                Difference(table, "different", where, name, str(getattr(want, name)), str(getattr(measures, name)))
                for name in _unequal(want, measures)
            ]
        seen.add(key)
    return found + [Difference(table, "lost", _where(*key)) for key in expected if key not in seen]


def _unequal(want: Window, got: Window) -> list[str]:
    unequal = [name for name in _EXACT if getattr(want, name) not in (None, getattr(got, name))]
    magnitude = max(abs(want.min), abs(want.max))
    for name in _ROUNDED:
        allowed = CANCELLED * magnitude * (want.count if name == "sum" else 1)
        if not math.isclose(getattr(want, name), getattr(got, name), rel_tol=RELATIVE, abs_tol=allowed):
            unequal.append(name)
    return unequal


def _where(device_id: str, sensor: str, ms: int) -> str:
    at = datetime.fromtimestamp(ms / 1000, UTC)
    return f"{device_id}/{sensor} at {at:%Y-%m-%d %H:%M:%S}.{ms % 1000:03d}"
