"""The alerts of one partition: which series are outside and which devices are silent, from its checkpoint on."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import polars as pl

from streams.engine.watermark import Int64s
from streams.telemetry.alerts.alert import SILENT, Alert, Known
from streams.telemetry.alerts.crossings import NEVER, Crossing, Crossings, Readings
from streams.telemetry.alerts.devices import Owner
from streams.telemetry.alerts.rules import Rules
from streams.telemetry.alerts.silences import Silence, Silences
from streams.telemetry.series import ActiveSeries


class Past(NamedTuple):
    """What is stored of a partition below an offset.

    ``heard`` has device_id, sensor, ts (of the newest number, null when there is none) and append_ts (of the newest
    reading); ``readings`` has device_id, sensor, ts, value and offset, in order of offset, of series whose rules ask
    for a duration.
    """

    known: list[Known]
    heard: pl.DataFrame
    readings: pl.DataFrame


class PartitionAlerts:
    """Takes in what is read from offset ``stored`` on; everything below is the past."""

    def __init__(self, partition: int, stored: int, series: ActiveSeries, rules: Rules) -> None:
        """Begin at offset ``stored`` with nothing known of the past."""
        self._partition = partition
        self.stored = stored
        self._next = stored
        self._series = series
        self._rules = rules
        self._crossings = Crossings(self._name_of)
        self._silences = Silences(rules.devices.ids.__getitem__)

    def restore(self, past: Past) -> None:
        """Take over what was announced, what has been outside for a while, and what was heard, in this order."""
        self._reopen(past.known)
        self._rehearse(past.readings)
        heard = past.heard.filter(pl.Series(self._rules.concerns(past.heard), dtype=pl.Boolean))
        codes = self._series.encode(heard)
        last = heard["ts"].fill_null(NEVER).to_numpy()
        self._crossings.resume(codes[codes >= 0], last[codes >= 0])
        devices = self._rules.devices.numbers(heard["device_id"])
        self._silences.resume(devices[devices >= 0], heard["append_ts"].to_numpy()[devices >= 0])

    def judge(self, readings: Readings, append_ts: Int64s, end: int) -> list[Alert]:
        """Take in the accepted readings of a block that ends at offset ``end``, and give what changed.

        What lies below the partition's checkpoint was judged before, and is left out.
        """
        self._rules.follow(self._series.names)
        if len(readings.offsets) and int(readings.offsets[0]) < self._next:
            fresh = readings.offsets >= self._next
            readings, append_ts = readings.where(fresh), append_ts[fresh]
        self._next = max(self._next, end)
        alerts: list[Alert] = []
        if self._rules.any_ruled or self._crossings.attentive:
            alerts += self._of_series(self._crossings.evaluate(readings, self._rules.limits))
        if self._rules.devices.ids:
            alerts += map(self._of_device, self._heard(readings, append_ts))
        return alerts

    def passed(self, clock_ms: int) -> list[Alert]:
        """Everything that was appended before ``clock_ms`` has been judged: give who is silent."""
        if not self._rules.devices.ids:
            return []
        silences = self._silences.passed(clock_ms, self._next - 1, self._rules.devices.silent_ms)
        return [self._of_device(silence) for silence in silences]

    def _heard(self, readings: Readings, append_ts: Int64s) -> list[Silence]:
        devices = self._rules.device_of[readings.codes]
        told = devices >= 0
        silent_ms = self._rules.devices.silent_ms
        return self._silences.heard(devices[told], append_ts[told], readings.offsets[told], silent_ms)

    def _reopen(self, known: list[Known]) -> None:
        places = [(each.device_id, each.sensor) for each in known]
        names = pl.DataFrame(places, schema={"device_id": pl.String, "sensor": pl.String}, orient="row")
        for each, code in zip(known, self._series.encode(names).tolist(), strict=True):
            if each.kind == SILENT and not each.resolved:
                number = self._rules.devices.number(each.device_id, Owner(each.org_id, each.project_id))
                self._silences.reopen(number, each)
            elif each.kind != SILENT and code >= 0:
                self._crossings.reopen(code, each, self.stored)
        self._rules.renumber(self._series.names)

    def _rehearse(self, stored: pl.DataFrame) -> None:
        codes = self._series.encode(stored)
        self._rules.follow(self._series.names)
        ts, value, offsets = (stored[name].to_numpy() for name in ("ts", "value", "offset"))
        self._crossings.rehearse(Readings(codes, ts, value, offsets).where(codes >= 0), self._rules.limits)

    def _of_series(self, crossings: list[Crossing]) -> list[Alert]:
        if not crossings:
            return []
        codes, times = np.array([each.code for each in crossings]), np.array([each.ts for each in crossings])
        owners = self._series.dims_at(codes, times).select(pl.col("org_id", "project_id").cast(pl.String))
        names = self._series.names[codes]
        return [
            Alert(
                id=each.id,
                kind=each.kind,
                state=each.state,
                org_id=org_id,
                project_id=project_id,
                device_id=device_id,
                sensor=sensor,
                ts=each.ts,
                threshold=None if math.isnan(each.threshold) else each.threshold,
                value=None if math.isnan(each.value) else each.value,
                since=each.since,
                partition=self._partition,
                offset=each.offset,
            )
            for each, (org_id, project_id), (device_id, sensor) in zip(
                crossings, owners.iter_rows(), names.iter_rows(), strict=True
            )
        ]

    def _of_device(self, silence: Silence) -> Alert:
        org_id, project_id = self._rules.devices.owners[silence.device]
        device_id = self._rules.devices.ids[silence.device]
        return Alert(
            id=silence.id,
            kind=SILENT,
            state=silence.state,
            org_id=org_id,
            project_id=project_id,
            device_id=device_id,
            sensor="",
            ts=silence.ts,
            threshold=None,
            value=None,
            since=silence.since,
            partition=self._partition,
            offset=silence.offset,
        )

    def _name_of(self, code: int) -> tuple[str, str]:
        names = self._series.names
        return names["device_id"][code], names["sensor"][code]
