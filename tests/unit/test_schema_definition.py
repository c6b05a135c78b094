from __future__ import annotations

import time
from typing import Any

import pytest

from connectors.entities.definition import parse
from connectors.entities.errors import InvalidError
from connectors.entities.evolution import breaks, newly_described
from connectors.entities.fitting import filled, problems

ESP32: dict[str, Any] = {
    "name": {"type": "string", "required": True},
    "status": {"type": "string", "enum": ["online", "offline", "maintenance", "error"], "default": "offline"},
    "hardware": {
        "model": {"type": "string", "required": True},
        "sensors": {"type": "array", "items": {"type": "object"}},
    },
}


def wrong(definition: dict[str, Any], value: dict[str, Any]) -> list[str]:
    return list(problems(parse(definition), value))


def test_the_schema_of_the_seeds_is_read_as_it_is_written() -> None:
    value = {"name": "Node", "hardware": {"model": "ESP32-WROOM-32", "sensors": [{"type": "temperature"}], "rev": 3}}
    assert wrong(ESP32, value) == []
    assert filled(parse(ESP32), value) == {**value, "status": "offline"}
    assert wrong(ESP32, {"name": "Node"}) == ["hardware.model is required and missing"]
    assert wrong(ESP32, {"hardware": {"model": 5, "sensors": {}}, "status": "on"}) == [
        "name is required and missing",
        "status must be one of online, offline, maintenance, error, not 'on'",
        "hardware.model must be a text, not 5",
        "hardware.sensors must be a list, not {}",
    ]


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ({"type": "string"}, ["", "x"], [1, True, [], {}]),
        ({"type": "string", "min_length": 2, "max_length": 3}, ["ab", "äöü"], ["a", "abcd"]),
        ({"type": "string", "pattern": "^[a-z]+$"}, ["ab"], ["", "A", "ab1"]),
        ({"type": "number"}, [1, -1.5, 0], ["1", True, None, []]),
        ({"type": "number", "min": 0, "max": 1.5}, [0, 1.5], [-0.1, 1.6]),
        ({"type": "integer"}, [1, 2.0, -(2**70)], [1.5, "1", False]),
        ({"type": "integer", "enum": [1, 2]}, [1, 2.0], [3, True]),
        ({"type": "boolean"}, [True, False], [0, 1, "true"]),
        ({"type": "timestamp"}, ["2024-03-20T10:00:00Z", "2024-03-20T10:00:00.5+02:00"], ["2024-03-20T10:00:00", 5]),
        ({"type": "array", "min_length": 1}, [[None], [1, "x"]], [[], "x", {}]),
        ({"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}, [[], [[1]]], [[1], [["x"]]]),
        ({"type": "array", "items": {"a": {"type": "integer", "required": True}}}, [[{"a": 1}]], [[{}], [None]]),
        ({"type": "object"}, [{}, {"a": 1}], [[], "x"]),
        ({"type": "object", "additional": False, "properties": {"a": {"type": "string"}}}, [{}, {"a": ""}], [{"b": 1}]),
        ({"a": {"type": "string"}, "additional": False}, [{}, {"a": "x"}], [{"b": 1}]),
        ({"additional": {"type": "string"}}, [{"additional": "x"}, {"b": 1}], [{"additional": 1}]),
        ({"type": {"type": "string", "required": True}}, [{"type": "x"}], [{}, {"type": 1}]),
    ],
)  # fmt: skip
def test_a_field_takes_what_it_describes_and_nothing_else(
    field: dict[str, Any], good: list[Any], bad: list[Any]
) -> None:
    definition = parse({"list": {"type": "array", "items": field}})
    for value in good:
        assert list(problems(definition, {"list": [value]})) == []
    for value in bad:
        assert list(problems(definition, {"list": [value]})) != [], value


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ({"a": 5}, "a must be described by an object"),
        ({"a": {"type": "text"}}, "a has the unknown type 'text'; the types are string, number"),
        ({"a": {"b": {"type": "string", "requird": True}}}, "a.b: 'requird' says nothing about a field of type string"),
        (
            {"a": {"type": "string", "min": 1}},
            "a: 'min' says nothing about a field of type string; it may have default",
        ),
        ({"a": {"type": "string", "required": "yes"}}, "required must be true or false, not 'yes'"),
        ({"a": {"type": "number", "min": "0"}}, "min must be a number"),
        ({"a": {"type": "number", "min": 2, "max": 1}}, "a: min 2 is above max 1"),
        ({"a": {"type": "string", "min_length": 2, "max_length": 1}}, "min_length 2 is above max_length 1"),
        ({"a": {"type": "string", "min_length": -1}}, "min_length must be a whole number from 0"),
        ({"a": {"type": "string", "enum": []}}, "enum must be a list of at least one value"),
        ({"a": {"type": "string", "enum": ["x", 1]}}, "the enum has 1, which does not fit the field itself"),
        ({"a": {"type": "string", "enum": ["x"], "default": "y"}}, "the default does not fit the field itself"),
        ({"a": {"type": "integer", "default": 1.5}}, "the default does not fit"),
        ({"a": {"type": "string", "pattern": "(["}}, r"the regular expression '\(\[' is invalid: unclosed character"),
        ({"a": {"type": "string", "pattern": "(?=x)"}}, "look-around"),
        ({"a": {"type": "string", "pattern": 5}}, "pattern must be a regular expression"),
        ({"a": {"type": "array", "items": {"type": "string", "required": True}}}, "items are there or not"),
        ({"a": {"type": "array", "items": "string"}}, r"a\[\] must be described by an object"),
        ({"a": {"type": "object", "properties": []}}, "properties must be an object of fields"),
        ({"a": {"type": "object", "properties": {"b": {"type": "?"}}}}, "a.b has the unknown type"),
        ({"a": {"type": "string", "description": "x" * 70_000}}, "larger than 64 KiB"),
        ({"a": {"type": "string", "default": "\0"}}, "no text with NUL"),
    ],
)
def test_a_definition_that_makes_no_sense_is_refused_with_the_field_and_the_reason(
    definition: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidError, match=words) as refusal:
        parse(definition)
    assert len(str(refusal.value)) < 300


def test_a_definition_deeper_than_anybody_needs_is_refused() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(17):
        deep = {"a": deep}
    with pytest.raises(InvalidError, match="lies more than 16 levels deep"):
        parse(deep)
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(InvalidError, match="nest more than 64 levels deep"):
        parse(deep)


def test_a_pattern_made_to_hang_a_server_does_not() -> None:
    definition = parse({"a": {"type": "string", "pattern": "^(a+)+$"}})
    began = time.monotonic()
    assert list(problems(definition, {"a": "a" * 5000 + "!"})) != []
    assert time.monotonic() - began < 1


def test_a_null_is_a_field_that_is_left_out_and_other_nulls_stay() -> None:
    definition = {
        "a": {"type": "string"},
        "b": {"type": "string", "required": True},
        "c": {"type": "string", "default": "x"},
    }
    assert wrong(definition, {"a": None, "b": None}) == ["b is required and missing"]
    assert filled(parse(definition), {"a": None, "b": "y", "c": None, "z": None}) == {"b": "y", "c": "x", "z": None}


def test_defaults_are_filled_at_every_level() -> None:
    definition = parse(
        {
            "config": {"interval": {"type": "integer", "default": 300}},
            "list": {"type": "array", "items": {"on": {"type": "boolean", "default": True}}},
            "box": {"type": "object", "default": {}, "properties": {"size": {"type": "number", "default": 1}}},
            "left": {"type": "object", "properties": {"size": {"type": "number", "default": 1}}},
        }
    )
    assert filled(definition, {"list": [{}, {"on": False}]}) == {
        "config": {"interval": 300},
        "list": [{"on": True}, {"on": False}],
        "box": {"size": 1},
    }


S = {"type": "string"}


@pytest.mark.parametrize(
    ("old", "new", "broken"),
    [
        ({}, {"a": S}, []),
        ({}, {"a": {**S, "required": True}}, ["a would be required; give it a default"]),
        ({}, {"a": {**S, "required": True, "default": "x"}}, []),
        ({}, {"a": {"b": {**S, "required": True}}}, ["a would be required; give it a default"]),
        ({"a": S}, {}, []),
        ({}, {"additional": False}, ["the type took other properties and would not"]),
        ({"a": S, "additional": False}, {"additional": False}, ["a would be no property any more"]),
        ({"a": S, "additional": False}, {"a": S}, []),
        ({"a": {"type": "integer"}}, {"a": {"type": "number"}}, []),
        ({"a": {"type": "number"}}, {"a": {"type": "integer"}}, ["a was of type number and would be integer"]),
        ({"a": {"type": "timestamp"}}, {"a": S}, []),
        ({"a": {**S, "enum": ["x"]}}, {"a": {**S, "enum": ["x", "y"]}}, []),
        ({"a": {**S, "enum": ["x", "y"]}}, {"a": {**S, "enum": ["x"]}}, ["a must be one of x, not 'y'"]),
        ({"a": {**S, "enum": ["x"]}}, {"a": {**S, "max_length": 1}}, []),
        ({"a": S}, {"a": {**S, "enum": ["x"]}}, ["a took any value and would take only those of its enum"]),
        ({"a": {"type": "number", "min": 0}}, {"a": {"type": "number", "min": -1}}, []),
        ({"a": {"type": "number", "min": 0}}, {"a": {"type": "number", "min": 1}}, ["a would have a higher min"]),
        ({"a": {"type": "number"}}, {"a": {"type": "number", "max": 1}}, ["a would have a lower max"]),
        ({"a": {**S, "pattern": "x"}}, {"a": {**S, "pattern": "y"}}, ["a would have another pattern"]),
        ({"a": {"type": "array"}}, {"a": {"type": "array", "items": S}}, ["a took any items and would take only some"]),
        ({"a": {**S, "default": "x"}}, {"a": {**S, "required": True}}, ["a would be required; give it a default"]),
        ({"a": {**S, "required": True}}, {"a": {**S, "required": True}}, []),
    ],
)  # fmt: skip
def test_a_new_version_is_refused_for_what_it_would_no_longer_accept(
    old: dict[str, Any], new: dict[str, Any], broken: list[str]
) -> None:
    assert list(breaks(parse(old), parse(new))) == broken


def test_what_is_newly_described_where_anything_was_allowed_is_named_as_a_path() -> None:
    old = {"a": {"b": S}, "list": {"type": "array", "items": {"c": S}}, "shut": {"additional": False}}
    new = {"a": {"b": S, 'x"y': S}, "list": {"type": "array", "items": {"c": S, "d": S}}, "shut": {"e": S}, "f": S}
    paths = ['$."a"."x\\"y"', '$."list"[*]."d"', '$."f"']
    assert list(newly_described(parse(old), parse(new))) == paths
