"""Rows of a file: which of them can be read, and what is said of the others."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from weir.cli.device_rows import REQUIRED, DeviceRow
from weir.cli.import_report import TOLD, Fault, ImportReport
from weir.cli.import_rows import Format, Row, checked, format_of, opened, read_rows
from weir.cli.metric_rows import MetricRow
from weir.errors import UsageError


def rows_of(text: str, form: Format = "csv") -> list[Row | Fault]:
    return list(read_rows(io.StringIO(text), form, DeviceRow, REQUIRED))


def test_a_row_knows_its_line_and_an_empty_cell_is_no_text() -> None:
    assert rows_of("device_id,sensor,unit\nn1,t,\n\nn2,t,kPa\n") == [
        Row(2, {"device_id": "n1", "sensor": "t", "unit": None}),
        Row(4, {"device_id": "n2", "sensor": "t", "unit": "kPa"}),
    ]


def test_a_quote_that_is_not_closed_spoils_its_own_line_only() -> None:
    first, bad, last = rows_of('device_id,sensor\nn1,t\nn2,"t\nn3,t\n')
    assert (first.line, last.line) == (2, 4)
    assert isinstance(first, Row) and isinstance(last, Row)
    assert isinstance(bad, Fault) and bad.line == 3 and "cannot be read as CSV" in bad.why


def test_a_row_with_too_few_cells_is_told_with_both_numbers() -> None:
    assert rows_of("device_id,sensor\nn1\n") == [Fault(2, "", "has 1 cells, and the header 2")]


def test_quoted_commas_and_carriage_returns_are_read_as_csv_has_them() -> None:
    assert rows_of('device_id,sensor,device_name\r\nn1,t,"Cellar, left"\r\n') == [
        Row(2, {"device_id": "n1", "sensor": "t", "device_name": "Cellar, left"})
    ]


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("device_id,unit", "The header lacks the column sensor; the columns are organisation, "),
        ("", "The header lacks the column device_id; "),
        ("device_id,sensor,colour", "The header has no meaning for 'colour'; "),
        ("device_id,sensor,sensor", "The header names sensor twice; "),
        ('device_id,"sensor', "The header cannot be read as CSV: "),
    ],
    ids=["missing", "empty file", "unknown", "doubled", "open quote"],
)
def test_a_header_that_does_not_fit_refuses_the_whole_file(header: str, told: str) -> None:
    with pytest.raises(UsageError) as refused:
        rows_of(f"{header}\nn1,t\n" if header else "")
    assert str(refused.value).startswith(told)


def test_a_bad_json_line_leaves_its_neighbours() -> None:
    text = '{"device_id": "n1", "sensor": "t"}\n{"device_id": \n[1]\n{"device_id": "n2", "sensor": "t"}\n'
    first, torn, no_object, last = rows_of(text, "jsonl")
    assert first == Row(1, {"device_id": "n1", "sensor": "t"})
    assert isinstance(torn, Fault) and torn.line == 2 and torn.why.startswith("is no JSON: ")
    assert no_object == Fault(3, "", "is no JSON object")
    assert last == Row(4, {"device_id": "n2", "sensor": "t"})


def test_nesting_without_end_is_one_bad_row() -> None:
    deep, last = rows_of("[" * 200_000 + "\n" + '{"device_id": "n2", "sensor": "t"}\n', "jsonl")
    assert isinstance(deep, Fault) and deep.line == 1
    assert isinstance(last, Row)


def test_bytes_that_are_no_utf8_are_told_with_their_column(tmp_path: Path) -> None:
    file = tmp_path / "fleet.csv"
    file.write_bytes(b"\xef\xbb\xbfdevice_id,sensor\nn\xff1,t\nn2,t\n")
    with opened(file) as stream:
        found = list(read_rows(stream, format_of(file, None), DeviceRow, REQUIRED))
    assert found == [Fault(2, "device_id", "is no UTF-8 text"), Row(3, {"device_id": "n2", "sensor": "t"})]


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere.csv cannot be read: No such file or directory; name a CSV"):
        opened(tmp_path / "nowhere.csv").__enter__()


@pytest.mark.parametrize(("name", "form"), [("a.csv", "csv"), ("a.JSONL", "jsonl"), ("a.ndjson", "jsonl")])
def test_the_name_says_the_format(name: str, form: str) -> None:
    assert format_of(Path(name), None) == form


def test_a_name_that_says_nothing_needs_the_option() -> None:
    assert format_of(Path("-"), "jsonl") == "jsonl"
    with pytest.raises(UsageError, match="add --format csv or --format jsonl"):
        format_of(Path("-"), None)


@pytest.mark.parametrize(
    ("fields", "column", "why"),
    [
        ({"device_id": None}, "device_id", "is missing"),
        ({"sensor": ""}, "sensor", "at least 1 character"),
        ({"device_id": "a\x1b[31m"}, "device_id", "holds a character that cannot be printed"),
        ({"device_id": "ä" * 101}, "device_id", "is longer than 200 bytes"),
        ({"sensor": "t\u202e"}, "sensor", "holds a character that cannot be printed"),
        ({"device_id": " n1"}, "device_id", "begins or ends with a space"),
        ({"device_id": "  "}, "device_id", "begins or ends with a space"),
        ({"min_value": "warm"}, "min_value", "valid number"),
        ({"min_value": float("nan")}, "min_value", "finite number"),
        ({"organisation": "Acme!"}, "organisation", "should match pattern"),
        ({"device_type": "toaster"}, "device_type", "should match pattern"),
        ({"value_type": "colour"}, "value_type", "'float', 'integer', 'boolean', 'string', 'json' or 'enum'"),
        ({"colour": "red"}, "colour", "not permitted"),
    ],
)
def test_what_a_row_cannot_say_is_told_by_column(fields: dict[str, object], column: str, why: str) -> None:
    faults = checked(Row(7, {"device_id": "n1", "sensor": "t", **fields}), DeviceRow)
    assert isinstance(faults, list)
    assert [(fault.line, fault.column) for fault in faults] == [(7, column)]
    assert why in faults[0].why


def test_every_fault_of_a_row_is_told_at_once() -> None:
    faults = checked(Row(7, {"sensor": "t", "min_value": "a", "max_value": "b"}), DeviceRow)
    assert isinstance(faults, list)
    assert [fault.column for fault in faults] == ["device_id", "min_value", "max_value"]


def test_an_empty_cell_of_a_metric_is_the_default_and_lists_are_json() -> None:
    fields = {"name": "kiln.state", "value_type": "enum", "unit": None, "enum_values": '["idle", "firing"]'}
    row = checked(Row(2, fields), MetricRow)
    assert isinstance(row, MetricRow)
    assert (row.unit, row.enum_values) == ("", ["idle", "firing"])
    broken = checked(Row(2, fields | {"enum_values": "idle|firing"}), MetricRow)
    assert isinstance(broken, list) and broken[0].column == "enum_values"


def test_the_report_has_every_fault_and_the_screen_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.jsonl"
    with ImportReport("fleet.csv", file) as report:
        report.add([Fault(2, "unit", "is \x1b odd"), Fault(2, "sensor", "is odd")])
        for line in range(3, 3 + TOLD):
            report.add([Fault(line, "", "is odd")])
    assert report.bad_rows == TOLD + 1
    told = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert told[0] == {"line": 2, "column": "unit", "why": "is \x1b odd"}
    assert len(told) == TOLD + 2
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == "fleet.csv:2: unit: is \\x1b odd"
    assert shown[-1] == f"… and 2 more; see {file}."
    assert len(shown) == TOLD + 1


def test_a_report_that_cannot_be_written_is_told_before_anything_is_imported(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written: No such file or directory"):
        ImportReport("fleet.csv", tmp_path / "none" / "bad.jsonl").__enter__()
