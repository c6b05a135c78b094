"""``weir devices commands``: what a device is told to do."""

from __future__ import annotations

from uuid import UUID

import click

from connectors.entities.command_models import CommandCreate
from weir.cli.acting import directory, record
from weir.cli.entity_options import json_option
from weir.cli.entity_table import fields_of, print_fields
from weir.cli.listing import Column, asked, every, list_options, most, print_list
from weir.cli.property_options import properties_of
from weir.cli.times import time_ahead

COLUMNS = (
    Column("id", "id"),
    Column("command", "command"),
    Column("status", "status"),
    Column("by", "created_by"),
    Column("sent", "created_at", "time"),
    Column("expires", "expires_at", "time"),
    Column("answer", "answer"),
)


@click.group(name="commands")
def commands() -> None:
    """Commands to devices, with their answers."""


@commands.command(name="list")
@click.argument("device")
@list_options
def list_commands(device: str, form: str | None, limit: int | None) -> None:
    """List the commands of a device, what became of them, and the answers.

    \b
    Example:
      weir devices commands list acme-esp32-001

    Exit codes: 0 done, also when there are none; 1 Postgres is away; 2 no such device, or wrong usage or settings.
    """
    wanted = asked(form, limit)
    with directory() as metadata:
        found = every(
            lambda size, cursor: metadata.commands.list(device, limit=size, cursor=cursor),
            most(wanted),
        )
        print_list((fields_of(each) for each in found), COLUMNS, wanted, "No commands.")


@commands.command(name="send")
@click.argument("device")
@click.argument("name", metavar="COMMAND")
@click.option(
    "--parameter",
    "parameters",
    multiple=True,
    metavar="PATH=JSON",
    help="A parameter, such as seconds=5. What is no JSON is a text. May be repeated.",
)
@click.option(
    "--expires", metavar="TIME", help="When it is no longer to be done: an ISO time (UTC), or 30m, 2h, 7d from now."
)
@json_option
def send(device: str, name: str, parameters: tuple[str, ...], expires: str | None, as_json: bool) -> None:
    """Send a command to a device, which gets it from weir.commands or when it next asks.

    \b
    Example:
      weir devices commands send acme-esp32-001 calibrate --parameter offset=-0.5 --expires 1h

    Exit codes: 0 sent; 1 Postgres is away; 2 no such device, too many commands wait, or wrong usage or settings.
    """
    wanted = record(
        CommandCreate,
        command=name,
        parameters=properties_of(parameters, "--parameter"),
        expires_at=time_ahead(expires),
    )
    with directory() as metadata:
        sent = metadata.commands.send(device, wanted)
    if as_json:
        print_fields(fields_of(sent), True)
    else:
        click.echo(f"Command {sent.id} waits for {device}.")


@commands.command(name="cancel")
@click.argument("command_id", metavar="ID", type=click.UUID)
def cancel(command_id: UUID) -> None:
    """Take a command back that the device has not answered yet. A second time changes nothing.

    \b
    Example:
      weir devices commands cancel 0f1d2c3b-4a59-4687-9b7a-6c5d4e3f2a1b

    Exit codes: 0 done; 1 Postgres is away; 2 no such command, it is answered already, or wrong usage or settings.
    """
    with directory() as metadata:
        metadata.commands.cancel(command_id)
    click.echo(f"Command {command_id} cancelled.")
