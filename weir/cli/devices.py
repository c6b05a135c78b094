"""``weir devices``: what sends readings."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from connectors.entities.directory import Directory
from connectors.entities.models import Entity, EntityCreate
from weir.cli.acting import directory, record
from weir.cli.device_commands import commands
from weir.cli.devices_export import export_devices
from weir.cli.devices_import import import_devices
from weir.cli.entity_changes import add_entity, retire_entity, set_entity
from weir.cli.entity_options import changed, described, json_option, org_option, retired_option
from weir.cli.entity_table import ENTITY_COLUMNS, fields_of, print_entities, print_fields, search_of, told
from weir.cli.listing import asked, list_options, print_list
from weir.cli.property_options import contained, properties_of, ranges_of, search_options
from weir.cli.times import time_ago
from weir.errors import UsageError

KIND = "device"


@click.group(name="devices")
def command() -> None:
    """Devices and equipment: each has sensors, and may be in a project."""


command.add_command(commands)
command.add_command(import_devices)
command.add_command(export_devices)


@command.command(name="list")
@org_option
@click.option("--project", metavar="ID", help="In this project now.")
@click.option(
    "--type", "entity_type", metavar="TYPE", help="Of this type or a subtype of it, such as device.esp32 or equipment."
)
@click.option("--status", metavar="WORD", help="In this state.")
@search_options
@retired_option
@list_options
def list_devices(
    organisation: str | None,
    project: str | None,
    entity_type: str | None,
    status: str | None,
    contains: str | None,
    ranges: tuple[str, ...],
    retired: bool,
    form: str | None,
    limit: int | None,
) -> None:
    """List devices, oldest first; equipment with --type equipment.

    \b
    Example:
      weir devices list --org acme-research-labs
      weir devices list --type device.esp32 --contains '{"firmware": {"version": "1.0.0"}}'
      weir devices list --range config.readingInterval::120 --jsonl

    Exit codes: 0 done, also when there are none; 1 Postgres is away; 2 wrong usage or settings.
    """
    wanted = asked(form, limit)
    inside, between = contained(contains), ranges_of(ranges)
    with directory() as metadata:
        if project is None:
            search = search_of(organisation, status, retired, inside, between)
            print_entities(metadata, KIND, wanted, search | {"entity_type": entity_type or KIND}, "No devices.")
            return
        if any((organisation, entity_type, status, inside, between)):
            raise UsageError("--project lists all devices of a project; leave the other filters out.")
        devices = [fields_of(each) for each in _devices_of(metadata, project, retired)]
        print_list(devices, ENTITY_COLUMNS[KIND], wanted, "No devices.")


def _devices_of(metadata: Directory, project: str, retired: bool) -> list[Entity]:
    inside = metadata.entities.get("project", project).id
    reached = metadata.relationships.descendants(inside, relationship_types=["contains"], max_depth=1)
    return [each.entity for each in reached if retired or each.entity.is_active]


@command.command(name="show")
@click.argument("device")
@json_option
def show(device: str, as_json: bool) -> None:
    """Show everything of one device, with its project and its sensors.

    \b
    Example:
      weir devices show acme-esp32-001

    Exit codes: 0 done; 1 Postgres is away; 2 there is no such device, or wrong usage or settings.
    """
    with directory() as metadata:
        found = metadata.entities.get(KIND, device)
        now = datetime.now(UTC)
        inside = metadata.relationships.of(found.id, relationship_type="contains", direction="to", at=now).items
        sensors = metadata.entities.list(entity_type="sensor", parent=device).items
    fields = fields_of(found) | {
        "project": inside[0].from_key if inside else None,
        "sensors": {sensor.key: sensor.properties for sensor in sensors},
    }
    print_fields(fields, as_json)


@command.command(name="add")
@click.argument("device")
@click.option("--org", "organisation", metavar="ID", required=True, help="Organisation that owns it.")
@click.option("--type", "entity_type", metavar="TYPE", default=KIND, show_default=True, help="Such as device.esp32.")
@click.option("--project", metavar="ID", help="Project that it is in, for all readings so far, too.")
@described
@json_option
def add(device: str, properties: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Add a device. DEVICE is the id that its readings carry, unique everywhere; `weir sensors add` adds its sensors.

    \b
    Example:
      weir devices add my-node-1 --org my-lab --type device --project ales --property location="Cellar 2"

    Exit codes: 0 done; 1 Postgres is away; 2 it is there already, or wrong usage, properties or settings.
    """
    wanted = record(EntityCreate, key=device, properties=properties_of(properties), **given)
    add_entity(wanted, as_json)


@command.command(name="set")
@click.argument("device")
@changed
def change(device: str, **given: Any) -> None:
    """Change a device; what is not named stays.

    \b
    Example:
      weir devices set my-node-1 --status maintenance
      weir devices set my-node-1 --property config.silentAfterSeconds=600

    Exit codes: 0 done; 1 Postgres is away; 2 there is no such device, or wrong usage, properties or settings.
    """
    set_entity(KIND, device, given)


@command.command(name="retire")
@click.argument("device")
def retire(device: str) -> None:
    """Retire a device: its readings are refused from now on, and its id stays taken. A second time changes nothing.

    \b
    Example:
      weir devices retire my-node-1

    Exit codes: 0 done; 1 Postgres is away; 2 there is no such device, or wrong usage or settings.
    """
    retire_entity(KIND, device)


@command.command(name="move")
@click.argument("device")
@click.option("--project", metavar="ID", help="The project that it goes to.")
@click.option("--none", "out", is_flag=True, help="Out of its project, into none.")
@click.option("--at", metavar="TIME", help="When it moved: an ISO time (UTC), or 30m, 2h, 7d ago. Default: now.")
def move(device: str, project: str | None, out: bool, at: str | None) -> None:
    """Move a device to another project: readings before that time keep the old one, also when they come late.

    \b
    Example:
      weir devices move my-node-1 --project lagers
      weir devices move my-node-1 --project lagers --at 2026-11-20T08:00

    Exit codes: 0 done; 1 Postgres is away; 2 no such device or project, it was elsewhere then, or wrong usage.
    """
    if (project is None) != out:
        raise UsageError("Say --project ID, or --none, one of the two.")
    when = time_ago(at)
    with directory() as metadata:
        found = metadata.entities.get(KIND, device)
        target = metadata.entities.get("project", project).id if project is not None else None
        metadata.relationships.move(found.id, target, when)
    told(f"moved to {project}" if project else "moved out of its project", found)
