"""``weir events``: what happened to the metadata, and who did it."""

from __future__ import annotations

import time
from itertools import islice
from typing import Any, Final
from uuid import UUID

import click

from connectors.entities.directory import Directory
from connectors.entities.errors import NotFoundError
from connectors.entities.event_tail import EventTail
from weir.cli.acting import directory
from weir.cli.entity_table import fields_of
from weir.cli.listing import (
    Asked,
    Column,
    asked,
    cell_text,
    every,
    json_text,
    list_options,
    most,
    print_list,
    while_somebody_reads,
)
from weir.cli.result_table import printable
from weir.cli.times import time_ago
from weir.errors import UsageError

COLUMNS = (
    Column("time", "ts", "time"),
    Column("event", "event_type"),
    Column("entity", "entity_key"),
    Column("type", "entity_type"),
    Column("organisation", "organisation"),
    Column("by", "actor"),
    Column("data", "data"),
)

LOOK_SECONDS: Final = 0.5
"""Between two looks with --follow."""

KINDS: Final = ("device", "project", "organisation", "user")
"""What a plain key may mean, in this order."""


@click.command(name="events")
@click.option(
    "--entity",
    metavar="[KIND/]KEY",
    help="Of this device, project, organisation or user, such as acme-esp32-001; of another type as tank/T1, and of a "
    "sensor as sensor/DEVICE/NAME.",
)
@click.option("--type", "event_type", metavar="TYPE", help="Such as device.created, or a whole family, such as device.")
@click.option("--since", metavar="TIME", help="Then or later: an ISO time (UTC), or 30m, 2h, 7d ago.")
@click.option("--until", metavar="TIME", help="Before then.")
@click.option("--follow", is_flag=True, help="Show new ones as they happen, until Ctrl-C.")
@list_options
def command(
    entity: str | None,
    event_type: str | None,
    since: str | None,
    until: str | None,
    follow: bool,
    form: str | None,
    limit: int | None,
) -> None:
    """Show events of the metadata, newest first; with --follow those from now on, one a line.

    \b
    Example:
      weir events --since 1d --type device
      weir events --entity acme-esp32-001 --json
      weir events --follow --jsonl

    Exit codes: 0 done, also when there are none; 1 Postgres is away; 2 wrong usage or settings; 130 interrupted.
    """
    wanted = asked(form, limit)
    if follow and (since or until or wanted.form in ("json", "csv")):
        raise UsageError("--follow shows what happens from now on, as text or --jsonl; leave --since and --until out.")
    with directory() as metadata:
        entity_id = entity_named(metadata, entity)
        search: dict[str, Any] = {"entity_id": entity_id, "event_type": event_type}
        if not follow:
            search |= {"since": time_ago(since), "until": time_ago(until)}
            found = every(
                lambda size, cursor: metadata.events.list(**search, limit=size, cursor=cursor),
                most(wanted),
            )
            print_list((fields_of(each) for each in found), COLUMNS, wanted, "No events.")
            return
    with while_somebody_reads():
        _follow(search, wanted)


def entity_named(metadata: Directory, text: str | None) -> UUID | None:
    """Entity id of what --entity names; a device's id may hold a slash itself.

    Raises :class:`~connectors.entities.errors.NotFoundError`.
    """
    if text is None:
        return None
    kind, _, key = text.partition("/")
    device, _, sensor = key.partition("/")
    named = [("sensor", sensor, device)] if kind == "sensor" else [(kind, key, None)] if key else []
    for candidate in [*named, *((plain, text, None) for plain in KINDS)]:
        try:
            return metadata.entities.get(*candidate).id
        except NotFoundError:
            continue
    raise NotFoundError(f"There is no device, project, organisation or user {text!r}.")


def _follow(search: dict[str, Any], wanted: Asked) -> None:
    """Look again and again, each time in a transaction of its own, until --limit events were shown."""
    shown = 0
    with directory() as metadata:
        tail = EventTail(metadata)
    click.echo("Following from now on; Ctrl-C ends it.", err=True)
    while wanted.limit is None or shown < wanted.limit:
        with directory() as metadata:
            rest = wanted.limit - shown if wanted.limit is not None else None
            for event in islice(tail.more(metadata, **search), rest):
                fields = fields_of(event)
                click.echo(json_text(fields) if wanted.form == "jsonl" else _line(fields))
                shown += 1
        time.sleep(LOOK_SECONDS)


def _line(fields: dict[str, Any]) -> str:
    return printable("  ".join(cell_text(fields[column.field]) for column in COLUMNS))
