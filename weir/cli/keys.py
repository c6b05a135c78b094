"""``weir keys``: API keys of organisations and devices."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from connectors.entities.key_models import KeyCreate, NewKey
from weir.cli.acting import directory, record
from weir.cli.entity_options import json_option, org_option
from weir.cli.entity_table import fields_of, print_fields
from weir.cli.listing import Column, asked, every, list_options, most, print_list
from weir.cli.times import time_ahead

COLUMNS = (
    Column("prefix", "prefix"),
    Column("organisation", "organisation"),
    Column("device", "device"),
    Column("role", "role"),
    Column("name", "name"),
    Column("expires", "expires_at", "time"),
    Column("revoked", "revoked_at", "time"),
    Column("last used", "last_used_at", "time"),
)


@click.group(name="keys")
def command() -> None:
    """API keys. A key's text is shown once, when it is made; afterwards it is called by its prefix."""


@command.command(name="list")
@org_option
@click.option("--device", metavar="ID", help="Of this device only.")
@click.option("--revoked", is_flag=True, help="Also keys that have ended.")
@list_options
def list_keys(organisation: str | None, device: str | None, revoked: bool, form: str | None, limit: int | None) -> None:
    """List keys, oldest first, without their secrets.

    \b
    Example:
      weir keys list --org my-lab

    Exit codes: 0 done, also when there are none; 1 Postgres is away; 2 wrong usage or settings.
    """
    wanted = asked(form, limit)
    with directory() as metadata:
        found = every(
            lambda size, cursor: metadata.keys.list(
                organisation=organisation, device=device, include_revoked=revoked, limit=size, cursor=cursor
            ),
            most(wanted),
        )
        print_list((fields_of(each) for each in found), COLUMNS, wanted, "No keys.")


@command.command(name="add")
@click.option("--org", "organisation", metavar="ID", help="Key of this organisation.")
@click.option("--device", metavar="ID", help="Key of this device only.")
@click.option(
    "--role",
    type=click.Choice(["device", "viewer", "editor", "admin"]),
    default="device",
    show_default=True,
    help="What it may do; device: send readings, and get and answer commands.",
)
@click.option("--name", default="", help="What it is for.")
@click.option("--expires", metavar="TIME", help="An ISO time (UTC), or 30m, 2h, 90d from now. Default: never.")
@json_option
def add(expires: str | None, as_json: bool, **given: Any) -> None:
    """Make a key of an organisation or of one device. Its text goes to stdout, this once.

    \b
    Example:
      weir keys add --device acme-esp32-001
      weir keys add --org my-lab --role viewer --name dashboard --expires 90d

    Exit codes: 0 made; 1 Postgres is away; 2 no such organisation or device, or wrong usage or settings.
    """
    wanted = record(KeyCreate, expires_at=time_ahead(expires), **given)
    with directory() as metadata:
        made = metadata.keys.create(wanted)
    _show_once(made, as_json)


@command.command(name="rotate")
@click.argument("prefix")
@click.option("--grace", type=click.FloatRange(0), default=0.0, metavar="SECONDS", help="The old one works so long on.")
@click.option(
    "--expires", metavar="TIME", help="An ISO time (UTC), or 30m, 2h, 90d from now. Default: when the old one would."
)
@json_option
def rotate(prefix: str, grace: float, expires: str | None, as_json: bool) -> None:
    """Replace a key by a new one that may do the same. The new text goes to stdout, this once.

    \b
    Example:
      weir keys rotate 7Hq2mZ0aLkXw --grace 3600

    Exit codes: 0 done; 1 Postgres is away; 2 there is no such key, it has ended, or wrong usage or settings.
    """
    with directory() as metadata:
        made = metadata.keys.rotate(prefix, grace=timedelta(seconds=grace), expires_at=time_ahead(expires))
    _show_once(made, as_json)


@command.command(name="revoke")
@click.argument("prefix")
def revoke(prefix: str) -> None:
    """End a key now. A second time changes nothing.

    \b
    Example:
      weir keys revoke 7Hq2mZ0aLkXw

    Exit codes: 0 done; 1 Postgres is away; 2 there is no such key, or wrong usage or settings.
    """
    with directory() as metadata:
        metadata.keys.revoke(prefix)
    click.echo(f"Key {prefix} revoked.")


def _show_once(made: NewKey, as_json: bool) -> None:
    if as_json:
        print_fields(fields_of(made), True)
    else:
        click.echo(made.secret)
    click.echo(f"Keep it: the text of key {made.prefix} is not shown again.", err=True)
