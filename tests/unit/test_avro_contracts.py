from __future__ import annotations

import json
import math
import re
from typing import Any

import fastavro
import pytest

from schemas import FOLDER, load_schema, load_schema_text
from streams.engine import rejection
from streams.telemetry import validate

RECORDS = sorted(path.stem for path in FOLDER.glob("*.avsc"))


def examples(record: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / "examples" / f"{record}.json").read_text())
    return found


def documented(heading: str) -> list[str]:
    """First column of the table under a heading of deadletters.md."""
    section = (FOLDER / "deadletters.md").read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)


def test_each_kind_of_record_has_a_contract() -> None:
    assert RECORDS == ["Aggregate", "Alert", "Commands", "Event", "Reading", "ReadingBatch"]


@pytest.mark.parametrize("record", RECORDS)
def test_every_example_can_be_written_with_its_schema_and_names_no_field_that_the_schema_lacks(record: str) -> None:
    schema = load_schema(record)
    names = {field["name"] for field in schema["fields"]}
    found = examples(record)
    assert 2 <= len(found) <= 4
    for example in found:
        assert set(example) <= names
        with_defaults = {field["name"]: field["default"] for field in schema["fields"] if "default" in field} | example
        assert fastavro.validate(with_defaults, fastavro.parse_schema(schema), strict=True)


@pytest.mark.parametrize("record", RECORDS)
def test_an_example_with_a_required_field_taken_away_is_refused(record: str) -> None:
    schema = load_schema(record)
    required = next(field["name"] for field in schema["fields"] if "default" not in field)
    broken = {name: value for name, value in examples(record)[0].items() if name != required}
    assert not fastavro.validate(broken, fastavro.parse_schema(schema), raise_errors=False)


@pytest.mark.parametrize("record", RECORDS)
def test_every_record_and_field_says_what_it_means(record: str) -> None:
    schema = load_schema(record)
    undocumented = [field["name"] for field in schema["fields"] if not field.get("doc", "").endswith(".")]
    assert schema["doc"].endswith(".")
    assert undocumented == []


@pytest.mark.parametrize("record", RECORDS)
def test_the_text_that_is_registered_is_the_parsed_schema(record: str) -> None:
    assert json.loads(load_schema_text(record)) == load_schema(record)


def test_an_unknown_record_is_not_found() -> None:
    with pytest.raises(FileNotFoundError):
        load_schema("Nothing")


def test_the_example_aggregates_agree_with_themselves() -> None:
    minute, hour = examples("Aggregate")
    values = [20.0, 21.0, 22.0]
    assert minute["sum"] == sum(values)
    assert minute["avg"] == minute["sum"] / minute["count"]
    assert minute["stddev"] == pytest.approx(math.sqrt(sum((value - 21.0) ** 2 for value in values) / 3))
    assert minute["window_end"] - minute["window_start"] == 60_000
    assert hour["window_end"] - hour["window_start"] == 3_600_000
    for aggregate in (minute, hour):
        append_ms, offset = divmod(aggregate["revision"], 4_194_304)
        assert offset >= aggregate["count"]
        assert aggregate["window_start"] <= aggregate["last_ts"] <= append_ms < aggregate["window_end"]


def test_the_dead_letter_page_names_every_header() -> None:
    assert documented("Headers") == [
        "reason",
        "detail",
        "stage",
        "topic",
        "partition",
        "offset",
        "timestamp",
        "schema_id",
        "org_id",
        "first_seen",
        "replay_count",
    ]


def test_the_dead_letter_page_names_every_reason_that_a_stream_gives() -> None:
    given = {*rejection.REASONS, *validate.REASONS} - {"accepted"}
    assert set(documented("Reasons")) == given
