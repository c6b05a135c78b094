"""How entities are shown: a row of a list, or everything of one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import click
from pydantic import BaseModel
from rich.console import Console
from rich.text import Text

from connectors.entities.directory import Directory
from connectors.entities.models import Entity, PropertyRange
from weir.cli.listing import Asked, Column, every, json_text, most, print_list
from weir.cli.result_table import printable

ENTITY_COLUMNS: Final = {
    "organisation": (Column("organisation", "key"), Column("name", "name"), Column("status", "status")),
    "project": (
        Column("project", "key"),
        Column("organisation", "organisation"),
        Column("name", "name"),
        Column("status", "status"),
    ),
    "device": (
        Column("device", "key"),
        Column("type", "entity_type"),
        Column("organisation", "organisation"),
        Column("name", "name"),
        Column("status", "status"),
    ),
    "sensor": (
        Column("device", "parent"),
        Column("sensor", "key"),
        Column("metric", "metric"),
        Column("unit", "unit"),
        Column("min", "min_value", "number"),
        Column("max", "max_value", "number"),
        Column("organisation", "organisation"),
    ),
    "user": (
        Column("user", "key"),
        Column("organisation", "organisation"),
        Column("name", "name"),
        Column("status", "status"),
    ),
}
"""Columns of a table of each kind; the forms for scripts have every field."""

SENSOR_FIELDS: Final = ("metric", "unit", "min_value", "max_value")
"""Properties of a sensor that its row shows like fields of its own."""


def fields_of(item: BaseModel) -> dict[str, Any]:
    """A record as JSON has it; of a sensor, what its readings need stands beside its properties."""
    fields = item.model_dump(mode="json")
    if isinstance(item, Entity) and item.entity_type == "sensor":
        fields |= {name: item.properties.get(name) for name in SENSOR_FIELDS}
    return fields


def print_entities(directory: Directory, kind: str, wanted: Asked, search: Mapping[str, Any], nothing: str) -> None:
    """Print the entities of a kind that a search finds; what is retired is called so in the table."""
    shown = _listed if wanted.form == "table" else fields_of
    items = (shown(entity) for entity in found(directory, kind, most(wanted), search))
    print_list(items, ENTITY_COLUMNS[kind], wanted, nothing)


def found(directory: Directory, kind: str, limit: int | None, search: Mapping[str, Any]) -> Iterator[Entity]:
    """Entities of a kind, or of the type in it, that a search finds, page after page."""
    asked_for = {"entity_type": kind, **search}
    return every(lambda size, cursor: directory.entities.list(**asked_for, limit=size, cursor=cursor), limit)


def _listed(entity: Entity) -> dict[str, Any]:
    fields = fields_of(entity)
    return fields if entity.is_active else fields | {"status": f"{entity.status}, retired"}


def search_of(
    organisation: str | None,
    status: str | None,
    retired: bool,
    contains: dict[str, Any] | None,
    ranges: Sequence[PropertyRange],
) -> dict[str, Any]:
    """What the options of a list ask of the service."""
    return {
        "organisation": organisation,
        "status": status,
        "include_inactive": retired,
        "contains": contains,
        "ranges": ranges,
    }


def print_fields(fields: Mapping[str, Any], as_json: bool) -> None:
    """Print one thing: a line a field for a person, or one JSON object."""
    if as_json:
        click.echo(json_text(dict(fields)))
        return
    console = Console(highlight=False)
    margin = max(len(name) for name in fields)
    for name, value in fields.items():
        lines = _lines(value)
        title = Text(f"{name.replace('_', ' '):>{margin}}  ", style="bold")
        console.print(title.append(printable(lines[0]), style="not bold"), soft_wrap=True)
        for line in lines[1:]:
            console.print(Text(f"{'':>{margin}}  {printable(line)}"), soft_wrap=True)


def _lines(value: object) -> list[str]:
    if value is None or value in ({}, []):
        return ["-"]
    if isinstance(value, bool):
        return ["yes" if value else "no"]
    if isinstance(value, dict | list):
        return json.dumps(value, indent=2, ensure_ascii=False, default=str).splitlines()
    return str(value).splitlines() or ["-"]


def told(verb: str, entity: Entity) -> None:
    """Say what was done to an entity, on stdout."""
    kind = entity.entity_type.partition(".")[0]
    of = f" of {entity.parent}" if entity.parent else ""
    click.echo(f"{kind.capitalize()} {printable(entity.key)}{printable(of)} {verb}.")
