"""The options that set properties and that search in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from connectors.entities.models import PropertyRange
from weir.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])


def property_option(wrapped: Command) -> Command:
    """Add --property; pass what it gave to :func:`properties_of`."""
    return click.option(
        "--property",
        "properties",
        multiple=True,
        metavar="PATH=JSON",
        help="Set one property, such as config.readingInterval=60; null takes it away. What is no JSON is a text. "
        "May be repeated.",
    )(wrapped)


def search_options(wrapped: Command) -> Command:
    """Add --contains and --range; pass what they gave to :func:`contained` and :func:`ranges_of`."""
    options = (
        click.option(
            "--contains", metavar="JSON", help='Whose properties contain this, such as \'{"location": "Lab A"}\'.'
        ),
        click.option(
            "--range",
            "ranges",
            multiple=True,
            metavar="PATH:MIN:MAX",
            help="Whose property is a number in this range, such as config.readingInterval:60:300; either end may be "
            "left empty. May be repeated.",
        ),
    )
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


def properties_of(given: Sequence[str], option: str = "--property") -> dict[str, Any]:
    """Nested properties of the ``PATH=JSON`` texts of an option.

    Raises :class:`UsageError` for a path that is empty or set twice.
    """
    properties: dict[str, Any] = {}
    for text in given:
        path, equals, value = text.partition("=")
        steps = path.split(".")
        if not equals or not all(steps):
            raise UsageError(f"{option} takes PATH=JSON, such as config.readingInterval=60, not {text!r}.")
        _place(properties, steps, _value(value), f"{option} {path}")
    return properties


def _place(properties: dict[str, Any], steps: Sequence[str], value: object, told: str) -> None:
    inner = properties
    for step in steps[:-1]:
        inner = inner.setdefault(step, {})
        if not isinstance(inner, dict):
            raise UsageError(
                f"{told} and something that it lies in, or that lies in it, are both given; give one of the two."
            )
    if steps[-1] in inner:
        raise UsageError(f"{told} is given twice; give it once.")
    inner[steps[-1]] = value


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except ValueError:
        return text


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no JSON")


def contained(text: str | None) -> dict[str, Any] | None:
    """The object of --contains. Raises :class:`UsageError` for what is no JSON object."""
    return None if text is None else json_object(text, "--contains")


def json_object(text: str, where: str) -> dict[str, Any]:
    """A JSON object that somebody gave ``where``. Raises :class:`UsageError` for anything else."""
    try:
        value = json.loads(text, parse_constant=_no_number)
    except ValueError as error:
        raise UsageError(f"{where} takes a JSON object, and this is no JSON: {error}.") from error
    if not isinstance(value, dict):
        raise UsageError(f'{where} takes a JSON object, such as {{"location": "Lab A"}}, not {text!r}.')
    return value


def ranges_of(given: Sequence[str]) -> list[PropertyRange]:
    """The ranges of --range. Raises :class:`UsageError` for what does not read PATH:MIN:MAX."""
    return [_range(text) for text in given]


def _range(text: str) -> PropertyRange:
    parts = text.rsplit(":", 2)
    if len(parts) != 3 or not parts[0] or not (parts[1] or parts[2]):
        raise UsageError(f"--range takes PATH:MIN:MAX, such as config.readingInterval:60:300, not {text!r}.")
    try:
        low, high = (float(part) if part else None for part in parts[1:])
    except ValueError as error:
        raise UsageError(f"--range takes numbers as its ends, and {text!r} has others.") from error
    return PropertyRange(path=parts[0], min=low, max=high)
