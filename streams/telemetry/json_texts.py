"""Whether texts are JSON of the shape that their metric asks for."""

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn

import jsonschema
from jsonschema.exceptions import SchemaError, best_match
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing.exceptions import Unresolvable
from referencing.jsonschema import EMPTY_REGISTRY

from streams.telemetry.json_keywords import Steps, UnusableSchemaError, bounded

BAD_JSON: Final = "bad_json"
SCHEMA_MISMATCH: Final = "schema_mismatch"

MOST_LEVELS: Final = 32
"""Levels of nesting of a text. A number of our own: where Python gives up depends on who called, and a replay must give
the same verdict."""

_LONGEST_SENTENCE: Final = 300
"""Characters of what the schema library says, which quotes the value."""

_MOST_DIGITS: Final = 300

_TOO_DEEP: Final = f"text is nested more than {MOST_LEVELS} levels deep"


class JsonTexts:
    """Judges the JSON texts of one metric; its schema is compiled once."""

    def __init__(self, schema: str | None) -> None:
        """``schema`` is a JSON Schema as text, None for any JSON.

        Nothing is raised for a schema that cannot be used: every text is then refused, and told why.
        """
        self._validator: Validator | None = None
        self._broken = ""
        self._steps = Steps()
        if schema is not None:
            try:
                self._validator = _compiled(json.loads(schema), self._steps)
            except (SchemaError, ValueError, RecursionError) as error:
                self._broken = f"the metric's own schema cannot be used: {_short(str(error))}"

    def fault(self, text: str) -> tuple[str, str] | None:
        """Return the reason and the sentence for a text that does not fit, None for one that does."""
        try:
            value = json.loads(text, parse_constant=_refuse, parse_int=_integer, parse_float=_float)
        except RecursionError:
            return BAD_JSON, _TOO_DEEP
        except ValueError as error:
            return BAD_JSON, f"text is no JSON: {_short(str(error))}"
        if _is_deeper(value, MOST_LEVELS):
            return BAD_JSON, _TOO_DEEP
        if "\\u" in text and not _is_unicode(value):
            return BAD_JSON, "text holds half of a surrogate pair"
        if self._broken:
            return SCHEMA_MISMATCH, self._broken
        mismatch = self._mismatch(value)
        return (SCHEMA_MISMATCH, mismatch) if mismatch else None

    def _mismatch(self, value: Any) -> str:
        if self._validator is None:
            return ""
        self._steps.begin()
        try:
            found = best_match(self._validator.iter_errors(value))
        except Unresolvable as missing:
            return f"the metric's own schema refers to what it does not contain: {missing.ref}"
        except UnusableSchemaError as error:
            return str(error)
        except RecursionError:
            return "the metric's own schema goes round in circles"
        except Exception as error:  # what else a schema makes the library raise must not end the worker
            return f"the metric's own schema cannot be used: {_short(str(error))}"
        return f"text does not fit the metric's schema at {found.json_path}: {_short(found.message)}" if found else ""


def _compiled(schema: Any, steps: Steps) -> Validator:
    dialect = schema.get("$schema", "") if isinstance(schema, dict) else ""
    if not isinstance(dialect, str):
        raise ValueError("its $schema is no text")
    kind = validator_for(schema, default=jsonschema.Draft202012Validator)
    kind.check_schema(schema)
    # without a registry of its own the library would fetch what a schema refers to
    validator: Validator = bounded(kind, steps)(schema, registry=EMPTY_REGISTRY)
    return validator


def _integer(digits: str) -> int:
    """A whole number that a float can hold: arithmetic of the keywords fails on others."""
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number has more than {_MOST_DIGITS} digits")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{_short(digits)} is too large a number")
    return number


def _is_deeper(value: Any, levels: int) -> bool:
    """Say whether arrays and objects lie in each other more than ``levels`` deep."""
    level = [value]
    for _ in range(levels + 1):
        inner = [each for each in level if isinstance(each, list | dict)]
        if not inner:
            return False
        level = [child for each in inner for child in (each.values() if isinstance(each, dict) else each)]
    return True


def _is_unicode(value: Any) -> bool:
    """Say whether it can be written as UTF-8: JSON may escape one half of a surrogate pair, which is no character."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _short(sentence: str) -> str:
    line = " ".join(sentence.split())
    return line if len(line) <= _LONGEST_SENTENCE else f"{line[:_LONGEST_SENTENCE]}…"
