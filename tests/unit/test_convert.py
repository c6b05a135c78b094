from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from connectors.postgres.metadata import SENSOR_SCHEMA, Metadata
from streams.telemetry.bounds import bounds_in_base
from streams.telemetry.convert import Converter
from streams.telemetry.json_texts import MOST_LEVELS, JsonTexts
from streams.telemetry.registered import Registered
from streams.telemetry.series import ActiveSeries
from streams.telemetry.validate import REASONS, explain, judge
from tests.typed_sensors import NOW, metadata, readings, series_of


def treated(*sent: dict[str, Any], series: ActiveSeries | None = None) -> tuple[pl.DataFrame, list[str], list[str]]:
    """What is stored of each reading, its verdict, and the sentences of what was refused."""
    frame, series = readings(*sent), series or series_of()
    converter, append = Converter(series), np.full(len(sent), NOW, dtype=np.int64)
    codes = series.encode(frame)
    converted = converter.convert(frame, codes)
    verdicts = judge(converted.frame, codes, append, series, 0, converted.verdicts)
    told = explain(frame, np.flatnonzero(verdicts), verdicts, append, converted.frame, converted.sentences)
    marked = converter.mark(converted.frame.filter(pl.Series(verdicts == 0)), codes[verdicts == 0])
    return marked, [REASONS[verdict] for verdict in verdicts], told


def verdict(**sent: Any) -> str:
    return treated(sent)[1][0]


def test_a_sent_unit_is_converted_and_the_base_unit_is_what_is_stored() -> None:
    stored, verdicts, _ = treated(
        {"sensor": "temperature", "value": 50.0, "unit": "degF"},
        {"sensor": "temperature", "value": 50.0, "unit": "°C"},
        {"sensor": "temperature", "value": 50.0, "unit": "celsius"},
        {"sensor": "temperature", "value": 50.0},
        {"sensor": "pressure", "value": 101.325, "unit": "kPa"},
    )
    assert verdicts == ["accepted"] * 5
    assert stored["value"].to_list() == [10.0, 50.0, 50.0, 50.0, 1013.25]
    assert stored["unit"].to_list() == ["celsius", "celsius", "celsius", "celsius", "hPa"]


def test_a_reading_that_names_no_unit_is_in_its_sensors_unit() -> None:
    stored, _, _ = treated({"sensor": "outside", "value": 212.0}, {"sensor": "outside", "value": 50.0, "unit": "C"})
    assert stored["value"].to_list() == [100.0, 50.0]


def test_an_empty_unit_names_none() -> None:
    stored, verdicts, _ = treated(
        {"sensor": "temperature", "value": 1.0, "unit": ""}, {"sensor": "outside", "value": 212.0, "unit": ""}
    )
    assert verdicts == ["accepted", "accepted"]
    assert stored["value"].to_list() == [1.0, 100.0]


def test_units_that_no_float_leads_to_are_refused() -> None:
    assert verdict(sensor="temperature", value=1.0, unit="YK^9*YK^9/K^9/K^8") == "wrong_unit"
    assert verdict(sensor="temperature", value=1.0, unit="m°C") == "wrong_unit"


def test_bounds_are_compared_in_the_base_unit() -> None:
    assert verdict(sensor="temperature", value=212.0, unit="degF") == "accepted"
    stored, verdicts, told = treated({"sensor": "temperature", "value": 300.0, "unit": "degF"})
    assert (len(stored), verdicts) == (0, ["out_of_bounds"])
    assert told[0].endswith("value 300.0 (148.889 in the base unit) is outside the bounds of its sensor")


def test_a_sensors_own_bound_is_in_its_own_unit_and_its_metrics_in_the_base_unit() -> None:
    sensors = bounds_in_base(metadata("outside").sensors)
    assert sensors.select("min_value", "max_value").row(0) == (0.0, 212.0)
    assert sensors.select("own_min", "sensor_unit", "unit").row(0) == (False, "degF", "celsius")
    assert bounds_in_base(sensors).equals(sensors)
    assert verdict(sensor="outside", value=31.0) == "out_of_bounds"
    assert verdict(sensor="outside", value=33.0) == "accepted"


def test_a_bound_in_a_unit_that_does_not_convert_bounds_nothing() -> None:
    sensors = metadata("outside").sensors.with_columns(sensor_unit=pl.lit("furlong"))
    assert bounds_in_base(sensors).select("min_value", "max_value").row(0) == (None, 212.0)


def test_an_unknown_unit_is_refused_with_both_units_named_and_compared_with_no_bound() -> None:
    stored, verdicts, told = treated(
        {"sensor": "temperature", "value": 1e6, "unit": "furlong"}, {"sensor": "temperature", "value": 1.0}
    )
    assert verdicts == ["wrong_unit", "accepted"]
    assert "d1/temperature at 2026-09-21" in told[0]
    assert told[0].endswith("unit 'furlong' cannot be converted to celsius")
    assert stored["value"].to_list() == [1.0]


def test_the_words_of_a_unit_that_is_too_long_are_not_repeated() -> None:
    _, verdicts, told = treated({"sensor": "temperature", "value": 1.0, "unit": "x" * 100_000})
    assert verdicts == ["too_long"]
    assert len(told[0]) < 300


def test_without_any_base_unit_readings_keep_their_own() -> None:
    stored, verdicts, _ = treated({"sensor": "bare", "value": 1.0, "unit": "furlong"}, {"sensor": "bare", "value": 2.0})
    assert verdicts == ["accepted", "accepted"]
    assert stored["unit"].to_list() == ["furlong", None]


def test_where_only_the_sensor_has_a_unit_it_is_the_base() -> None:
    stored, verdicts, _ = treated(
        {"sensor": "own", "value": 1.0},
        {"sensor": "own", "value": 10.0, "unit": "hPa"},
        {"sensor": "bare", "value": 2.0},
    )
    assert verdicts == ["accepted"] * 3
    assert stored["value"].to_list() == [1.0, 1.0, 2.0]


def test_readings_of_unknown_series_are_left_to_the_verdict_on_their_device() -> None:
    series = series_of("temperature")
    _, verdicts, _ = treated(
        {"sensor": "temperature", "value": 50.0, "unit": "degF"},
        {"sensor": "nothing", "value": 50.0, "unit": "furlong"},
        {"sensor": "temperature", "device_id": "stranger", "value": 50.0, "unit": "furlong"},
        series=series,
    )
    assert verdicts == ["accepted", "unknown_sensor", "unknown_device"]


def test_a_number_too_large_for_its_base_unit_is_refused_for_its_size() -> None:
    assert verdict(sensor="length", value=1e308, unit="km") == "out_of_bounds"
    assert verdict(sensor="temperature", value=float("inf"), unit="degF") == "not_finite"
    assert verdict(sensor="temperature", value=float("nan"), unit="degF") == "not_finite"


def test_plain_readings_are_passed_on_as_they_are() -> None:
    series = series_of("temperature", "pressure")
    frame = readings({"sensor": "temperature", "value": 50.0}, {"sensor": "pressure", "value": 1.0, "unit": "hPa"})
    converted = Converter(series).convert(frame, series.encode(frame))
    assert converted.frame is frame
    assert converted.misfits is None


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"sensor": "doors", "value": 3.0}, "accepted"),
        ({"sensor": "doors", "value": -3.0}, "accepted"),
        ({"sensor": "doors", "value": 3.5}, "wrong_type"),
        ({"sensor": "doors", "value": float("nan")}, "not_finite"),
        ({"sensor": "doors", "str_value": "3"}, "wrong_type"),
        ({"sensor": "doors", "status_code": 3}, "accepted"),
        ({"sensor": "doors"}, "no_value"),
        ({"sensor": "valve", "value": 2.0}, "wrong_type"),
        ({"sensor": "valve", "str_value": "ajar"}, "wrong_type"),
        ({"sensor": "note", "str_value": "all well"}, "accepted"),
        ({"sensor": "note", "value": 3.0}, "wrong_type"),
        ({"sensor": "note", "status_code": 1}, "accepted"),
        ({"sensor": "state", "str_value": "baking"}, "accepted"),
        ({"sensor": "state", "str_value": "Baking"}, "not_in_enum"),
        ({"sensor": "state", "str_value": ""}, "not_in_enum"),
        ({"sensor": "state", "value": 1.0}, "wrong_type"),
        ({"sensor": "recipe", "str_value": '{"flour": 1.5}'}, "accepted"),
        ({"sensor": "recipe", "str_value": '{"flour": -1}'}, "schema_mismatch"),
        ({"sensor": "recipe", "str_value": "[]"}, "schema_mismatch"),
        ({"sensor": "recipe", "str_value": "{"}, "bad_json"),
        ({"sensor": "recipe", "str_value": '{"flour": NaN}'}, "bad_json"),
        ({"sensor": "recipe", "value": 1.0}, "wrong_type"),
        ({"sensor": "anything", "str_value": "[1, null]"}, "accepted"),
        ({"sensor": "anything", "str_value": "[" * MOST_LEVELS + "]" * MOST_LEVELS}, "accepted"),
        ({"sensor": "anything", "str_value": "[" * (MOST_LEVELS + 1) + "]" * (MOST_LEVELS + 1)}, "bad_json"),
        ({"sensor": "anything", "str_value": "[" * 60_000}, "bad_json"),
        ({"sensor": "anything", "str_value": '{"\\ud800": 1}'}, "bad_json"),
        ({"sensor": "anything", "str_value": '{"\\ud83d\\ude00": 1}'}, "accepted"),
        ({"sensor": "anything", "str_value": "9" * 60_000}, "bad_json"),
        ({"sensor": "anything", "str_value": "[" * 70_000}, "too_long"),
        ({"sensor": "broken", "str_value": "{}"}, "schema_mismatch"),
        ({"sensor": "elsewhere", "str_value": "{}"}, "schema_mismatch"),
        ({"sensor": "temperature", "str_value": "broken wire"}, "accepted"),
    ],
)
def test_reading_of_a_type_gets_the_verdict_a_person_gives(sent: dict[str, Any], expected: str) -> None:
    assert verdict(**sent) == expected


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"sensor": "doors", "value": 3.5}, "value 3.5 is no whole number, as its metric asks for"),
        ({"sensor": "valve", "str_value": "ajar"}, "text 'ajar' is neither 0, 1, true, false, on nor off"),
        ({"sensor": "note", "value": 3.0}, "value 3.0 is a number where its metric asks for a text"),
        ({"sensor": "state", "str_value": "hot"}, "'hot' is none of baking, idle"),
        (
            {"sensor": "recipe", "str_value": '{"flour": 1, "steps": ["mix", 2]}'},
            "text does not fit the metric's schema at $.steps[1]: 2 is not of type 'string'",
        ),
        ({"sensor": "elsewhere", "str_value": "{}"}, "refers to what it does not contain: https://example.com/x"),
    ],
)
def test_the_sentence_says_what_does_not_fit(sent: dict[str, Any], said: str) -> None:
    assert treated(sent)[2][0].endswith(said)


def test_a_schema_is_never_fetched_from_elsewhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "integer.json"
    elsewhere.write_text('{"type": "integer"}', encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library would fetch it, and warn that one day it will not
        fault = JsonTexts(json.dumps({"$ref": elsewhere.as_uri()})).fault("1")
    assert fault is not None
    assert fault[0] == "schema_mismatch"


def test_a_text_that_is_too_long_is_not_parsed() -> None:
    series = series_of("anything")
    frame = readings({"sensor": "anything", "str_value": "[" * 65_537})
    assert Converter(series).convert(frame, series.encode(frame)).misfits is None


def test_switches_become_numbers_and_texts_become_no_numbers() -> None:
    stored, verdicts, _ = treated(
        {"sensor": "valve", "str_value": "ON"},
        {"sensor": "valve", "str_value": "false"},
        {"sensor": "valve", "value": 1.0},
        {"sensor": "state", "str_value": "idle", "value": 4.0},
        {"sensor": "note", "str_value": "x", "value": 4.0},
    )
    assert verdicts == ["accepted"] * 5
    assert stored.select("value", "str_value").rows() == [
        (1.0, None),
        (0.0, None),
        (1.0, None),
        (None, "idle"),
        (None, "x"),
    ]


def test_a_whole_number_may_be_sent_in_another_unit() -> None:
    stored, verdicts, _ = treated(
        {"sensor": "length", "value": 1.001, "unit": "m"}, {"sensor": "length", "value": 2.3001, "unit": "dm"}
    )
    assert verdicts == ["accepted", "wrong_type"]
    assert stored["value"].to_list() == [1001.0]  # 1.001 * 1000 is 1000.9999999999999


def test_the_unit_of_a_text_is_of_no_matter() -> None:
    stored, verdicts, _ = treated({"sensor": "temperature", "str_value": "hot", "unit": "furlong"})
    assert verdicts == ["accepted"]
    assert stored["str_value"].to_list() == ["hot"]


def test_a_metric_that_marks_stores_what_is_out_of_bounds_and_says_so() -> None:
    stored, verdicts, _ = treated(
        {"sensor": "pressure", "value": 1300.0},
        {"sensor": "pressure", "value": 1300.0, "quality": "good"},
        {"sensor": "pressure", "value": 1000.0, "quality": "good"},
        {"sensor": "temperature", "value": 20.0},
        {"sensor": "temperature", "value": 200.0},
        {"sensor": "pressure", "value": 1e151},
    )
    assert verdicts == ["accepted"] * 4 + ["out_of_bounds"] * 2
    assert stored["quality"].to_list() == ["out_of_bounds", "out_of_bounds", "good", None]


def test_neighbours_of_misfits_are_stored() -> None:
    stored, verdicts, _ = treated(
        {"sensor": "state", "str_value": "idle"},
        {"sensor": "state", "str_value": "gone"},
        {"sensor": "recipe", "str_value": '{"flour": 1}'},
        {"sensor": "recipe", "str_value": "?"},
        {"sensor": "temperature", "value": 10.0, "unit": "K"},
        {"sensor": "temperature", "value": 300.0, "unit": "K"},
    )
    assert verdicts == ["accepted", "not_in_enum", "accepted", "bad_json", "out_of_bounds", "accepted"]
    assert stored["str_value"].to_list() == ["idle", '{"flour": 1}', None]


def test_new_rules_of_a_metric_are_in_force_after_a_refresh() -> None:
    series = series_of("state")
    frame = readings({"sensor": "state", "str_value": "cleaning"})
    converter = Converter(series)
    assert converter.convert(frame, series.encode(frame)).misfits is not None
    newer = metadata("state")
    words = json.dumps(["idle", "cleaning"])
    newer = Metadata(2, newer.sensors, metrics=newer.metrics.with_columns(enum_values=pl.lit(words)))
    series.refresh(Registered(newer, default_retention_days=37))
    assert converter.convert(frame, series.encode(frame)).misfits is None
    plain = Metadata(3, newer.sensors.with_columns(value_type=pl.lit("string")), metrics=newer.metrics)
    series.refresh(Registered(plain, default_retention_days=37))
    assert converter.convert(readings({"sensor": "state", "str_value": "?"}), series.encode(frame)).misfits is None


def test_nothing_is_converted_while_nothing_is_registered() -> None:
    series = ActiveSeries(Registered(Metadata(0, pl.DataFrame(schema=SENSOR_SCHEMA)), default_retention_days=37))
    assert treated({"sensor": "temperature", "value": 1.0, "unit": "K"}, series=series)[1] == ["unknown_device"]
    empty = readings()
    assert Converter(series).convert(empty, series.encode(empty)).frame is empty
