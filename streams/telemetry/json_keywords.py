"""Keywords of JSON Schema whose usual implementation a hostile text, or a hostile schema, could keep busy for hours.

Uniqueness of items takes quadratic time there, regular expressions exponential time, and references that branch as much
as they like. Here the first two take linear time, and all keywords together a limited number of steps. Steps, not
seconds: a replay must give the same verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import polars as pl
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from connectors.entities.fitting import matches

MOST_STEPS: Final = 20_000
"""Keywords applied to one text: half a second, measured for references that branch, a fifth of it for a plain list."""

PARTS_A_STEP: Final = 16
"""Names or values of a keyword's own list that are looked through in the time of a step."""

Keyword = Callable[[Validator, Any, Any, dict[str, Any]], Iterator[ValidationError]]


class UnusableSchemaError(Exception):
    """The schema asks for what is not done; the sentence says what."""


class Steps:
    """Counts the steps that a text takes."""

    def __init__(self) -> None:
        """Begin with none."""
        self._left = MOST_STEPS

    def begin(self) -> None:
        """Count anew, for the next text."""
        self._left = MOST_STEPS

    def take(self, steps: int) -> None:
        """Take so many steps; raises :class:`UnusableSchemaError` when there are no more."""
        self._left -= steps
        if self._left < 0:
            raise UnusableSchemaError(f"the text takes more than {MOST_STEPS:,} steps of the metric's schema")

    def found(self, pattern: str, text: str) -> bool:
        """Whether a pattern is found in a text; takes a step."""
        self.take(1)
        return _found(pattern, text)

    def counted(self, keyword: Keyword) -> Keyword:
        """The keyword, which takes a step whenever it is applied."""

        def applied(
            validator: Validator, value: Any, instance: Any, schema: dict[str, Any]
        ) -> Iterator[ValidationError]:
            self.take(1 + (len(value) // PARTS_A_STEP if isinstance(value, list | dict) else 0))
            return keyword(validator, value, instance, schema) or iter(())

        return applied


def bounded(kind: Any, steps: Steps) -> Any:
    """Return the validator class ``kind`` with these keywords, every one counted in ``steps``."""
    own = {
        "pattern": _pattern,
        "patternProperties": partial(_pattern_properties, steps),
        "additionalProperties": partial(_additional_properties, steps),
        "unevaluatedProperties": _unevaluated,
        "uniqueItems": _unique_items,
    }
    keywords = kind.VALIDATORS | {name: keyword for name, keyword in own.items() if name in kind.VALIDATORS}
    counted = {name: steps.counted(keyword) for name, keyword in keywords.items()}
    return extend(kind, counted)  # type: ignore[no-untyped-call]  # the library has no type for it


def _pattern(validator: Validator, pattern: str, instance: Any, schema: dict[str, Any]) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _found(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    steps: Steps, validator: Any, patterns: dict[str, Any], instance: Any, schema: dict[str, Any]
) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for pattern, part in patterns.items():
            for name, value in instance.items():
                if steps.found(pattern, name):
                    yield from validator.descend(value, part, path=name, schema_path=pattern)


def _additional_properties(
    steps: Steps, validator: Any, allowed: Any, instance: Any, schema: dict[str, Any]
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, value in instance.items():
        if name in named or any(steps.found(pattern, name) for pattern in patterns):
            continue
        if allowed is False:
            yield ValidationError(f"additional property {name!r} is not allowed")
        else:
            yield from validator.descend(value, allowed, path=name)


def _unevaluated(
    validator: Validator, allowed: Any, instance: Any, schema: dict[str, Any]
) -> Iterator[ValidationError]:
    raise UnusableSchemaError("the metric's own schema uses unevaluatedProperties, which is not supported")


def _unique_items(
    validator: Validator, wanted: bool, instance: Any, schema: dict[str, Any]
) -> Iterator[ValidationError]:
    if wanted and isinstance(instance, list) and len({_frozen(item) for item in instance}) < len(instance):
        yield ValidationError("the items are not unique")


def _found(pattern: str, text: str) -> bool:
    try:
        return matches(pattern, text)
    except pl.exceptions.ComputeError:
        raise UnusableSchemaError(
            f"the metric's own schema has the pattern {pattern[:100]!r}, which cannot be searched for in linear time"
        ) from None


def _frozen(value: Any) -> Any:
    """The value as something that can be hashed; equal for equal JSON, in which true is not 1."""
    if isinstance(value, dict):
        return "object", frozenset((name, _frozen(each)) for name, each in value.items())
    if isinstance(value, list):
        return "array", tuple(_frozen(each) for each in value)
    return isinstance(value, bool), value
