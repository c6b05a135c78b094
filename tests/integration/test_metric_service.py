from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from connectors.entities.actor import SYSTEM, Actor
from connectors.entities.directory import open_directory
from connectors.entities.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from connectors.entities.metric_models import Metric, MetricCreate, MetricUpdate
from connectors.entities.models import EntityCreate
from tests.stack_under_test import StackUnderTest
from tests.two_tenants import acting, two_tenants
from tests.waiting import patient

EDITOR = acting("acme", "editor")


@pytest.fixture(scope="module")
def dsn(stack: StackUnderTest) -> Iterator[str]:
    with two_tenants(stack) as fresh:
        yield fresh


def define(dsn: str, name: str, *, by: Actor = EDITOR, **fields: Any) -> Metric:
    with open_directory(dsn, by) as directory:
        return directory.metrics.define(MetricCreate(name=name, **fields))


def update(dsn: str, name: str, *, by: Actor = EDITOR, **fields: Any) -> Metric:
    with open_directory(dsn, by) as directory:
        return directory.metrics.update(name, MetricUpdate(**fields))


def use(dsn: str, metric: str, slug: str) -> None:
    """Give a device of an organisation a sensor of this metric."""
    with open_directory(dsn, SYSTEM) as directory:
        directory.entities.create(
            EntityCreate(entity_type="sensor", key=metric, parent=f"{slug}-1", properties={"metric": metric})
        )


def told(dsn: str, metric: str) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Type, actor, entity and data of the events about a metric."""
    with psycopg.connect(dsn) as conn:
        return conn.execute(
            "SELECT event_type, actor, entity_key, data FROM events WHERE event_type LIKE 'metric.%%'"
            " AND data ->> 'name' = %s ORDER BY id",
            [metric],
        ).fetchall()


def names(dsn: str, regex: str | None = None, **page: Any) -> list[str]:
    with open_directory(dsn, acting("acme", "viewer")) as directory:
        return [metric.name for metric in directory.metrics.list(regex=regex, **page).items]


DEFINITIONS: dict[str, dict[str, Any]] = {
    "kinds.float": {"value_type": "float", "unit": "celsius", "min_value": -40.0, "max_value": 125.0},
    "kinds.integer": {"value_type": "integer", "unit": "count", "min_value": 0.0, "bounds_action": "mark"},
    "kinds.boolean": {"value_type": "boolean"},
    "kinds.string": {"value_type": "string", "description": "What the display says."},
    "kinds.enum": {"value_type": "enum", "enum_values": ["idle", "baking", "Ofen heiß"]},
    "kinds.json": {"value_type": "json", "json_schema": {"type": "object", "required": ["x"]}},
    "kinds.any_json": {"value_type": "json"},
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_metric_of_every_value_type_is_kept_as_it_was_defined(dsn: str, name: str) -> None:
    made = define(dsn, name, **DEFINITIONS[name])
    with open_directory(dsn, acting("bread", "viewer")) as directory:  # the registry is everybody's
        assert directory.metrics.get(name) == made
    assert {field: getattr(made, field) for field in DEFINITIONS[name]} == DEFINITIONS[name]
    assert [(kind, actor, entity) for kind, actor, entity, _ in told(dsn, name)] == [
        ("metric.created", "editor@acme.example", "acme")
    ]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"name": "Room.Temperature"}, "is no name of a metric"),
        ({"name": "room..temperature"}, "is no name of a metric"),
        ({"name": "room'; DROP TABLE metrics; --"}, "is no name of a metric"),
        ({"name": "a" * 256}, "at most 255 characters"),
        ({"min_value": 5.0, "max_value": 1.0}, "wrong way round: 5 is more than 1"),
        ({"value_type": "string", "max_value": 1.0}, "bounds are for the value types float and integer"),
        ({"unit": "furlongg"}, "'furlongg', the unit of bad.metric, is not known"),
        ({"value_type": "enum"}, "enum_values are for the value type enum, and it needs them"),
        ({"value_type": "float", "enum_values": ["a"]}, "enum_values are for the value type enum"),
        ({"value_type": "enum", "enum_values": ["a", "a"]}, "must differ"),
        ({"value_type": "enum", "enum_values": [""]}, "is empty or longer"),
        ({"value_type": "enum", "enum_values": ["a\x00"]}, "NUL"),
        ({"json_schema": {}}, "a JSON schema is for the value type json"),
        ({"value_type": "json", "json_schema": {"type": "objekt"}}, "is invalid at /type: 'objekt'"),
        ({"value_type": "json", "json_schema": {"properties": {"a": {"minimum": "1"}}}}, "/properties/a/minimum"),
        ({"value_type": "json", "json_schema": {"pattern": "("}}, "is invalid at /pattern"),
        ({"value_type": "json", "json_schema": {"$schema": 7}}, "invalid at /"),
        ({"value_type": "json", "json_schema": {"items": {"$ref": "http://127.0.0.1:1/x"}}}, "own parts only"),
        ({"value_type": "json", "json_schema": {"$ref": "file:///etc/passwd"}}, "own parts only"),
        ({"value_type": "json", "json_schema": {"title": "x" * 70_000}}, "at most 64 KiB"),
        ({"description": "x" * 70_000}, "at most 64 KiB"),
    ],
)
def test_a_definition_that_makes_no_sense_is_refused_and_nothing_is_written(
    dsn: str, fields: dict[str, Any], why: str
) -> None:
    before = names(dsn)
    wanted = {"name": "bad.metric"} | fields
    with pytest.raises(InvalidError, match=re.escape(why)):
        define(dsn, **wanted)
    assert names(dsn) == before
    assert told(dsn, wanted["name"]) == []


def test_a_schema_that_is_nested_without_end_is_refused(dsn: str) -> None:
    schema: dict[str, Any] = {}
    for _ in range(5_000):
        schema = {"not": schema}
    with pytest.raises(InvalidError, match="levels deep"):
        define(dsn, "bad.deep", value_type="json", json_schema=schema)


def test_the_same_definition_again_changes_nothing_and_another_is_a_conflict(dsn: str) -> None:
    made = define(dsn, "again.pressure", unit="hPa")
    assert define(dsn, "again.pressure", unit="hPa") == made
    with pytest.raises(ConflictError, match="defined otherwise; update it instead"):
        define(dsn, "again.pressure", unit="kPa")
    assert len(told(dsn, "again.pressure")) == 1


def test_an_update_changes_what_is_given_and_the_log_tells_old_and_new(dsn: str) -> None:
    define(dsn, "update.flow", unit="l/s", min_value=0.0, max_value=10.0, description="old")
    changed = update(dsn, "update.flow", max_value=None, min_value=1.0)
    assert (changed.min_value, changed.max_value, changed.unit, changed.description) == (1.0, None, "l/s", "old")
    assert update(dsn, "update.flow", min_value=1.0) == changed  # nothing to change, nothing to tell
    assert [data for kind, _, _, data in told(dsn, "update.flow") if kind == "metric.updated"] == [
        {
            "name": "update.flow",
            "changed": {"min_value": {"old": 0.0, "new": 1.0}, "max_value": {"old": 10.0, "new": None}},
        }
    ]
    with pytest.raises(InvalidError, match="wrong way round"):
        update(dsn, "update.flow", max_value=0.5)


def test_a_change_reaches_who_follows_the_metadata(dsn: str) -> None:
    define(dsn, "update.heard")
    with psycopg.connect(dsn, autocommit=True) as listener:
        listener.execute("LISTEN weir_metadata")
        update(dsn, "update.heard", max_value=3.0)
        assert list(listener.notifies(timeout=patient(5), stop_after=1))


def test_type_and_unit_stay_once_sensors_use_the_metric(dsn: str) -> None:
    define(dsn, "used.level", unit="meter")
    assert update(dsn, "used.level", unit="cm").unit == "cm"  # nothing is stored in meters yet
    use(dsn, "used.level", "acme")
    with pytest.raises(ConflictError, match="Sensors use used.level: its value_type stays float"):
        update(dsn, "used.level", value_type="string")
    with pytest.raises(ConflictError, match="its unit stays cm"):
        update(dsn, "used.level", unit="meter", by=SYSTEM)
    assert update(dsn, "used.level", max_value=7.0).max_value == 7.0


def test_a_unit_is_added_to_a_metric_in_use_that_had_none(dsn: str) -> None:
    define(dsn, "used.bare")
    use(dsn, "used.bare", "acme")
    assert update(dsn, "used.bare", unit="kPa").unit == "kPa"


def test_what_others_use_changes_by_a_superuser_only(dsn: str) -> None:
    define(dsn, "shared.humidity", unit="percent")
    use(dsn, "shared.humidity", "bread")
    for role in ("editor", "admin"):
        with pytest.raises(ForbiddenError, match=r"shared\.humidity is shared"):
            update(dsn, "shared.humidity", max_value=100.0, by=acting("acme", role))
    assert update(dsn, "shared.humidity", max_value=100.0, by=acting("bread", "editor")).max_value == 100.0
    assert update(dsn, "shared.humidity", max_value=99.0, by=SYSTEM).max_value == 99.0
    assert [(actor, entity) for _, actor, entity, _ in told(dsn, "shared.humidity")] == [
        ("editor@acme.example", "acme"),
        ("editor@bread.example", "bread"),
        ("weir", "weir"),
    ]


def test_a_superuser_tells_in_the_log_of_weir_which_no_tenant_sees(dsn: str) -> None:
    define(dsn, "system.one", by=SYSTEM)
    define(dsn, "system.two", by=SYSTEM)
    with open_directory(dsn, acting("acme", "admin")) as directory:
        assert not [event for event in directory.events.list().items if event.organisation == "weir"]
        with pytest.raises(NotFoundError):
            directory.entities.get("organisation", "weir")
    assert [entity for _, _, entity, _ in told(dsn, "system.one") + told(dsn, "system.two")] == ["weir", "weir"]


@pytest.mark.parametrize("role", ["viewer", "device"])
def test_less_than_an_editor_changes_no_metric(dsn: str, role: Any) -> None:
    with pytest.raises(ForbiddenError):
        define(dsn, "denied.one", by=acting("acme", role))
    with pytest.raises(ForbiddenError):
        update(dsn, "room.temperature", max_value=1.0, by=acting("acme", role))


def test_what_is_not_there_is_not_found(dsn: str) -> None:
    with pytest.raises(NotFoundError, match=r"There is no metric 'no\.such'"):
        update(dsn, "no.such", max_value=1.0)


def test_names_are_found_by_regular_expression(dsn: str) -> None:
    for name in ("greenhouse.climate.t", "greenhouse.climate.rh", "greenhouse.climates", "old.greenhouse.climate.t"):
        define(dsn, name)
    assert names(dsn, r"^greenhouse\.climate\..*") == ["greenhouse.climate.rh", "greenhouse.climate.t"]
    assert names(dsn, r"climate\.(t|rh)$") == [
        "greenhouse.climate.rh",
        "greenhouse.climate.t",
        "old.greenhouse.climate.t",
    ]
    assert names(dsn, r"(?i)^GREENHOUSE\.climates") == ["greenhouse.climates"]
    assert names(dsn, "' OR true --") == []
    assert names(dsn, "%") == []


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "'(' is invalid at position 0: missing ), unterminated subpattern"),
        ("a[b", "is invalid at position 1: unterminated character set"),
        ("*a", "is invalid at position 0: nothing to repeat"),
        ("a" * 501, "501 characters; at most 500"),
        (r"(.)\1", r"is refused at position 3: '\\1'"),
        ("(?=room)", "is refused at position 0: '(?='"),
        ("(?P<x>a)", "is refused at position 0: '(?P'"),
        ("a{300}", "invalid repetition count"),  # Python takes it, Postgres does not
    ],
)
def test_a_regular_expression_that_is_none_is_refused_and_says_where(dsn: str, pattern: str, why: str) -> None:
    with pytest.raises(InvalidError, match=re.escape(why)):
        names(dsn, pattern)


def test_a_search_that_takes_too_long_is_given_up(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.entities.metrics.SEARCH_MILLISECONDS", 100)
    began = time.monotonic()
    with pytest.raises(InvalidError, match=r"takes more than 0\.1 s; look for something simpler"):
        names(dsn, "(a{0,100}){0,100}c")  # Postgres is busy with it for minutes
    assert time.monotonic() - began < patient(5)


def test_a_search_leaves_the_time_limit_of_the_transaction_as_it_was(dsn: str) -> None:
    with open_directory(dsn, SYSTEM) as directory:
        directory.conn.execute("SET LOCAL statement_timeout = '7s'")
        directory.metrics.list(regex="room")
        assert directory.rows("SHOW statement_timeout") == [{"statement_timeout": "7s"}]


def test_pages_hold_every_metric_once_while_others_come(dsn: str) -> None:
    for letter in "aceg":
        define(dsn, f"paged.{letter}")
    with open_directory(dsn, SYSTEM) as directory:
        first = directory.metrics.list(regex=r"^paged\.", limit=2)
    define(dsn, "paged.b")
    define(dsn, "paged.d")
    rest = names(dsn, r"^paged\.", cursor=first.next_cursor)
    assert [metric.name for metric in first.items] + rest == [f"paged.{letter}" for letter in "acdeg"]
