"""Rows of devices held against what is known, and against each other."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from connectors.entities.actor import SYSTEM
from connectors.entities.inventory import Known, KnownDevice, KnownMetric, KnownSensor
from connectors.postgres.devices import Registered
from weir.cli import import_devices
from weir.cli.device_checks import Arrival, DeviceChecks, Place
from weir.cli.device_rows import DeviceRow
from weir.cli.import_report import Fault
from weir.errors import UsageError

KNOWN = Known(
    organisations={"acme", "bio"},
    projects={"ales": "acme", "wines": "bio"},
    metrics={
        "air.temperature": KnownMetric(value_type="float", unit="celsius"),
        "kiln.state": KnownMetric(value_type="enum", unit=""),
    },
    devices={
        "old": KnownDevice(
            organisation="acme",
            project="ales",
            device_type="device.esp32",
            device_name="Old one",
            sensors={"t": KnownSensor(metric="air.temperature", unit="kelvin", min_value=250, max_value=300)},
        ),
        "theirs": KnownDevice(organisation="bio", project=None, device_type="device", device_name="", sensors={}),
    },
)


def judge(*rows: dict[str, Any], place: Place = Place("acme", None)) -> list[Arrival | list[Fault]]:  # noqa: B008
    checks = DeviceChecks(place)
    return [checks.judge(line, DeviceRow(**row), KNOWN) for line, row in enumerate(rows, start=2)]


def arrival(judged: Arrival | list[Fault]) -> Arrival:
    assert isinstance(judged, Arrival), judged
    return judged


def faults(judged: Arrival | list[Fault]) -> list[Fault]:
    assert isinstance(judged, list), judged
    return judged


def test_what_a_file_does_not_say_stays_as_it_is_known() -> None:
    [judged] = judge({"device_id": "old", "sensor": "t", "max_value": 310})
    assert arrival(judged) == Arrival(
        2,
        "acme",
        "ales",
        {
            "device_id": "old",
            "sensor": "t",
            "device_type": "device.esp32",
            "device_name": "Old one",
            "metric": "air.temperature",
            "unit": "kelvin",
            "min_value": 250,
            "max_value": 310,
        },
    )


def test_an_empty_cell_sets_the_default() -> None:
    row = {"device_id": "old", "sensor": "t", "project": None, "device_name": None, "unit": None, "min_value": None}
    judged = arrival(judge(row)[0])
    assert judged.project is None
    assert (judged.values["device_name"], judged.values["unit"], judged.values["min_value"]) == ("", None, None)


def test_a_new_device_gets_the_defaults_and_the_project_of_the_command_line() -> None:
    [judged] = judge({"device_id": "new", "sensor": "air.temperature"}, place=Place("acme", "ales"))
    assert arrival(judged).project == "ales"
    assert arrival(judged).values["device_type"] == "device"
    assert arrival(judged).values["metric"] == "air.temperature"


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"organisation": "bio"}, ("organisation", "is bio, and --org says acme")),
        ({"device_id": "theirs"}, ("device_id", "theirs belongs to another organisation than acme")),
        ({"project": "wines"}, ("project", "there is no active project wines in acme")),
        ({"project": "nothing"}, ("project", "there is no active project nothing in acme")),
        ({"min_value": 5, "max_value": 4}, ("min_value", "5 is above max_value 4")),
        ({"value_type": "integer"}, ("value_type", "is integer, and the metric air.temperature is float")),
        ({"sensor": None}, ("sensor", "is missing, and the row says what it measures")),
        ({"unit": "furlong"}, ("unit", "'furlong' cannot be converted to celsius, the unit of air.temperature")),
    ],
)
def test_what_clashes_is_told_by_column(row: dict[str, Any], fault: tuple[str, str]) -> None:
    [judged] = judge({"device_id": "new", "sensor": "t", "metric": "air.temperature"} | row)
    assert [(each.line, each.column, each.why) for each in faults(judged)] == [(2, *fault)]


def test_a_unit_that_converts_to_that_of_the_metric_is_taken() -> None:
    [judged] = judge({"device_id": "new", "sensor": "t", "metric": "air.temperature", "unit": "fahrenheit"})
    assert arrival(judged).values["unit"] == "fahrenheit"


def test_without_an_organisation_a_row_goes_nowhere() -> None:
    [judged] = judge({"device_id": "new", "sensor": "t"}, place=Place(None, None))
    assert faults(judged) == [Fault(2, "organisation", "is missing; fill it in, or say --org")]


def test_a_sensor_is_given_once() -> None:
    row = {"device_id": "new", "sensor": "t", "metric": "air.temperature"}
    assert faults(judge(row, row)[1]) == [Fault(3, "sensor", "t of new is already given on line 2")]


def test_rows_of_one_device_say_the_same_of_it() -> None:
    first, second, third = judge(
        {"device_id": "new", "sensor": "a", "metric": "air.temperature", "device_type": "device.esp32"},
        {"device_id": "new", "sensor": "b", "metric": "air.temperature", "device_type": "device"},
        {"device_id": "new", "sensor": "c", "metric": "air.temperature"},
    )
    arrival(first)
    why = "is 'device', and line 2 says 'device.esp32' of the same device"
    assert faults(second) == [Fault(3, "device_type", why)]
    assert arrival(third).values["device_type"] == "device.esp32"


def test_a_metric_that_nobody_defined_is_made_by_the_first_row_that_fits() -> None:
    checks = DeviceChecks(Place("acme", None))
    row = {"device_id": "new", "metric": "tank.level", "unit": "litre"}
    bad = checks.judge(2, DeviceRow(**row, sensor="a", value_type="integer", project="nothing"), KNOWN)
    assert isinstance(bad, list)
    assert checks.new_metrics == []
    arrival(checks.judge(3, DeviceRow(**row, sensor="a", value_type="integer"), KNOWN))
    arrival(checks.judge(4, DeviceRow(**row, sensor="b"), KNOWN))
    assert [(made.name, made.value_type, made.unit) for made in checks.new_metrics] == [
        ("tank.level", "integer", "litre")
    ]
    clash = checks.judge(5, DeviceRow(**row, sensor="c", value_type="float"), KNOWN)
    assert faults(clash)[0].why == "is float, and the metric tank.level is integer"


@pytest.mark.parametrize(
    "row",
    [{"sensor": "Not A Name"}, {"sensor": "t", "value_type": "enum"}, {"sensor": "t", "unit": "bananas"}],
    ids=["name", "enum without values", "unknown unit"],
)
def test_a_metric_that_cannot_be_made_is_told(row: dict[str, Any]) -> None:
    [fault] = faults(judge({"device_id": "new", **row})[0])
    assert fault.column == "metric"
    assert fault.why.startswith("is not registered, and cannot be made: ")


def test_a_row_that_only_the_database_refuses_is_found_among_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    registered: list[str] = []

    def refusing(dsn: str, organisation: str, project: str | None, frame: pl.DataFrame, *, actor: str) -> Registered:
        if "bad" in frame["sensor"]:
            raise UsageError("That sensor is refused.")
        registered.extend(frame["sensor"])
        return Registered(0, frame.height)

    monkeypatch.setattr(import_devices, "register", refusing)
    run = import_devices.DeviceImport("", SYSTEM, Place("acme", None), dry_run=False)
    names = [*(f"s{number}" for number in range(6)), "bad", "last"]
    rows = [
        arrival(each) for each in judge(*({"device_id": "n", "sensor": n, "metric": "air.temperature"} for n in names))
    ]
    assert list(run._register(rows)) == [Fault(8, "", "That sensor is refused.")]
    assert registered == [name for name in names if name != "bad"]
    assert (run.done.taken, run.done.sensors) == (7, 7)
