"""``weir metrics``: the registry of what can be measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any, Final, TypeVar

import click

from connectors.entities.metric_models import MetricCreate, MetricUpdate
from weir.cli.acting import directory, record
from weir.cli.entity_options import json_option
from weir.cli.entity_table import fields_of, print_fields
from weir.cli.listing import Column, asked, every, list_options, most, print_list
from weir.cli.metrics_export import export_metrics
from weir.cli.metrics_import import import_metrics
from weir.cli.property_options import json_object
from weir.errors import UsageError

COLUMNS = (
    Column("metric", "name"),
    Column("type", "value_type"),
    Column("unit", "unit"),
    Column("min", "min_value", "number"),
    Column("max", "max_value", "number"),
    Column("out of bounds", "bounds_action"),
    Column("description", "description"),
)

TYPES: Final = ("float", "integer", "boolean", "string", "json", "enum")
CLEARED: Final = ("min_value", "max_value", "json_schema")

Command = TypeVar("Command", bound=Callable[..., Any])


def _definition_options(wrapped: Command) -> Command:
    """Add what both `add` and `set` may say of a metric."""
    options = (
        click.option("--unit", help="Base unit: readings in another unit of its kind are converted to it."),
        click.option("--min", "min_value", type=float, help="Smallest plausible value, in the base unit."),
        click.option("--max", "max_value", type=float, help="Largest plausible value, in the base unit."),
        click.option(
            "--bounds",
            "bounds_action",
            type=click.Choice(["reject", "mark"]),
            help="A value out of bounds is a dead letter (reject), or stored with the quality out_of_bounds (mark).",
        ),
        click.option(
            "--enum", "enum_values", multiple=True, metavar="TEXT", help="A text it may take. Repeat for each."
        ),
        click.option("--schema", type=click.File("r", encoding="utf-8"), help="JSON Schema of json values, in a file."),
        click.option("--description", help="What it is."),
    )
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


@click.group(name="metrics")
def command() -> None:
    """Metrics: what sensors measure, with type of value, unit and bounds; the same for all organisations."""


command.add_command(import_metrics)
command.add_command(export_metrics)


@command.command(name="list")
@click.option("--regex", metavar="PATTERN", help=r"Whose names match this, such as '^greenhouse\.climate\.'.")
@list_options
def list_metrics(regex: str | None, form: str | None, limit: int | None) -> None:
    r"""List metrics by name.

    \b
    Example:
      weir metrics list
      weir metrics list --regex '^environment\.' --json

    Exit codes: 0 done, also when there are none; 1 Postgres is away; 2 wrong usage, pattern or settings.
    """
    wanted = asked(form, limit)
    with directory() as metadata:
        found = every(lambda size, cursor: metadata.metrics.list(regex=regex, limit=size, cursor=cursor), most(wanted))
        print_list((fields_of(each) for each in found), COLUMNS, wanted, "No metrics.")


@command.command(name="show")
@click.argument("name", metavar="METRIC")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show everything of one metric.

    \b
    Example:
      weir metrics show environment.temperature

    Exit codes: 0 done; 1 Postgres is away; 2 there is no such metric, or wrong usage or settings.
    """
    with directory() as metadata:
        print_fields(fields_of(metadata.metrics.get(name)), as_json)


@command.command(name="add")
@click.argument("name", metavar="METRIC")
@click.option(
    "--type", "value_type", type=click.Choice(TYPES), default="float", show_default=True, help="Of its values."
)
@_definition_options
@json_option
def add(name: str, enum_values: tuple[str, ...], schema: IO[str] | None, as_json: bool, **given: Any) -> None:
    """Add a metric. METRIC is its name: lower case words joined by dots. The same again changes nothing.

    \b
    Example:
      weir metrics add greenhouse.climate.humidity --unit percent --min 0 --max 100
      weir metrics add kiln.state --type enum --enum idle --enum firing --enum cooling

    Exit codes: 0 done; 1 Postgres is away; 2 it is defined otherwise, or wrong usage, definition or settings.
    """
    wanted = record(MetricCreate, name=name, **_shape(enum_values, schema), **given)
    with directory() as metadata:
        made = metadata.metrics.define(wanted)
    if as_json:
        print_fields(fields_of(made), True)
    else:
        click.echo(f"Metric {made.name} is defined.")


@command.command(name="set")
@click.argument("name", metavar="METRIC")
@click.option("--type", "value_type", type=click.Choice(TYPES), help="Of its values; not while sensors use it.")
@_definition_options
@click.option("--clear", multiple=True, type=click.Choice(CLEARED), help="Take this away. May be repeated.")
def change(
    name: str, enum_values: tuple[str, ...], schema: IO[str] | None, clear: tuple[str, ...], **given: Any
) -> None:
    """Change a metric; what is not named stays. Workers follow within two seconds.

    \b
    Example:
      weir metrics set greenhouse.climate.humidity --bounds mark
      weir metrics set greenhouse.climate.humidity --clear max_value

    Exit codes: 0 done; 1 Postgres is away; 2 there is no such metric, or wrong usage, definition or settings.
    """
    fields = {key: value for key, value in {**given, **_shape(enum_values, schema)}.items() if value is not None}
    both = [field for field in clear if field in fields]
    if both or not (fields or clear):
        told = f"{both[0]} cannot be set and cleared at once" if both else "say what to change, such as --max 50"
        raise UsageError(f"Nothing was changed: {told}.")
    update = record(MetricUpdate, **fields)
    if clear:
        update = MetricUpdate.model_validate(update.model_dump(exclude_unset=True) | dict.fromkeys(clear))
    with directory() as metadata:
        made = metadata.metrics.update(name, update)
    click.echo(f"Metric {made.name} set.")


def _shape(enum_values: tuple[str, ...], schema: IO[str] | None) -> dict[str, Any]:
    try:
        return {
            "enum_values": list(enum_values) or None,
            "json_schema": None if schema is None else json_object(schema.read(), schema.name),
        }
    except UnicodeDecodeError as error:
        raise UsageError("The schema is no UTF-8 text; it must hold one JSON object.") from error
