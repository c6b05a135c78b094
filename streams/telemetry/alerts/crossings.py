"""When a series leaves its thresholds and when it is back: the state machine of one partition's series.

Each series has a machine for each of its two bounds::

    clear ──outside──▶ pending ──outside for the duration──▶ open ──inside by the hysteresis──▶ clear
                          └──────────inside──────────▶ clear

``pending`` is passed at once when the rule has no duration. Readings count in the order of their offsets; one that is
not newer (event time) than the last that counted changes nothing, and neither does a text. So the state after a reading
depends on the readings before it and on the rules only, never on how they were cut into blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streams.engine.key_index import Codes
from streams.engine.watermark import Int64s
from streams.telemetry.alerts.alert import ABOVE, BELOW, RESOLVED, TRIGGERED, Kind, Known, State, alert_id

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

NEVER: Final = -(2**62)
"""Time (ms) before every reading."""


class Limits(NamedTuple):
    """The rule of each series, by its code; a bound that is NaN is none, ``ruled`` is false where both are."""

    low: Floats
    high: Floats
    hysteresis: Floats
    for_ms: Int64s
    ruled: Bools

    def followed_by(self, more: Limits) -> Limits:
        """With the rules of more series."""
        return Limits(
            np.concatenate((self.low, more.low)),
            np.concatenate((self.high, more.high)),
            np.concatenate((self.hysteresis, more.hysteresis)),
            np.concatenate((self.for_ms, more.for_ms)),
            np.concatenate((self.ruled, more.ruled)),
        )


_NO_NUMBERS: Final = np.empty(0, dtype=np.float64)
NO_LIMITS: Final = Limits(
    _NO_NUMBERS, _NO_NUMBERS, _NO_NUMBERS, np.empty(0, dtype=np.int64), np.empty(0, dtype=np.bool_)
)
"""Of no series."""


class Readings(NamedTuple):
    """Accepted readings in offset order; ``value`` is NaN for a text."""

    codes: Codes
    ts: Int64s
    value: Floats
    offsets: Int64s

    def where(self, rows: Bools) -> Readings:
        """Those where ``rows`` is true."""
        if rows.all():
            return self
        return Readings(self.codes[rows], self.ts[rows], self.value[rows], self.offsets[rows])


class Crossing(NamedTuple):
    """A change of one series: which alert is triggered or resolved, at which offset and event time, by which value.

    ``since`` is the event time of the first reading outside; ``threshold`` is NaN when the bound is gone.
    """

    offset: int
    code: int
    kind: Kind
    state: State
    id: str
    since: int
    ts: int
    threshold: float
    value: float


class _Condition(NamedTuple):
    """Outside since then; ``id`` is None while that is not long enough for an alert."""

    since: int
    id: str | None


class _Rule(NamedTuple):
    """The limits of one series."""

    low: float
    high: float
    hysteresis: float
    for_ms: int


class Crossings:
    """Which series of a partition are outside, by their codes."""

    def __init__(self, name_of: Callable[[int], tuple[str, str]]) -> None:
        """Begin with every series clear and no reading seen; ``name_of`` gives device and sensor of a code."""
        self._name_of = name_of
        self._last: Int64s = np.empty(0, dtype=np.int64)
        self._busy: Bools = np.empty(0, dtype=np.bool_)
        self._conditions: dict[tuple[Kind, int], _Condition] = {}
        self._unmet: list[tuple[int, Known]] = []

    def resume(self, codes: Codes, last_ts: Int64s) -> None:
        """Of each of these series, the newest reading that has counted."""
        self._grow(int(codes.max(initial=-1)) + 1)
        np.maximum.at(self._last, codes, last_ts)

    def reopen(self, code: int, known: Known, stored: int) -> None:
        """Take over an announced alert: triggered below offset ``stored`` it is open, else it is yet to be met."""
        self._grow(code + 1)
        if known.offset >= stored:
            self._unmet.append((code, known))
        else:
            self._conditions[known.kind, code] = _Condition(known.since, known.id)
            self._busy[code] = True

    def rehearse(self, readings: Readings, limits: Limits) -> None:
        """Find in stored readings which series are outside, but not for long enough yet. Announces nothing."""
        open_now = [code for (_, code), condition in self._conditions.items() if condition.id]
        unmet, self._unmet = self._unmet, []
        self.evaluate(readings.where(~np.isin(readings.codes, open_now)), limits)
        self._unmet = unmet
        for key, condition in self._conditions.items():
            if condition.id and key[1] not in open_now:
                self._conditions[key] = _Condition(condition.since, None)

    @property
    def attentive(self) -> bool:
        """Whether readings matter also of series without rules: something is open, or yet to be met."""
        return bool(self._conditions or self._unmet)

    def evaluate(self, readings: Readings, limits: Limits) -> list[Crossing]:
        """Take in readings and give what changed, in offset order."""
        self._grow(len(limits.ruled))
        watched = readings.where((limits.ruled | self._busy[: len(limits.ruled)])[readings.codes])
        crossings: list[Crossing] = []
        if len(watched.codes):
            crossings = self._watch(watched.where(~np.isnan(watched.value)), limits)
        if self._unmet and len(readings.offsets):
            crossings += self._not_met(int(readings.offsets[-1]))
        return crossings

    def _watch(self, readings: Readings, limits: Limits) -> list[Crossing]:
        """Look one by one only at series that are outside, or were; of the others only the time is needed."""
        codes, value = readings.codes, readings.value
        outside = (value > limits.high[codes]) | (value < limits.low[codes])
        attention = self._busy
        if outside.any():
            attention = self._busy.copy()
            attention[codes[outside]] = True
        closely = attention[codes]
        if not closely.any():
            np.maximum.at(self._last, codes, readings.ts)
            return []
        calm = readings.where(~closely)
        np.maximum.at(self._last, calm.codes, calm.ts)
        return self._look_closely(readings.where(closely), limits)

    def _look_closely(self, readings: Readings, limits: Limits) -> list[Crossing]:
        readings = _in_order_of_time(readings)
        distinct = np.unique(readings.codes)
        columns = (distinct, limits.low[distinct], limits.high[distinct], limits.hysteresis[distinct])
        rows = zip(*(column.tolist() for column in (*columns, limits.for_ms[distinct])), strict=True)
        rules = {code: _Rule(*rule) for code, *rule in rows}
        last = dict(zip(distinct.tolist(), self._last[distinct].tolist(), strict=True))
        crossings: list[Crossing] = []
        for code, ts, value, offset in zip(*(column.tolist() for column in readings), strict=True):
            if ts > last[code]:
                last[code] = ts
                crossings += self._step(code, ts, value, offset, rules[code])
        self._last[distinct] = list(last.values())
        conditions = self._conditions
        self._busy[distinct] = [(ABOVE, code) in conditions or (BELOW, code) in conditions for code in last]
        return crossings

    def _step(self, code: int, ts: int, value: float, offset: int, rule: _Rule) -> list[Crossing]:
        """One reading, against both bounds; below is above with the signs turned, which is exact."""
        found: list[Crossing] = []
        for kind, sign, bound in ((ABOVE, 1.0, rule.high), (BELOW, -1.0, rule.low)):
            outside = sign * value > sign * bound
            condition = self._conditions.get((kind, code))
            if condition is not None and condition.id is not None:
                if not sign * value > sign * bound - rule.hysteresis:  # also when the bound is gone
                    del self._conditions[kind, code]
                    name, since = condition.id, condition.since
                    found.append(Crossing(offset, code, kind, RESOLVED, name, since, ts, bound, value))
            elif outside:
                since = condition.since if condition is not None else ts
                lasted = ts - since >= rule.for_ms
                name = alert_id(*self._name_of(code), kind, since) if lasted else ""
                self._conditions[kind, code] = _Condition(since, name if lasted else None)
                if lasted:
                    self._met(name)
                    found.append(Crossing(offset, code, kind, TRIGGERED, name, since, ts, bound, value))
            elif condition is not None:
                del self._conditions[kind, code]
        return sorted(found, key=lambda each: each.state)  # resolved before triggered: out of one side into the other

    def _met(self, name: str) -> None:
        if self._unmet:
            self._unmet = [(code, known) for code, known in self._unmet if known.id != name]

    def _not_met(self, offset: int) -> list[Crossing]:
        """What was announced up to here before a crash and is not found again, because the rules have changed.

        It stays open like any other until its series is inside; an alert that took its place ends it at once.
        """
        passed = [(code, known) for code, known in self._unmet if known.offset <= offset]
        self._unmet = [(code, known) for code, known in self._unmet if known.offset > offset]
        ended: list[Crossing] = []
        for code, known in passed:
            condition = self._conditions.get((known.kind, code))
            if known.resolved:
                continue
            if condition is None or condition.id is None:
                self._conditions[known.kind, code] = _Condition(known.since, known.id)
                self._busy[code] = True
            else:
                last, nan = int(self._last[code]), float("nan")
                ended.append(Crossing(offset, code, known.kind, RESOLVED, known.id, known.since, last, nan, nan))
        return ended

    def _grow(self, size: int) -> None:
        missing = size - len(self._last)
        if missing > 0:
            self._last = np.concatenate((self._last, np.full(missing, NEVER)))
            self._busy = np.concatenate((self._busy, np.zeros(missing, dtype=np.bool_)))


def _in_order_of_time(readings: Readings) -> Readings:
    """Readings of one message by event time, however they were packed: so they are read back after a crash."""
    if not (readings.offsets[1:] == readings.offsets[:-1]).any():
        return readings
    order = np.lexsort((readings.ts, readings.offsets))
    return Readings(readings.codes[order], readings.ts[order], readings.value[order], readings.offsets[order])
