"""The registry of metrics: what can be measured, as which kind of value, in which unit, within which bounds.

Every organisation uses the same registry. An editor may define a metric and change one that no other organisation's
sensors use; what is shared changes by a superuser. What happens is told in the log of the acting organisation, and for
a superuser in that of the organisation ``weir``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, LiteralString

from psycopg import errors

from connectors.entities.documents import document
from connectors.entities.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from connectors.entities.metric_models import Metric, MetricCreate, MetricUpdate
from connectors.entities.metric_rules import check_metric
from connectors.entities.pages import MOST_ITEMS, Page, checked_limit, page_of, position_of
from connectors.entities.patterns import checked_pattern
from connectors.entities.tenancy import acting_organisation
from connectors.entities.values import checked_text, same_json

if TYPE_CHECKING:
    from connectors.entities.directory import Directory

MOST_SCHEMA_BYTES: Final = 65_536
SEARCH_MILLISECONDS: Final = 2_000
"""A search by regular expression that takes longer is given up: 100,000 names take 0.1 s."""

_COLUMNS: Final[LiteralString] = """
    name, value_type, unit, min_value, max_value, bounds_action, enum_values, json_schema, description, created_at,
    updated_at
"""


class Metrics:
    """The metrics of everybody; seeing them takes a viewer, changing them an editor."""

    def __init__(self, directory: Directory) -> None:
        """Work in the transaction of ``directory``."""
        self._directory = directory

    def define(self, wanted: MetricCreate) -> Metric:
        """Add a metric; the same again changes nothing."""
        self._directory.actor.require("editor", "define metrics")
        values = self._values(wanted)
        check_metric(wanted)
        added = self._directory.write(
            """
            INSERT INTO metrics (name, value_type, unit, min_value, max_value, bounds_action, enum_values, json_schema,
                                 description)
            VALUES (%(name)s, %(value_type)s, %(unit)s, %(min_value)s, %(max_value)s, %(bounds_action)s,
                    %(enum_values)s, %(json_schema)s, %(description)s)
            ON CONFLICT (name) DO NOTHING RETURNING name
            """,
            values,
        )
        metric = self.get(wanted.name)
        if added:
            self._tell("metric.created", wanted.model_dump(mode="json"))
        elif MetricCreate(**_definition(metric)) != wanted:
            raise ConflictError(f"There is a metric {wanted.name} already, defined otherwise; update it instead.")
        return metric

    def update(self, name: str, change: MetricUpdate) -> Metric:
        """Change the fields that are given; the value type and unit stay as they are once sensors use the metric."""
        self._directory.actor.require("editor", "change metrics")
        self._lock(name)  # what is read from here on stays as it is until this is written
        old = _definition(self.get(name))
        given = change.model_dump(exclude_unset=True)
        new = MetricCreate(
            **old | {field: value for field, value in given.items() if value is not None or field in _OPTIONAL}
        )
        values = self._values(new)
        check_metric(new)
        wanted = new.model_dump(mode="json")
        changed = {field: value for field, value in wanted.items() if not same_json(value, old[field])}
        if not changed:
            return self.get(name)
        self._refuse_foreign(name)
        self._refuse_other_meaning(name, old, changed)
        self._directory.write(
            """
            UPDATE metrics
            SET value_type = %(value_type)s, unit = %(unit)s, min_value = %(min_value)s, max_value = %(max_value)s,
                bounds_action = %(bounds_action)s, enum_values = %(enum_values)s, json_schema = %(json_schema)s,
                description = %(description)s, updated_at = clock_timestamp()
            WHERE name = %(name)s RETURNING name
            """,
            values,
        )
        told = {field: {"old": old[field], "new": value} for field, value in changed.items()}
        self._tell("metric.updated", {"name": name, "changed": told})
        return self.get(name)

    def get(self, name: str) -> Metric:
        """One metric."""
        self._directory.actor.require("viewer", "see metrics")
        rows = self._directory.rows("SELECT" + _COLUMNS + "FROM metrics WHERE name = %(name)s", {"name": name})
        if not rows:
            raise NotFoundError(f"There is no metric {name!r}.")
        return Metric(**rows[0])

    def list(self, *, regex: str | None = None, limit: int = MOST_ITEMS, cursor: str | None = None) -> Page[Metric]:
        r"""Metrics in the order of their names; ``regex`` finds those that it matches anywhere, as Postgres' ``~``.

        ``^greenhouse\.climate\.`` finds the names that begin so.
        """
        self._directory.actor.require("viewer", "see metrics")
        pattern = checked_pattern(regex) if regex is not None else None
        after = position_of(cursor, str)[0] if cursor else None
        before = self._directory.rows("SELECT current_setting('statement_timeout') AS time")[0]["time"]
        self._time_out(f"{SEARCH_MILLISECONDS}ms" if pattern is not None else before)
        try:
            rows = self._directory.rows(
                "SELECT"
                + _COLUMNS
                + """
                FROM metrics
                WHERE (%(pattern)s::text IS NULL OR name ~ %(pattern)s)
                  AND (%(after)s::text IS NULL OR name COLLATE "C" > %(after)s)
                ORDER BY name COLLATE "C" LIMIT %(limit)s + 1
                """,
                {"pattern": pattern, "after": after, "limit": checked_limit(limit)},
            )
        except errors.QueryCanceled as error:
            raise InvalidError(
                f"The regular expression {regex!r} takes more than"
                f" {SEARCH_MILLISECONDS / 1000:g} s; look for something simpler."
            ) from error
        self._time_out(before)
        return page_of([Metric(**row) for row in rows], limit, lambda metric: (metric.name,))

    def _values(self, metric: MetricCreate) -> dict[str, Any]:
        for value in (metric.unit, metric.description, *(metric.enum_values or [])):
            checked_text(value, f"a text of {metric.name}")
        schema = metric.json_schema
        text: str | None
        if isinstance(schema, dict):
            text = document(self._directory, schema, f"the JSON schema of {metric.name}", MOST_SCHEMA_BYTES)
        else:
            text = None if schema is None else json.dumps(schema)
        return metric.model_dump(exclude={"json_schema"}) | {"json_schema": text}

    def _lock(self, name: str) -> None:
        """Sensors that begin to use the metric now wait until it has changed, or are seen."""
        self._directory.write("SELECT name FROM metrics WHERE name = %(name)s FOR UPDATE", {"name": name})

    def _refuse_foreign(self, name: str) -> None:
        organisation = self._directory.actor.organisation
        if organisation is None:
            return
        foreign = self._directory.rows(
            "SELECT EXISTS (SELECT FROM entities s JOIN entities o ON o.id = s.organisation_id"
            " WHERE s.entity_type = 'sensor' AND s.metric = %(name)s AND o.key <> %(organisation)s) AS any",
            {"name": name, "organisation": organisation},
        )
        if foreign[0]["any"]:
            raise ForbiddenError(f"Metric {name} is shared: others use it, too; only a superuser changes it.")

    def _refuse_other_meaning(self, name: str, old: dict[str, Any], changed: dict[str, Any]) -> None:
        """What is stored of a metric is in its unit and of its type: neither can change behind the stored values."""
        meaning = [field for field in ("value_type", "unit") if field in changed and old[field]]
        if not meaning:
            return
        used = self._directory.rows(
            "SELECT EXISTS (SELECT FROM entities WHERE entity_type = 'sensor' AND metric = %(name)s) AS any",
            {"name": name},
        )
        if used[0]["any"]:
            raise ConflictError(
                f"Sensors use {name}: its {meaning[0]} stays {old[meaning[0]]}; define another metric for"
                f" {changed[meaning[0]] or 'none'}."
            )

    def _tell(self, event_type: str, data: dict[str, Any]) -> None:
        self._directory.events.record(event_type, acting_organisation(self._directory), data)

    def _time_out(self, time: str) -> None:
        self._directory.rows("SELECT set_config('statement_timeout', %(time)s, true)", {"time": time})


_OPTIONAL: Final = frozenset({"min_value", "max_value", "enum_values", "json_schema"})


def _definition(metric: Metric) -> dict[str, Any]:
    return metric.model_dump(include=set(MetricCreate.model_fields))
