"""Rows of devices held against what is known and against each other: gaps are filled, and clashes told."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from connectors.entities.errors import InvalidError
from connectors.entities.inventory import Known, KnownDevice, KnownMetric, KnownSensor
from connectors.entities.metric_models import MetricCreate
from connectors.entities.metric_rules import check_metric
from weir.cli.device_rows import DeviceRow
from weir.cli.import_report import Fault

OF_SENSORS: Final = ("metric", "unit", "min_value", "max_value")
"""Columns that say something of a sensor; that of a value type may stand alone, as in an export."""

_NO_SENSOR: Final = KnownSensor(metric="", unit=None, min_value=None, max_value=None)


class Place(NamedTuple):
    """Where the rows go that do not say it: organisation and project of the command line."""

    organisation: str | None
    project: str | None


class Arrival(NamedTuple):
    """A row that fits: its line, organisation and project, and the columns of a registration.

    Where the column ``sensor`` is None, only the device's columns mean something.
    """

    line: int
    organisation: str
    project: str | None
    values: dict[str, Any]


class _Device(NamedTuple):
    """What the first row of a device says of it, for all its rows to say the same."""

    line: int
    organisation: str
    project: str | None
    device_type: str
    device_name: str


class DeviceChecks:
    """Judges the rows of one file, in their order; remembers what earlier rows said."""

    def __init__(self, place: Place) -> None:
        """Judge rows that go to ``place`` unless they say otherwise."""
        self._place = place
        self._sensors: dict[tuple[str, str], int] = {}
        self._devices: dict[str, _Device] = {}
        self._metrics: dict[str, KnownMetric] = {}
        self.new_metrics: list[MetricCreate] = []
        """Metrics that rows need and nobody has defined; whoever defines them takes them out."""

    def judge(self, line: int, row: DeviceRow, known: Known) -> Arrival | list[Fault]:
        """The row with all that it needs, or why it is not taken."""
        faults = [*self._wrong_place(line, row, known), *self._wrong_sensor(line, row)]
        if faults:
            return faults
        device = self._device(line, row, known.devices.get(row.device_id))
        first = self._devices.get(row.device_id, device)
        before = known.devices.get(row.device_id)
        sensor = before.sensors.get(row.sensor or "", _NO_SENSOR) if before else _NO_SENSOR
        metric = row.metric or (sensor.metric if "metric" not in row.model_fields_set else "") or row.sensor or ""
        values = _values(row, device, sensor, metric)
        faults = [
            *_different(line, device, first),
            *_wrong_project(line, device, before, known),
            *_wrong_bounds(line, values),
        ]
        if row.sensor is not None and not faults:
            faults = self._wrong_metric(line, row, metric, known)  # last: only a row that fits defines a metric
        if faults:
            return faults
        self._sensors[row.device_id, row.sensor or ""] = line
        self._devices[row.device_id] = first
        return Arrival(line, device.organisation, device.project, values)

    def _wrong_place(self, line: int, row: DeviceRow, known: Known) -> list[Fault]:
        organisation = row.organisation or self._place.organisation
        if organisation is None:
            return [Fault(line, "organisation", "is missing; fill it in, or say --org")]
        if self._place.organisation not in (None, organisation):
            return [Fault(line, "organisation", f"is {organisation}, and --org says {self._place.organisation}")]
        if organisation not in known.organisations:
            return [Fault(line, "organisation", f"there is no active organisation {organisation}")]
        owner = known.devices.get(row.device_id)
        if owner is not None and owner.organisation != organisation:
            return [Fault(line, "device_id", f"{row.device_id} belongs to another organisation than {organisation}")]
        return []

    def _wrong_sensor(self, line: int, row: DeviceRow) -> list[Fault]:
        if row.sensor is None and any(getattr(row, name) is not None for name in OF_SENSORS):
            return [Fault(line, "sensor", "is missing, and the row says what it measures")]
        earlier = self._sensors.get((row.device_id, row.sensor or ""))
        if earlier is None:
            return []
        what = f"{row.sensor} of {row.device_id}" if row.sensor else row.device_id
        return [Fault(line, "sensor", f"{what} is already given on line {earlier}")]

    def _device(self, line: int, row: DeviceRow, known: KnownDevice | None) -> _Device:
        """What the row says of its device; what it does not say is as before, in the file or in the database."""
        before = self._devices.get(row.device_id) or known
        given = row.model_fields_set
        project = row.project
        if "project" not in given:
            project = self._place.project or (before.project if before else None)
        device_type, device_name = row.device_type or "device", row.device_name or ""
        if before is not None:
            device_type = device_type if "device_type" in given else before.device_type
            device_name = device_name if "device_name" in given else before.device_name
        return _Device(line, row.organisation or self._place.organisation or "", project, device_type, device_name)

    def _wrong_metric(self, line: int, row: DeviceRow, metric: str, known: Known) -> list[Fault]:
        registered = known.metrics.get(metric) or self._metrics.get(metric)
        if registered is not None:
            return _misfits(line, row, metric, registered)
        try:
            new = MetricCreate(name=metric, value_type=row.value_type or "float", unit=row.unit or "")
            check_metric(new)
        except InvalidError as error:
            return [Fault(line, "metric", f"is not registered, and cannot be made: {error}")]
        self._metrics[metric] = KnownMetric(value_type=new.value_type, unit=new.unit)
        self.new_metrics.append(new)
        return []


def _different(line: int, device: _Device, first: _Device) -> list[Fault]:
    """A device has one organisation, project, type and name, however many rows it has."""
    return [
        Fault(line, name, f"is {said!r}, and line {first.line} says {before!r} of the same device")
        for name, said, before in zip(device._fields[1:], device[1:], first[1:], strict=True)
        if said != before
    ]


def _wrong_project(line: int, device: _Device, before: KnownDevice | None, known: Known) -> list[Fault]:
    if device.project in (None, before.project if before else None):
        return []
    if known.projects.get(str(device.project)) == device.organisation:
        return []
    return [Fault(line, "project", f"there is no active project {device.project} in {device.organisation}")]


def _wrong_bounds(line: int, values: dict[str, Any]) -> list[Fault]:
    low, high = values["min_value"], values["max_value"]
    if low is None or high is None or low <= high:
        return []
    return [Fault(line, "min_value", f"{low:g} is above max_value {high:g}")]


def _misfits(line: int, row: DeviceRow, metric: str, registered: KnownMetric) -> list[Fault]:
    if row.value_type not in (None, registered.value_type):
        return [Fault(line, "value_type", f"is {row.value_type}, and the metric {metric} is {registered.value_type}")]
    if not row.unit or row.unit == registered.unit or not registered.unit:
        return []
    # pint takes half a second to load, which whoever imports nothing in other units need not wait for
    from connectors.entities.units import conversion

    if conversion(row.unit, registered.unit) is None:
        return [Fault(line, "unit", f"{row.unit!r} cannot be converted to {registered.unit}, the unit of {metric}")]
    return []


def _values(row: DeviceRow, device: _Device, sensor: KnownSensor, metric: str) -> dict[str, Any]:
    kept = {
        name: getattr(row if name in row.model_fields_set else sensor, name)
        for name in ("unit", "min_value", "max_value")
    }
    return {
        "device_id": row.device_id,
        "sensor": row.sensor,
        "device_type": device.device_type,
        "device_name": device.device_name,
        "metric": metric,
        **kept,
    }
