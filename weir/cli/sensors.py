"""``weir sensors``: what a device measures."""

from __future__ import annotations

from typing import Any

import click

from connectors.entities.models import EntityCreate
from weir.cli.acting import directory, record
from weir.cli.entity_changes import retire_entity, set_entity
from weir.cli.entity_options import changed, described, json_option, org_option, retired_option
from weir.cli.entity_table import fields_of, print_entities, print_fields, search_of, told
from weir.cli.listing import asked, list_options
from weir.cli.property_options import contained, properties_of, ranges_of, search_options

KIND = "sensor"


@click.group(name="sensors")
def command() -> None:
    """Sensors: each belongs to a device and measures a metric."""


@command.command(name="list")
@click.option("--device", metavar="ID", help="Of this device.")
@org_option
@click.option("--metric", metavar="NAME", help="That measure this metric.")
@search_options
@retired_option
@list_options
def list_sensors(
    device: str | None,
    organisation: str | None,
    metric: str | None,
    contains: str | None,
    ranges: tuple[str, ...],
    retired: bool,
    form: str | None,
    limit: int | None,
) -> None:
    """List sensors with their metric, and the unit and bounds that they set themselves.

    \b
    Example:
      weir sensors list --device acme-esp32-001
      weir sensors list --metric environment.temperature --csv

    Exit codes: 0 done, also when there are none; 1 Postgres is away; 2 wrong usage or settings.
    """
    inside = (contained(contains) or {}) | ({"metric": metric} if metric else {})
    search = search_of(organisation, None, retired, inside or None, ranges_of(ranges))
    with directory() as metadata:
        print_entities(metadata, KIND, asked(form, limit), search | {"parent": device}, "No sensors.")


@command.command(name="show")
@click.argument("device")
@click.argument("sensor")
@json_option
def show(device: str, sensor: str, as_json: bool) -> None:
    """Show everything of one sensor.

    \b
    Example:
      weir sensors show acme-esp32-001 temperature

    Exit codes: 0 done; 1 Postgres is away; 2 there is no such sensor, or wrong usage or settings.
    """
    with directory() as metadata:
        print_fields(fields_of(metadata.entities.get(KIND, sensor, device)), as_json)


@command.command(name="add")
@click.argument("device")
@click.argument("sensor")
@click.option("--metric", required=True, metavar="NAME", help="What it measures.")
@click.option("--unit", help="Unit in which it sends. Default: that of the metric.")
@click.option("--min", "min_value", type=float, help="Smallest plausible value. Default: that of the metric.")
@click.option("--max", "max_value", type=float, help="Largest plausible value. Default: that of the metric.")
@described
@json_option
def add(device: str, sensor: str, properties: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Add a sensor to a device.

    \b
    Example:
      weir sensors add my-node-1 temperature --metric environment.temperature --min -10 --max 45

    Exit codes: 0 done; 1 Postgres is away; 2 it is there already, no such device, or wrong usage or settings.
    """
    own = {name: given.pop(name) for name in ("metric", "unit", "min_value", "max_value")}
    values = properties_of(properties) | {name: value for name, value in own.items() if value is not None}
    with directory() as metadata:
        organisation = metadata.entities.get("device", device).organisation
        wanted = record(
            EntityCreate,
            entity_type=KIND,
            key=sensor,
            parent=device,
            organisation=organisation,
            properties=values,
            **given,
        )
        made = metadata.entities.create(wanted)
    print_fields(fields_of(made), True) if as_json else told("added", made)


@command.command(name="set")
@click.argument("device")
@click.argument("sensor")
@click.option("--metric", metavar="NAME", help="What it measures.")
@click.option("--unit", help="Unit in which it sends.")
@click.option("--min", "min_value", type=float, help="Smallest plausible value.")
@click.option("--max", "max_value", type=float, help="Largest plausible value.")
@changed
def change(device: str, sensor: str, **given: Any) -> None:
    """Change a sensor; what is not named stays, and --property max_value=null takes a bound away.

    \b
    Example:
      weir sensors set my-node-1 temperature --max 50
      weir sensors set my-node-1 temperature --property 'alert={"max": 40, "hysteresis": 1}'

    Exit codes: 0 done; 1 Postgres is away; 2 there is no such sensor, or wrong usage, properties or settings.
    """
    set_entity(KIND, sensor, given, device)


@command.command(name="retire")
@click.argument("device")
@click.argument("sensor")
def retire(device: str, sensor: str) -> None:
    """Retire a sensor: its readings are refused from now on. A second time changes nothing.

    \b
    Example:
      weir sensors retire my-node-1 temperature

    Exit codes: 0 done; 1 Postgres is away; 2 there is no such sensor, or wrong usage or settings.
    """
    retire_entity(KIND, sensor, device)
