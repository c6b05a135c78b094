"""``weir schemas``: which properties an entity of a type has."""

from __future__ import annotations

from typing import IO

import click

from connectors.entities.models import SchemaCreate
from weir.cli.acting import directory, record
from weir.cli.entity_options import json_option
from weir.cli.entity_table import fields_of, print_fields
from weir.cli.listing import Column, asked, every, list_options, most, print_list
from weir.cli.property_options import json_object
from weir.errors import UsageError

COLUMNS = (
    Column("type", "entity_type"),
    Column("version", "version", "number"),
    Column("organisation", "organisation"),
    Column("by", "created_by"),
    Column("since", "valid_from", "time"),
    Column("description", "description"),
)

version_option = click.option("--version", type=click.IntRange(min=1), help="Default: the newest.")


@click.group(name="schemas")
def command() -> None:
    """Schemas: versioned definitions of entity types; a type exists as soon as it has one."""


@command.command(name="list")
@click.option("--type", "entity_type", metavar="TYPE", help="Of this type only.")
@click.option("--org", "organisation", metavar="ID", help="As this organisation sees them: shared ones and its own.")
@list_options
def list_schemas(entity_type: str | None, organisation: str | None, form: str | None, limit: int | None) -> None:
    """List schemas in the order in which they were added; without an organisation they are for all.

    \b
    Example:
      weir schemas list
      weir schemas list --type device.esp32 --json

    Exit codes: 0 done, also when there are none; 1 Postgres is away; 2 wrong usage or settings.
    """
    wanted = asked(form, limit)
    with directory() as metadata:
        found = every(
            lambda size, cursor: metadata.schemas.list(
                entity_type=entity_type, organisation=organisation, limit=size, cursor=cursor
            ),
            most(wanted),
        )
        print_list((fields_of(each) for each in found), COLUMNS, wanted, "No schemas.")


@command.command(name="show")
@click.argument("entity_type", metavar="TYPE")
@version_option
@click.option("--org", "organisation", metavar="ID", help="As this organisation sees it. Default: the shared one.")
@json_option
def show(entity_type: str, version: int | None, organisation: str | None, as_json: bool) -> None:
    """Show one version of a type's schema.

    \b
    Example:
      weir schemas show device.esp32
      weir schemas show device.esp32 --version 1 --json

    Exit codes: 0 done; 1 Postgres is away; 2 there is no such schema, or wrong usage or settings.
    """
    with directory() as metadata:
        print_fields(fields_of(metadata.schemas.get(entity_type, version, organisation=organisation)), as_json)


@command.command(name="add")
@click.argument("entity_type", metavar="TYPE")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option("--org", "organisation", metavar="ID", help="For this organisation only. Default: for all.")
@click.option("--description", default="", help="What is new in this version.")
@json_option
def add(entity_type: str, file: IO[str], organisation: str | None, description: str, as_json: bool) -> None:
    """Add the next version of a type, as FILE defines it in JSON; - is standard input.

    A version is accepted only if everything that fitted the version before still fits.

    \b
    Example:
      weir schemas add device.kiln kiln.json --description "Kilns of the pottery"
      echo '{"litres": {"type": "number", "min": 0}}' | weir schemas add tank -

    Exit codes: 0 added; 1 Postgres is away; 2 a definition that makes no sense or breaks the one before, wrong usage.
    """
    definition = json_object(_text(file), file.name)
    wanted = record(
        SchemaCreate,
        entity_type=entity_type,
        definition=definition,
        organisation=organisation,
        description=description,
    )
    with directory() as metadata:
        made = metadata.schemas.add(wanted)
    if as_json:
        print_fields(fields_of(made), True)
    else:
        click.echo(f"Schema of {made.entity_type} added as version {made.version}.")


@command.command(name="check")
@click.argument("entity_type", metavar="TYPE")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@version_option
@click.option("--org", "organisation", metavar="ID", help="As this organisation sees it. Default: the shared one.")
def check(entity_type: str, file: IO[str], version: int | None, organisation: str | None) -> None:
    """Check the properties in FILE against a type, and print them with defaults as JSON; - is standard input.

    \b
    Example:
      weir schemas check device.esp32 node.json

    Exit codes: 0 they fit; 1 Postgres is away; 2 they do not (the sentence says what), or wrong usage or settings.
    """
    fields = json_object(_text(file), file.name)
    with directory() as metadata:
        print_fields(metadata.schemas.check(entity_type, fields, version, organisation=organisation), True)


def _text(file: IO[str]) -> str:
    try:
        return file.read()
    except UnicodeDecodeError as error:
        raise UsageError(f"{file.name} is no UTF-8 text; it must hold one JSON object.") from error
