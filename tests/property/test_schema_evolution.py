"""Whatever a new version of a schema changes: when it is accepted, what was valid stays valid."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, find, given, settings
from hypothesis import strategies as st

from connectors.entities.definition import parse
from connectors.entities.errors import InvalidError
from connectors.entities.evolution import breaks, newly_described
from connectors.entities.field import Field
from connectors.entities.fitting import filled, problems

Definition = dict[str, Any]
QUICK = settings(max_examples=2000, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck))

NAMES = st.sampled_from("abc")
POOL: dict[str, list[Any]] = {
    "string": ["", "x", "y", "xy", "yxy", "2024-03-20T10:00:00Z"],
    "number": [-2, 0, 1, 1.5, 2.0, 7],
    "integer": [-2, 0, 1, 2.0, 7],
    "boolean": [True, False],
    "timestamp": ["2024-03-20T10:00:00Z", "2024-03-20T10:00:00+02:00"],
}
ANY = st.sampled_from([*POOL["string"], *POOL["number"], True, None, [], ["x"], {}, {"a": 1}, {"b": {"a": "x"}}])
RULES: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "string": {
        "min_length": st.integers(0, 2),
        "max_length": st.integers(0, 3),
        "pattern": st.sampled_from(["^x", "y$", "."]),
    },
    "number": {"min": st.integers(-3, 3), "max": st.integers(0, 8)},
    "integer": {"min": st.integers(-3, 3), "max": st.integers(0, 8)},
    "boolean": {},
    "timestamp": {},
}


def fits(field: Definition, value: Any) -> bool:
    """Whether a value fits one field; a field that makes no sense takes nothing."""
    try:
        return not list(problems(parse({"list": {"type": "array", "items": field}}), {"list": [value]}))
    except InvalidError:
        return False


def mended(field: Definition) -> Definition:
    """The field without the enum and default that would not fit it."""
    bare = {key: each for key, each in field.items() if key not in ("enum", "default", "required")}
    result = {"required": True, **bare} if field.get("required") else bare
    if enum := [value for value in field.get("enum", []) if fits(bare, value)]:
        result["enum"] = bare["enum"] = enum
    if "default" in field and fits(bare, field["default"]):
        result["default"] = field["default"]
    return result


@st.composite
def scalars(draw: st.DrawFn) -> Definition:
    """A field of a type that has no parts."""
    kind = draw(st.sampled_from(sorted(POOL)))
    field: Definition = {"type": kind, "required": draw(st.booleans())}
    field |= draw(st.fixed_dictionaries({}, optional=RULES[kind]))
    if draw(st.booleans()):
        field["default"] = draw(st.sampled_from(POOL[kind]))
    if kind != "timestamp" and draw(st.booleans()):
        field["enum"] = draw(st.lists(st.sampled_from(POOL[kind]), min_size=1, max_size=3))
    return mended(field)


def groups(fields: st.SearchStrategy[Definition]) -> st.SearchStrategy[Definition]:
    """Groups of fields, open or closed."""
    return st.tuples(st.dictionaries(NAMES, fields, max_size=3), st.sampled_from([{}, {"additional": False}])).map(
        lambda pair: {**pair[0], **pair[1]}
    )


def larger(fields: st.SearchStrategy[Definition]) -> st.SearchStrategy[Definition]:
    """Lists, objects and groups of fields."""
    items = fields.map(lambda field: {key: each for key, each in field.items() if key not in ("required", "default")})
    lists = st.fixed_dictionaries(
        {"type": st.just("array")},
        optional={"items": items, "required": st.booleans(), "max_length": st.integers(0, 2)},
    )
    objects = st.fixed_dictionaries(
        {"type": st.just("object"), "properties": st.dictionaries(NAMES, fields, max_size=2)},
        optional={"additional": st.booleans(), "required": st.booleans()},
    )
    return st.one_of(lists, objects, groups(fields))


FIELDS = st.one_of(scalars(), larger(scalars()), larger(larger(scalars())))
DEFINITIONS = groups(FIELDS)


@st.composite
def evolutions(draw: st.DrawFn) -> tuple[Definition, Definition]:
    """A definition, and another that differs from it in a field or two."""
    old = draw(st.dictionaries(NAMES, FIELDS, min_size=1, max_size=3))
    if draw(st.booleans()):
        old["additional"] = False
    return old, changed(draw, old)


def changed(draw: st.DrawFn, old: Definition) -> Definition:
    """A group of fields with some change in it, or in what it holds."""
    new = dict(old)
    change = draw(st.sampled_from(["field", "field", "field", "drop", "add", "open", "shut"]))
    named = sorted(name for name, each in old.items() if isinstance(each, dict))
    if change in ("field", "drop") and named:
        name = draw(st.sampled_from(named))
        if change == "drop":
            del new[name]
        else:
            new[name] = edited(draw, old[name])
    elif change == "add":
        new[draw(NAMES)] = draw(FIELDS)
    elif change == "open":
        new.pop("additional", None)
    else:
        new["additional"] = False
    return new


def edited(draw: st.DrawFn, field: Definition) -> Definition:
    """The field with one thing about it changed."""
    kind = field.get("type")
    if not isinstance(kind, str):
        return changed(draw, field)
    if kind == "object":
        return {**field, "properties": {k: v for k, v in changed(draw, field["properties"]).items() if k in "abc"}}
    if kind == "array":
        return {**field, "items": edited(draw, field["items"])} if "items" in field else {**field, "max_length": 1}
    result = dict(field)
    key = draw(st.sampled_from(["type", "required", "default", "enum", *RULES[kind]]))
    if draw(st.booleans()):
        result.pop(key, None)
    if key == "type":
        result["type"] = draw(st.sampled_from(["number", "integer", "string", "timestamp"]))
        result = {name: each for name, each in result.items() if name not in RULES[kind]}
    elif key == "enum":
        result["enum"] = [*field.get("enum", [])[draw(st.integers(0, 1)) :], draw(st.sampled_from(POOL[kind]))]
    elif key == "required":
        result["required"] = draw(st.booleans())
    elif key == "default":
        result["default"] = draw(st.sampled_from(POOL[kind]))
    elif key not in result:
        result[key] = draw(RULES[kind][key])
    else:
        result.pop(key)
    return mended(result)


@st.composite
def fitting(draw: st.DrawFn, field: Field) -> Any:
    """A value that mostly fits the field."""
    if field.type == "object":
        value = {name: draw(fitting(part)) for name, part in field.properties.items()}
        for name, part in field.properties.items():
            if part.may_be_absent and draw(st.booleans()):
                del value[name]
        if field.additional and draw(st.booleans()):
            value.setdefault(draw(NAMES), draw(ANY))
        return value
    if field.type == "array":
        return draw(st.lists(fitting(field.items) if field.items else ANY, max_size=2))
    good = [value for value in field.enum or POOL[field.type] if not list(problems(field, value))]
    return draw(st.sampled_from(good)) if good else None


@st.composite
def steps(draw: st.DrawFn) -> tuple[Field, Field, dict[str, Any]]:
    """An old version, a new one, and a value that fits the old."""
    try:
        old, new = (parse(definition) for definition in draw(evolutions()))
    except InvalidError:
        assume(False)
        raise
    value = draw(fitting(old))
    assume(not list(problems(old, value)))
    return old, new, value


def held(value: Any, path: str) -> Iterator[Any]:
    """What stands in a value at a path such as ``$."a"[*]."b"``, as Postgres reads it."""
    found = [value]
    for name in re.findall(r'"(\w)"|\[\*\]', path):
        if name:
            found = [each[name] for each in found if isinstance(each, dict) and each.get(name) is not None]
        else:
            found = [each for items in found if isinstance(items, list) for each in items]
    yield from found


@settings(max_examples=250, deadline=None)
@given(steps())
def test_what_was_valid_stays_valid_under_every_version_that_is_accepted(
    step: tuple[Field, Field, dict[str, Any]],
) -> None:
    old, new, value = step
    assume(not list(breaks(old, new)))
    # the service looks at what is stored there before it accepts the version
    assume(not any(True for path in newly_described(old, new) for _ in held(value, path)))
    assert list(problems(new, value)) == []
    stored = filled(old, value)
    if not any(True for path in newly_described(old, new) for _ in held(stored, path)):
        assert list(problems(new, stored)) == []
    assert list(problems(new, filled(new, value))) == []


@settings(max_examples=60, deadline=None)
@given(steps())
def test_defaults_are_filled_once_and_for_all(step: tuple[Field, Field, dict[str, Any]]) -> None:
    field, _, value = step
    once = filled(field, value)
    assert filled(field, once) == once
    assert list(problems(field, once)) == []


@settings(max_examples=60, deadline=None)
@given(steps())
def test_every_version_may_be_added_again_as_it_is(step: tuple[Field, Field, dict[str, Any]]) -> None:
    field, _, _ = step
    assert list(breaks(field, field)) == []
    assert list(newly_described(field, field)) == []


@pytest.mark.parametrize("accepted", [True, False])
def test_the_examples_hold_real_changes_of_both_kinds(accepted: bool) -> None:
    def real(step: tuple[Field, Field, dict[str, Any]]) -> bool:
        old, new, value = step
        if accepted:
            return old.properties.keys() & new.properties.keys() & value.keys() != set() and (
                old != new and not list(breaks(old, new))
            )
        return bool(list(problems(new, value)))  # such a version must not be accepted

    old, new, value = find(steps(), real, settings=QUICK)
    assert (
        accepted or list(breaks(old, new)) or any(True for path in newly_described(old, new) for _ in held(value, path))
    )
