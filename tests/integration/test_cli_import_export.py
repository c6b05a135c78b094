"""Devices and metrics in bulk, out of files and into files: what is taken, what is told of the rest, what returns."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.entities import inventory
from tests.metadata_shell import Shell, keys, metadata_shell
from tests.stack_under_test import StackUnderTest
from tests.weir_command import weir

HEADER = "device_id,sensor,metric,unit,min_value,max_value,device_type"


@pytest.fixture(scope="module")
def shell(stack: StackUnderTest) -> Iterator[Shell]:
    with metadata_shell(stack) as ready:
        yield ready


def test_good_rows_are_imported_and_bad_ones_told_by_line_and_column(shell: Shell, tmp_path: Path) -> None:
    shell("devices", "add", "foreign", "--org", "rival")
    file, report = tmp_path / "fleet.csv", tmp_path / "bad.jsonl"
    file.write_text(
        f"{HEADER}\n"
        "i1,t,air.temperature,,,,device.esp32\n"
        "i1,h,air.humidity,percent,0,100,device.esp32\n"
        "i2,t,air.temperature,furlong,,,\n"
        'i3,"t,air.temperature,,,,\n'
        "i4,t,air.temperature,,warm,,\n"
        "foreign,t,air.temperature,,,,\n"
        "i5,t\n"
        "i6,state,kiln.state,,,,equipment.kiln\n",
        encoding="utf-8",
    )
    ended = shell("devices", "import", str(file), "--org", "lab", "--report", str(report), code=1)
    assert ended.out == "3 of 8 rows imported (2 devices and 3 sensors changed); 5 bad.\n"
    faults = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    assert [(fault["line"], fault["column"]) for fault in faults] == [
        (4, "unit"),
        (5, ""),
        (6, "min_value"),
        (7, "device_id"),
        (8, ""),
    ]
    assert "fleet.csv:4: unit: 'furlong' cannot be converted to celsius, the unit of air.temperature" in ended.err
    assert shell.rows("SELECT key, entity_type FROM entities WHERE key ~ '^i[0-9]$' ORDER BY key") == [
        ("i1", "device.esp32"),
        ("i6", "equipment.kiln"),
    ]
    assert shell.rows("SELECT value_type, unit FROM metrics WHERE name = 'air.humidity'") == [("float", "percent")]
    told = shell.events("data.imported", "lab")[-1]
    assert told == {"file": "fleet.csv", "rows": 8, "imported": 3, "bad": 5, "devices": 2, "sensors": 3}


def test_a_device_without_sensors_is_imported_renamed_and_moved_by_its_row(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "bare.csv"
    header = "device_id,sensor,device_type,device_name,project\n"
    counts = []
    for row in ("bare,,device,One,ales", "bare,,device,Two,lagers", "bare,,device,Two,lagers"):
        file.write_text(f"{header}{row}\n", encoding="utf-8")
        counts.append(shell("devices", "import", str(file), "--org", "lab", "--json").json()["devices"])
    assert counts == [1, 1, 0]
    assert shell.rows("SELECT name, project_id FROM devices WHERE id = 'bare'") == [("Two", "lagers")]
    file.write_text(f"{header}bare,,equipment,Two,lagers\n", encoding="utf-8")
    told = shell("devices", "import", str(file), "--org", "lab", code=1).err
    assert "bare.csv:2: bare is a device; only a row with a sensor makes it something else" in told


def test_a_dry_run_tells_the_same_and_writes_nothing(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "fleet.jsonl"
    file.write_text(
        '{"device_id": "dry", "sensor": "t", "metric": "dry.metric"}\n{"device_id": "dry", "sensor": 5}\n',
        encoding="utf-8",
    )
    before = shell.version(), shell.rows("SELECT count(*) FROM events")
    ended = shell("devices", "import", str(file), "--org", "lab", "--dry-run", "--json", code=1)
    assert ended.json() == {"dry_run": True, "rows": 2, "imported": 1, "bad": 1, "devices": 0, "sensors": 0}
    assert "fleet.jsonl:2: sensor: " in ended.err
    assert (shell.version(), shell.rows("SELECT count(*) FROM events")) == before


def test_an_export_imported_again_changes_nothing_and_what_left_is_in_the_log(shell: Shell, tmp_path: Path) -> None:
    shell("devices", "add", "e1", "--org", "lab", "--project", "lagers", "--name", "Näme, with comma")
    shell("sensors", "add", "e1", "t", "--metric", "air.temperature", "--unit", "kelvin", "--property", "min_value=0")
    shell("sensors", "add", "e1", "state", "--metric", "kiln.state")
    shell("devices", "add", "e2", "--org", "lab", "--type", "equipment")
    exported = shell("devices", "export", "--project", "lagers", "--org", "lab")
    assert [row for row in csv.reader(io.StringIO(exported.out)) if row[2] == "e1"] == [
        ["lab", "lagers", "e1", "device", "Näme, with comma", "state", "kiln.state", "", "", "", "enum"],
        ["lab", "lagers", "e1", "device", "Näme, with comma", "t", "air.temperature", "kelvin", "0.0", "", "float"],
    ]
    told = shell.events("data.exported", "lab")[-1]
    assert told["rows"] == len(exported.out.splitlines()) - 1
    assert told["filter"] == {"organisation": "lab", "project": "lagers", "format": "csv"}
    before = shell.version()
    assert ",e2,equipment,,,,,,,\n" in shell("devices", "export", "--org", "lab").out
    for form in ("csv", "jsonl"):
        file = tmp_path / f"fleet.{form}"
        rows = shell("devices", "export", "--org", "lab", "--format", form).out
        file.write_text(rows, encoding="utf-8")
        assert "(0 devices and 0 sensors changed)" in shell("devices", "import", str(file)).out
    assert shell.version() == before


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_an_export_is_the_same_in_pages_of_any_size(shell: Shell, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = shell("devices", "export").out
    assert len(whole.splitlines()) > 6
    monkeypatch.setattr(inventory, "PAGE_ROWS", rows)
    assert shell("devices", "export").out == whole


def test_a_pipe_of_an_export_into_an_import_works_as_processes(shell: Shell) -> None:
    out = weir(shell.environment, "devices", "export", "--project", "lagers")
    assert out.code == 0, out.err
    again = weir(shell.environment, "devices", "import", "-", "--format", "csv", "--dry-run", stdin=out.out)
    assert again.out.endswith(" rows would be imported.\n"), again.err
    assert again.code == 0


def test_batches_are_imported_whole_and_a_wrong_place_is_told_once(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "fleet.csv"
    lines = [f"b{number},t,air.temperature,,,," for number in range(1_500)]
    lines[1_200] = "b1200,t,air.temperature,,5,4,"
    file.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    assert "There is no organisation 'nobody'" in shell("devices", "import", str(file), "--org", "nobody", code=2).err
    ended = shell("devices", "import", str(file), "--org", "lab", "--project", "ales", code=1)
    assert ended.out == "1,499 of 1,500 rows imported (1,499 devices and 1,499 sensors changed); 1 bad.\n"
    assert "fleet.csv:1202: min_value: 5 is above max_value 4" in ended.err
    assert len(keys(shell("devices", "list", "--project", "ales", "--jsonl"))) == 1_499 + len(
        shell.rows("SELECT FROM devices WHERE project_id = 'ales' AND id !~ '^b[0-9]+$'")
    )
    listed = keys(shell("devices", "list", "--org", "lab", "--jsonl"))
    assert len(set(listed)) == len(listed) >= 1_499
    ended = shell("devices", "import", str(file), "--org", "lab", "--project", "ales", "--json", code=1)
    assert ended.json()["devices"] == ended.json()["sensors"] == 0


def test_metrics_are_searched_by_pattern_exported_and_imported(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    file.write_text(
        "name,value_type,unit,min_value,max_value,enum_values\n"
        "greenhouse.climate.co2,float,ppm,0,5000,\n"
        'greenhouse.climate.lamp,enum,,,,"[""on"", ""off""]"\n'
        "greenhouse.climate.odd,enum,,,,\n"
        "greenhouse.soil.ph,float,bananas,0,14,\n",
        encoding="utf-8",
    )
    ended = shell("metrics", "import", str(file), code=1)
    assert ended.out == "2 of 4 metrics imported; 2 bad.\n"
    assert "metrics.csv:4: greenhouse.climate.odd is enum" in ended.err
    assert "metrics.csv:5: 'bananas', the unit of greenhouse.soil.ph, is not known" in ended.err
    found = shell("metrics", "list", "--regex", r"^greenhouse\.climate\.", "--jsonl").out.splitlines()
    assert [json.loads(line)["name"] for line in found] == ["greenhouse.climate.co2", "greenhouse.climate.lamp"]
    shell("metrics", "set", "greenhouse.climate.co2", "--bounds", "mark", "--clear", "min_value")
    shown = shell("metrics", "show", "greenhouse.climate.co2", "--json").json()
    assert (shown["bounds_action"], shown["min_value"], shown["max_value"]) == ("mark", None, 5000)
    before = shell.version()
    for form in ("csv", "jsonl"):
        again = tmp_path / f"again.{form}"
        again.write_text(shell("metrics", "export", "--format", form).out, encoding="utf-8")
        shell("metrics", "import", str(again))
    assert shell.version() == before
    dry = tmp_path / "dry.csv"
    dry.write_text("name\ndry.metric\n", encoding="utf-8")
    shell("metrics", "import", str(dry), "--dry-run")
    shell("metrics", "show", "dry.metric", code=2)


def test_a_refused_metric_leaves_those_before_and_behind_it(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text(
        '{"name": "kept.before"}\n'
        '{"name": "kept.not", "value_type": "json", "json_schema": {"title": "\\ud800"}}\n'
        '{"name": "kept.behind"}\n',
        encoding="utf-8",
    )
    ended = shell("metrics", "import", str(file), code=1)
    assert ended.out == "2 of 3 metrics imported; 1 bad.\n"
    assert ended.err.startswith("metrics.jsonl:2: ")
    names = [each["name"] for each in shell("metrics", "list", "--regex", r"^kept\.", "--json").json()]
    assert names == ["kept.before", "kept.behind"]
