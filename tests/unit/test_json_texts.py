from __future__ import annotations

import json
import time
from typing import Any

import pytest

from streams.telemetry.json_keywords import MOST_STEPS
from streams.telemetry.json_texts import BAD_JSON, MOST_LEVELS, SCHEMA_MISMATCH, JsonTexts

NESTED = {"type": "array", "items": {"$ref": "#"}}
BRANCHING = {
    "anyOf": [{"items": {"$ref": "#"}, "maxItems": 1}, {"items": {"$ref": "#"}, "minItems": 1}],
    "type": "array",
}
NAMED = {"patternProperties": {"^n": {"type": "integer"}}, "properties": {"x": {}}, "additionalProperties": False}


def fault(schema: Any, text: str) -> tuple[str, str] | None:
    return JsonTexts(json.dumps(schema)).fault(text)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (True, "null"),
        (NAMED, '{"n1": 1, "x": "any"}'),
        (NESTED, "[" * MOST_LEVELS + "]" * MOST_LEVELS),
        ({"uniqueItems": True}, '[1, true, "1", [1], [true], {"a": 1}, {"a": true}, null, 0, false]'),
        ({"pattern": r"^\d+$"}, '"123"'),
        ({"pattern": r"^\d+$"}, "123"),
        ({"multipleOf": 0.5}, "1e300"),
        ({"$defs": {"n": {"type": "integer"}}, "items": {"$ref": "#/$defs/n"}}, "[1, 2]"),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}, "{}"),
    ],
)
def test_what_fits_the_schema_is_taken(schema: Any, text: str) -> None:
    assert fault(schema, text) is None


@pytest.mark.parametrize(
    ("schema", "text", "said"),
    [
        (False, "1", "at $: "),
        (NAMED, '{"n1": "one"}', "at $.n1: 'one' is not of type 'integer'"),
        (NAMED, '{"other": 1}', "additional property 'other' is not allowed"),
        ({"additionalProperties": {"type": "null"}}, '{"a": 1}', "at $.a: 1 is not of type 'null'"),
        ({"uniqueItems": True}, '[{"a": 1, "b": [1]}, {"b": [1.0], "a": 1}]', "the items are not unique"),
        ({"pattern": r"^\d+$"}, '"12x"', "does not match"),
        ({"pattern": "(?=a)"}, '"a"', "cannot be searched for in linear time"),
        ({"unevaluatedProperties": False}, "{}", "unevaluatedProperties, which is not supported"),
        ({"$ref": "#"}, "1", "goes round in circles"),
        ({"$ref": "#/$defs/gone"}, "1", "refers to what it does not contain: /$defs/gone"),
        ({"$schema": 5}, "1", "its $schema is no text"),
        ({"multipleOf": 10**400}, "1.5", "own schema cannot be used"),
        ({"examples": [1], "$ref": "#/examples/x"}, "1", "own schema cannot be used"),
        ({"type": "objekt"}, "1", "cannot be used"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_place(schema: Any, text: str, said: str) -> None:
    found = fault(schema, text)
    assert found is not None
    assert found[0] == SCHEMA_MISMATCH
    assert said in found[1]


@pytest.mark.parametrize("text", ["", "{", "nul", "1" * 301, "1e400", "-1e999", "NaN", "Infinity", "[1] x", "\ufeff1"])
def test_what_is_no_json_is_refused_under_every_schema(text: str) -> None:
    for schema in (True, {"multipleOf": 0.1}):
        found = fault(schema, text)
        assert found is not None
        assert found[0] == BAD_JSON


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"uniqueItems": True}, "[" + ",".join(f'{{"a":{number}}}' for number in range(6_000)) + "]"),
        ({"pattern": "^(a+)+$"}, '"' + "a" * 60_000 + 'b"'),
        ({"patternProperties": {"^(a+)+$": {}}, "additionalProperties": False}, '{"' + "a" * 60_000 + 'b": 1}'),
        (
            {"patternProperties": {f"a{number}": True for number in range(4_000)}},
            json.dumps({f"b{number}": 1 for number in range(5_000)}),
        ),
        ({"items": {"required": [f"a{number}" for number in range(4_000)]}}, json.dumps([{}] * 16_000)),
        ({"items": {"enum": list(range(20_000, 29_000))}}, json.dumps(list(range(9_000)))),
    ],
)
def test_no_text_keeps_a_worker_busy(schema: Any, text: str) -> None:
    began = time.monotonic()
    fault(schema, text)
    assert time.monotonic() - began < 10.0  # the library's own keywords take minutes, or for ever


def test_references_that_branch_are_given_up_after_as_many_steps_on_every_run() -> None:
    texts = JsonTexts(json.dumps(BRANCHING))
    deep = "[" * 20 + "1" + "]" * 20
    first, shallow, again = texts.fault(deep), texts.fault("[[]]"), texts.fault(deep)
    assert first is not None
    assert f"more than {MOST_STEPS:,} steps" in first[1]
    assert shallow is None
    assert again == first


def test_a_sentence_does_not_repeat_a_long_text() -> None:
    found = fault({"type": "integer"}, json.dumps("x" * 60_000))
    assert found is not None
    assert len(found[1]) < 400
