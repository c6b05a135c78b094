"""The registry of metrics between real servers: what a reading of a metric becomes, and where it can be looked up."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Iterator
from typing import Any

import polars as pl
import psycopg
import pytest

from connectors.postgres.devices import register
from sinks.clickhouse.client import connect
from tests.one_server import postgres_database
from tests.sender import Sender
from tests.stack_under_test import StackUnderTest
from tests.stored import dead_letters
from tests.world import World, world_on

CLIMATE, STATE, RECIPE = "greenhouse.climate.temperature", "oven.state", "oven.recipe"

METRICS: list[tuple[Any, ...]] = [
    (CLIMATE, "float", "celsius", -40.0, 125.0, "reject", None, None),
    ("greenhouse.climate.pressure", "float", "hPa", 300.0, 1200.0, "mark", None, None),
    ("greenhouse.light", "float", "lux", None, None, "reject", None, None),
    ("door.openings", "integer", "count", None, None, "reject", None, None),
    ("door.open", "boolean", "", None, None, "reject", None, None),
    (STATE, "enum", "", None, None, "reject", ["idle", "baking"], None),
    (RECIPE, "json", "", None, None, "reject", None, json.dumps({"type": "object", "required": ["flour"]})),
    ("oven.note", "string", "", None, None, "reject", None, None),
]
SENSORS = {
    "temperature": CLIMATE,
    "roof": CLIMATE,
    "pressure": "greenhouse.climate.pressure",
    "light": "greenhouse.light",
    "openings": "door.openings",
    "open": "door.open",
    "state": STATE,
    "recipe": RECIPE,
    "note": "oven.note",
}


def define(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.cursor().executemany(
            "INSERT INTO metrics (name, value_type, unit, min_value, max_value, bounds_action, enum_values, "
            "json_schema) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            METRICS,
        )


@pytest.fixture(scope="module")
def line(stack: StackUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with the metrics above, one device with a sensor of each, and a worker."""
    with world_on(stack, tmp_path_factory.mktemp("metrics")) as world:
        define(world.dsn)
        frame = pl.DataFrame({"device_id": "house", "sensor": list(SENSORS), "metric": list(SENSORS.values())})
        roof = pl.col("sensor") == "roof"
        # the roof's sensor sends degrees Fahrenheit, and its own upper bound is in them
        own = {"unit": pl.when(roof).then(pl.lit("degF")), "max_value": pl.when(roof).then(122.0)}
        register(world.dsn, "acme", "glass", frame.with_columns(**own))
        world.start_worker()
        yield world


@pytest.fixture(scope="module")
def told(line: World) -> dict[int, tuple[str, str]]:
    """What was sent, once: reason and detail of each dead letter by the number of the reading, see :data:`SENT`."""
    begin = time.time_ns() // 1_000_000 - 600_000
    with Sender(line.settings) as sender:
        for number, (sensor, fields, _) in enumerate(SENT):
            sender.reading("house", sensor, begin + number, partition=0, **fields)
        sender.flush()
    numbers = {(sent.partition, sent.offset): number for number, sent in enumerate(sender.sent)}
    refused = sum(isinstance(outcome, str) for *_, outcome in SENT)
    line.wait(lambda: line.value("SELECT count() FROM readings") == len(SENT) - refused, "the readings are stored")
    line.wait(lambda: len(dead_letters(line.settings)) == refused, "the others are dead letters")
    letters = [letter for letter in dead_letters(line.settings) if letter.origin in numbers]
    return {numbers[letter.origin]: (letter.headers["reason"], letter.headers["detail"]) for letter in letters}


Stored = tuple[float, str, str, str]
"""Value, text, unit and quality."""

SENT: list[tuple[str, dict[str, Any], Stored | str]] = [
    ("temperature", {"value": 50.0, "unit": "degF"}, (10.0, "", "celsius", "")),
    ("temperature", {"value": 300.0, "unit": "K"}, (26.85, "", "celsius", "")),
    ("temperature", {"value": 21.5, "unit": "°C"}, (21.5, "", "celsius", "")),
    ("temperature", {"value": 21.5}, (21.5, "", "celsius", "")),
    ("temperature", {"value": 1.0, "unit": "furlong"}, "wrong_unit"),
    ("temperature", {"value": 300.0, "unit": "degF"}, "out_of_bounds"),
    ("roof", {"value": 122.0}, (50.0, "", "celsius", "")),
    ("roof", {"value": 123.0}, "out_of_bounds"),
    ("roof", {"value": 50.5, "unit": "celsius"}, "out_of_bounds"),
    ("pressure", {"value": 101.325, "unit": "kPa"}, (1013.25, "", "hPa", "")),
    ("pressure", {"value": 1300.0, "quality": "good"}, (1300.0, "", "hPa", "out_of_bounds")),
    ("light", {"value": 5.0}, (5.0, "", "lux", "")),
    ("openings", {"value": 3.0}, (3.0, "", "count", "")),
    ("openings", {"value": 3.5}, "wrong_type"),
    ("open", {"str_value": "on"}, (1.0, "", "", "")),
    ("open", {"value": 0.0}, (0.0, "", "", "")),
    ("open", {"str_value": "ajar"}, "wrong_type"),
    ("state", {"str_value": "baking"}, (0.0, "baking", "", "")),
    ("state", {"str_value": "burnt"}, "not_in_enum"),
    ("recipe", {"str_value": '{"flour": 1}'}, (0.0, '{"flour": 1}', "", "")),
    ("recipe", {"str_value": '{"sugar": 1}'}, "schema_mismatch"),
    ("recipe", {"str_value": "{"}, "bad_json"),
    ("note", {"str_value": "all well"}, (0.0, "all well", "", "")),
    ("note", {"value": 1.0}, "wrong_type"),
]


def test_every_reading_is_stored_in_the_terms_of_its_metric(line: World, told: dict[int, tuple[str, str]]) -> None:
    stored = line.query("SELECT value, str_value, toString(unit), toString(quality) FROM readings ORDER BY ts")
    assert stored == [outcome for *_, outcome in SENT if not isinstance(outcome, str)]


def test_every_reading_that_does_not_fit_is_a_dead_letter_that_says_why(told: dict[int, tuple[str, str]]) -> None:
    expected = {number: outcome for number, (*_, outcome) in enumerate(SENT) if isinstance(outcome, str)}
    assert {number: reason for number, (reason, _) in told.items()} == expected
    details = {SENT[number][0] + " " + reason: detail for number, (reason, detail) in told.items()}
    assert details["temperature wrong_unit"].endswith("unit 'furlong' cannot be converted to celsius")
    assert details["state not_in_enum"].endswith("'burnt' is none of baking, idle")
    assert details["recipe schema_mismatch"].endswith("schema at $: 'flour' is a required property")


def test_minutes_are_in_the_base_unit_and_have_no_texts(line: World, told: dict[int, tuple[str, str]]) -> None:
    query = (
        "SELECT toString(sensor), toString(any(unit)), sum(count) FROM aggregates_1m GROUP BY sensor ORDER BY sensor"
    )
    expected = [
        ("light", "lux", 1),
        ("open", "", 2),
        ("openings", "count", 1),
        ("pressure", "hPa", 2),
        ("roof", "celsius", 1),
        ("temperature", "celsius", 4),
    ]
    line.wait(lambda: line.query(query) == expected, "the minutes are closed", 20.0)


def test_a_pattern_finds_the_same_metrics_in_both_databases_and_joins_their_units(
    line: World, told: dict[int, tuple[str, str]]
) -> None:
    pattern = r"^greenhouse\.climate\..*"
    with psycopg.connect(line.dsn) as conn:
        known = conn.execute("SELECT name, unit FROM metrics WHERE name ~ %s ORDER BY name", [pattern]).fetchall()
    assert known == [("greenhouse.climate.pressure", "hPa"), (CLIMATE, "celsius")]
    query = "SELECT name, toString(unit) FROM metrics WHERE match(name, {pattern:String}) ORDER BY name"
    assert line.wait(lambda: line.query(query, pattern=pattern), "the metrics are copied") == known
    joined = """
        SELECT toString(r.metric), toString(m.unit), count(), countIf(r.value > m.max_value)
        FROM readings AS r JOIN metrics AS m ON m.name = r.metric
        WHERE match(r.metric, {pattern:String}) GROUP BY 1, 2 ORDER BY 1
    """
    assert line.query(joined, pattern=pattern) == [
        ("greenhouse.climate.pressure", "hPa", 2, 1),
        (CLIMATE, "celsius", 5, 0),
    ]


def test_a_changed_metric_is_in_force_for_the_next_reading_and_in_the_copy(
    line: World, told: dict[int, tuple[str, str]]
) -> None:
    with psycopg.connect(line.dsn) as conn:
        conn.execute("UPDATE metrics SET enum_values = '{idle,baking,burnt}' WHERE name = %s", [STATE])
    query = "SELECT enum_values FROM metrics WHERE name = {name:String}"
    line.wait(lambda: line.query(query, name=STATE) == [(["idle", "baking", "burnt"],)], "the copy has the new word")
    with Sender(line.settings) as sender:
        sender.reading("house", "state", time.time_ns() // 1_000_000, str_value="burnt", partition=0)
        sender.flush()
    line.wait(lambda: line.value("SELECT count() FROM readings WHERE str_value = 'burnt'"), "the new word is stored")


def names_and_patterns() -> tuple[list[str], list[str]]:
    """Metric names, and patterns of what both dialects have: a fixed seed, so that a failure comes again."""
    chance = random.Random(11)
    words = ["a", "b1", "greenhouse", "climate", "co2", "x_y", "temperature"]
    names = [".".join(parts) for size in (1, 2, 3) for parts in itertools.product(words[:5], repeat=size)][:120] + words
    pieces = [*words, r"\.", ".", ".*", "[a-c]", "[^a]", r"\d", r"\w+", r"[0-9]{1,2}", "(a|b1)", "(?:climate)?", "_"]
    suffixes = ["", "", "", "*", "+", "?", "*?", "{2}"]
    patterns = {r"^greenhouse\.climate\..*", "", "^$", "a|^b", r"\.", "(?i)CLIMATE", "^(a|b1)+$"}
    while len(patterns) < 300:
        made = "".join(f"(?:{chance.choice(pieces)}){chance.choice(suffixes)}" for _ in range(chance.randint(1, 4)))
        patterns.add(chance.choice(["", "^"]) + made + chance.choice(["", "$"]))
    return names, sorted(patterns)


def test_patterns_mean_the_same_to_postgres_and_to_clickhouse(stack: StackUnderTest) -> None:
    names, patterns = names_and_patterns()
    with postgres_database(stack) as dsn, psycopg.connect(dsn) as conn:
        rows = conn.execute(
            "SELECT p, n FROM unnest(%s::text[]) AS p, unnest(%s::text[]) AS n WHERE n ~ p", [patterns, names]
        ).fetchall()
    client = connect(stack.settings.clickhouse, database=False)
    try:
        query = """
            SELECT p, n FROM (SELECT arrayJoin({patterns:Array(String)}) AS p) AS patterns
            CROSS JOIN (SELECT arrayJoin({names:Array(String)}) AS n) AS names WHERE match(n, p)
        """
        found = client.query(query, parameters={"patterns": patterns, "names": names}).result_rows
    finally:
        client.close()
    assert len(rows) > 1_000
    assert set(rows) == {tuple(row) for row in found}
