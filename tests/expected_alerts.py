"""Which alerts readings must raise, worked out a second time, one series and one reading after the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from weir.verify.recompute import Acknowledged

Series = tuple[str, str]


class Rule(NamedTuple):
    """Thresholds of a sensor."""

    low: float | None = None
    high: float | None = None
    hysteresis: float = 0.0
    for_ms: int = 0


class Expected(NamedTuple):
    """A state that an alert must reach."""

    device_id: str
    sensor: str
    kind: str
    since: int
    state: str
    ts: int


def expected_alerts(readings: Iterable[Acknowledged], rules: Mapping[Series, Rule]) -> set[Expected]:
    """Every state of every alert of these readings, whose offsets say in which order they came."""
    found: set[Expected] = set()
    for series, points in newer_only(readings).items():
        if series in rules:
            found |= of_bound(series, "above", points, rules[series])
            found |= of_bound(series, "below", points, rules[series])
    return found


def newer_only(readings: Iterable[Acknowledged]) -> dict[Series, list[tuple[int, float]]]:
    """Time and value of the numbers of each series, without those that came after a newer one."""
    points: dict[Series, list[tuple[int, float]]] = defaultdict(list)
    for reading in sorted(readings, key=lambda each: (each.partition, each.offset)):
        known = points[reading.device_id, reading.sensor]
        if reading.value is not None and (not known or reading.ts > known[-1][0]):
            known.append((reading.ts, reading.value))
    return points


def of_bound(series: Series, kind: str, points: list[tuple[int, float]], rule: Rule) -> set[Expected]:
    """Alerts of one bound: a run of readings outside, long enough, until one is well inside."""
    bound = rule.high if kind == "above" else rule.low
    if bound is None:
        return set()
    found: set[Expected] = set()
    since: int | None = None
    is_open = False
    for ts, value in points:
        outside = value > bound if kind == "above" else value < bound
        edge = bound - rule.hysteresis if kind == "above" else bound + rule.hysteresis
        well_inside = value <= edge if kind == "above" else value >= edge
        if is_open:
            if well_inside and since is not None:
                found.add(Expected(*series, kind, since, "resolved", ts))
                since, is_open = None, False
        elif not outside:
            since = None
        else:
            since = ts if since is None else since
            if ts - since >= rule.for_ms:
                found.add(Expected(*series, kind, since, "triggered", ts))
                is_open = True
    return found


def expected_silences(readings: Iterable[Acknowledged], silent_ms: Mapping[str, int], clock_ms: int) -> set[Expected]:
    """Every silence of these devices, by the times at which the broker took their readings, up to ``clock_ms``."""
    found: set[Expected] = set()
    last: dict[str, int] = {}
    for reading in sorted(readings, key=lambda each: (each.partition, each.offset)):
        device, allowed, at = reading.device_id, silent_ms.get(reading.device_id), reading.append_ts or 0
        if allowed is not None and device in last and at - last[device] > allowed:
            found.add(Expected(device, "", "silent", last[device], "triggered", last[device] + allowed))
            found.add(Expected(device, "", "silent", last[device], "resolved", at))
        last[device] = at
    for device, at in last.items():
        if device in silent_ms and clock_ms - at > silent_ms[device]:
            found.add(Expected(device, "", "silent", at, "triggered", at + silent_ms[device]))
    return found
